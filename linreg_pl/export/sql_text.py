"""Writes a formula as SQL: a SELECT of one expression for each target."""

from linreg_pl.errors import printable
from linreg_pl.export.formula import CategoryColumn, Formula, NumberColumn


def sql_text(formula: Formula) -> str:
    """Returns a SELECT without its FROM, which the reader adds."""
    names = printable(", ".join(formula.targets))
    lines = [f"-- Predicts {names}. Add FROM and the name of the table."]
    dates = [column for column in formula.columns if isinstance(column, NumberColumn) and is_temporal(column)]
    for column in dates:
        seconds = f"strftime('%s', {identifier(column.name)})"
        seconds = seconds if column.kind == "date" else f"({seconds} - strftime('%s', '00:00'))"
        lines.append(f"-- In SQLite, write ({printable(seconds)} / 86400e0) for {printable(days(column))}.")
    expressions = [
        f"{expression(formula, target)}\n  AS {identifier(f'{name}_predicted')}"
        for target, name in enumerate(formula.targets)
    ]
    return "\n".join([*lines, "SELECT", ",\n".join(expressions)]) + "\n"


def expression(formula: Formula, target: int, most_terms: int = 500) -> str:
    """Returns the prediction of a target, which is NULL where there is none.

    Args:
        formula: The model.
        target: Number of the target.
        most_terms: Most terms of a sum without parentheses: DuckDB and SQLite refuse expressions deeper than 1000.
    """
    terms = [literal(formula.intercept[target]), *(term(column, target) for column in formula.columns)]
    while len(terms) > most_terms:
        groups = [terms[start : start + most_terms] for start in range(0, len(terms), most_terms)]
        terms = [f"({' + '.join(group)})" for group in groups]
    return "  " + "\n  + ".join(terms)


def term(column: NumberColumn | CategoryColumn, target: int) -> str:
    """Returns what a column adds."""
    return number_term(column, target) if isinstance(column, NumberColumn) else category_term(column, target)


def number_term(column: NumberColumn, target: int) -> str:
    """Returns what a column of numbers adds: coefficient · (value - center)."""
    value = days(column) if is_temporal(column) else identifier(column.name)
    if column.kind == "truth value":
        value = f"CASE {value} WHEN TRUE THEN 1e0 WHEN FALSE THEN 0e0 END"
    for mark in column.marks:
        value = f"NULLIF({value}, {literal(mark)})"
    known = value if column.mean is None else f"COALESCE({value}, {literal(column.mean)})"
    known = f"({known} - {literal(column.center)})" if column.center else known
    added = f"{literal(column.coefficients[target])} * {known}"
    if column.indicator is None:
        return added
    return f"{added} + CASE WHEN {value} IS NULL THEN {literal(column.indicator[target])} ELSE 0e0 END"


def category_term(column: CategoryColumn, target: int) -> str:
    """Returns what a column of texts adds."""
    value = f"CAST({identifier(column.name)} AS VARCHAR)"
    known: dict[str, list[float] | None] = {**column.categories}
    if column.missing is not None or column.other is not None:  # otherwise CASE gives NULL for both
        value = f"COALESCE({value}, '')"
        known |= dict.fromkeys(column.marks, column.missing)
    entries = [f"WHEN {text_literal(text)} THEN {added_literal(added, target)}" for text, added in known.items()]
    entries += [] if column.other is None else [f"ELSE {added_literal(column.other, target)}"]
    return "\n      ".join([f"CASE {value}", *entries]) + "\n    END"


def is_temporal(column: NumberColumn) -> bool:
    """Returns whether a column has dates or times of day."""
    return column.kind in ("date", "time of day")


def days(column: NumberColumn) -> str:
    """Returns a date as days since 1970-01-01, or a time of day as a fraction of a day."""
    return f"(extract(epoch FROM {identifier(column.name)}) / 86400e0)"


def identifier(name: str) -> str:
    """Returns a name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """Returns a text in quotes."""
    return "'" + text.replace("'", "''") + "'"


def added_literal(added: list[float] | None, target: int) -> str:
    """Returns the number for a target; NULL for no prediction."""
    return "NULL" if added is None else literal(added[target])


def literal(number: float) -> str:
    """Returns a number with an exponent: without one, DuckDB takes it for a decimal of few digits."""
    return repr(number) if "e" in repr(number) else f"{number!r}e0"
