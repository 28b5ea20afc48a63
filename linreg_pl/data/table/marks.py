"""Finds the user's marks of missing values in columns of any type; numbers are compared by value, not by digits."""

from dataclasses import replace
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_labels
from linreg_pl.data.table.complaints import Complaint
from linreg_pl.data.table.row_groups import Table


def without_marks(values: pa.Array, column: pa.Array, marks: pa.Array) -> pa.Array:
    """Returns the values of a column of texts or numbers, null where the column has one of the marks.

    Args:
        values: The values: (n,).
        column: The column that they come from: (n,).
        marks: Texts.
    """
    if not len(marks):
        return values
    return pc.if_else(_marked(column, marks), pa.scalar(None, values.type), values)


def has_mark(column: pa.Array, marks: pa.Array) -> bool:
    """Says whether a column of any type has one of the marks."""
    return bool(pc.any(_marked(column, marks)).as_py())


def without_shared_texts(complaints: list[Complaint], table: Table) -> list[Complaint]:
    """Returns the complaints without the remedy of missing values where another column has such a text too.

    The texts are missing values in every column, so that the remedy would take rows or categories from the others.
    """
    texts = {each.column: set(dict(each.flags).get("missing_values", ())) for each in complaints}
    wanted = set().union(*texts.values())
    columns: dict[str, set[str]] = {name: set() for name in table.schema.names}  # those of the texts that each has
    for _, batch in table.all_batches(list(columns)) if wanted else ():
        for name, known in columns.items():
            known |= {text for text in wanted - known if has_mark(batch.column(name), pa.array([text]))}
    parts = table.world.gathered(columns)
    columns = {name: set().union(*(part[name] for part in parts)) for name in columns}
    result = []
    for each in complaints:
        others = (columns[name] - texts.get(name, set()) for name in columns if name != each.column)
        shared = texts[each.column] & set().union(*others)
        flags = [flag for flag in each.flags if not shared or flag[0] != "missing_values"]
        result.append(replace(each, flags=flags))
    return result


def _marked(column: pa.Array, marks: pa.Array) -> pa.Array:
    """Returns which values are one of the marks: (n,) of truth values."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return pc.is_in(as_labels(column), marks)
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    numbers = [number for mark in marks.to_pylist() if (number := _number(mark, kind)) is not None]
    return pc.is_in(column, pa.array(numbers, kind), skip_nulls=True)


def _number(mark: str, kind: pa.DataType) -> int | float | None:
    """Returns the number that a mark is in a column of this type; None if it is none, or the type can't hold it."""
    try:
        exact = Decimal(mark.strip())
    except InvalidOperation:
        return None
    if not pa.types.is_integer(kind):
        return float(exact)
    if not exact.is_finite():
        return None
    bits = kind.bit_width - pa.types.is_signed_integer(kind)
    least = -(2**bits) if pa.types.is_signed_integer(kind) else 0
    return int(exact) if exact == exact.to_integral_value() and least <= exact < 2**bits else None
