"""Decides in which notation the numbers of a column are written."""

from dataclasses import replace

import pyarrow as pa

from linreg_pl.data.table.evidence import Evidence, has_unit, merged
from linreg_pl.data.table.number_text import NumberFormat, NumberShape
from linreg_pl.data.table.text_counts import Tally
from linreg_pl.data.table.verdicts import Doubt, Numbers, Remedy


def number_verdict(evidence: Evidence) -> Numbers | Doubt:
    """Returns the notation of a column that is mostly numbers, or the doubt about it."""
    groups: dict[tuple[str, str], dict[NumberShape, Tally]] = {}
    for shape, tally in evidence.numbers.items():
        groups.setdefault((shape.prefix, shape.suffix), {})[shape] = tally
    (prefix, suffix), main = max(groups.items(), key=lambda item: (merged(item[1].values()).rows, item[0]))
    notation, unfit = _notation(evidence, main)
    fitting = {shape: tally for shape, tally in main.items() if shape not in unfit}
    odd = [*unfit.values(), *evidence.dates.values(), evidence.others]
    odd += [tally for group, shapes in groups.items() if group != (prefix, suffix) for tally in shapes.values()]
    decorated = [tally for shape, tally in main.items() if has_unit(shape) or shape.parentheses]
    unclear = bool(decorated) and not evidence.rules.numbers
    if notation is None and not fitting:
        return evidence.doubt("contains numbers in a form that is not read", merged(main.values()))
    if merged(odd).rows:
        kind = f"numbers like {merged(fitting.values()).text!r}"
        return evidence.odd_values(kind, fitting.values(), odd, settled=not unclear and notation is not None)
    if unclear:
        what = "in parentheses" if not (prefix or suffix) else "with a unit or currency"
        flags = [Remedy("numbers")] if notation is not None else []
        return evidence.doubt(f"contains numbers {what}", merged(decorated), *flags)
    if notation is None:
        shown = merged(tally for shape, tally in main.items() if 0 not in shape.notations)
        reason = f"{shown.text!r} may have a decimal comma or a thousands separator"
        return evidence.doubt(reason, shown, Remedy("decimal", "."), Remedy("decimal", ","))
    decimal, thousands = NumberFormat.notations[notation]
    parentheses = any(shape.parentheses for shape in main)
    form = NumberFormat(decimal, thousands, prefix, suffix, parentheses, evidence.missing)
    shown = merged(tally for shape, tally in fitting.items() if 0 not in shape.notations)
    return Numbers(form, _remark(evidence, form, fitting), 2 * shown.rows >= merged(fitting.values()).rows)


def _notation(evidence: Evidence, shapes: dict[NumberShape, Tally]) -> tuple[int | None, dict[NumberShape, Tally]]:
    """Returns the index of the notation, None in doubt, and the numbers that it does not allow."""
    every = range(len(NumberFormat.notations))
    rows = {index: sum(tally.rows for shape, tally in shapes.items() if index in shape.notations) for index in every}
    chosen = [index for index in every if NumberFormat.notations[index][0] == evidence.rules.decimal]
    best = max(rows.values())
    if not best:
        return None, shapes
    # A decimal separator that is given for the whole table does not concern columns that do not fit it.
    if chosen and max(rows[index] for index in chosen) == best:
        rows = {index: rows[index] for index in chosen}
    fitting = [index for index, count in rows.items() if count == best]
    unfit = {shape: tally for shape, tally in shapes.items() if fitting[0] not in shape.notations}
    decimal_comma, thousands_comma = 1, 2
    if 0 in fitting or not {decimal_comma, thousands_comma} <= set(fitting):
        return fitting[0], unfit
    # Whole numbers below 1000 without a comma, and none above: 1,234 is more than 1000.
    digits = {shape.digits for shape in shapes}
    if digits & {1, 2, 3} and 4 not in digits:
        return thousands_comma, unfit
    return None, unfit


def _remark(evidence: Evidence, form: NumberFormat, shapes: dict[NumberShape, Tally]) -> str | None:
    """Returns how the numbers are read, unless nobody would read them otherwise."""
    remarks = []
    if replace(form, missing=()) != NumberFormat():
        # The value that shows the notation best.
        special = [tally for shape, tally in shapes.items() if 0 not in shape.notations] or list(shapes.values())
        text = merged(special).text
        number = f"{form.numbers(pa.array([text]))[0].as_py():.15g}"
        remarks += [f"is read as numbers: {text!r} is {number}"] if text != number else []
    zeros = merged(tally for shape, tally in shapes.items() if shape.leading_zero)
    if zeros.rows:
        remarks.append(f"is read as numbers: {zeros.text!r} loses its leading zero")
    return "; ".join([*remarks, *evidence.mark_remark()]) or None
