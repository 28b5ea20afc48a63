"""Tells the types of columns apart, and converts columns of any type to texts."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.errors import shortened


def as_labels(column: pa.Array, keeps_codes: bool = False) -> pa.Array:
    """Returns a column of any type as texts: whole numbers without a decimal point, dates as ISO writes them.

    Args:
        column: The column.
        keeps_codes: Return a dictionary of texts as such.
    """
    if keeps_codes and pa.types.is_dictionary(column.type):
        if pa.types.is_string(column.type.value_type):
            return column
        return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string()))
    if is_text(column.type):
        return as_text(column)
    labels = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), labels)
    return labels


def filtered(batch: pa.RecordBatch, mask: np.ndarray | None) -> pa.RecordBatch:
    """Returns the rows of a batch for which `mask` (n,) is true; all if there is no mask."""
    if mask is None:
        return batch
    # Arrow filters no views of strings, which polars and pandas use.
    columns = [column.cast(pa.string()) if pa.types.is_string_view(column.type) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names).filter(pa.array(mask))


def as_text(column: pa.Array) -> pa.Array:
    """Returns a text or dictionary column as plain strings; polars and pandas use different string types."""
    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string())).dictionary_decode()


def is_text(kind: pa.DataType) -> bool:
    """Says whether a column of this type holds texts."""
    types = pa.types
    return bool(
        types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    )


def is_numeric(kind: pa.DataType) -> bool:
    """Says whether a column of this type contains numbers, truth values, or only missing values."""
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def is_temporal(kind: pa.DataType) -> bool:
    """Says whether a column of this type contains dates, times or durations."""
    types = pa.types
    tests = (types.is_date, types.is_timestamp, types.is_time, types.is_duration)
    return any(test(kind) for test in tests)


def is_usable(kind: pa.DataType) -> bool:
    """Says whether a column of this type can become numbers."""
    return is_numeric(kind) or is_text(kind) or is_temporal(kind)


def same_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the common type of a column that has these types in two files; None if they don't agree."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if is_text(one) and is_text(other):
        return pa.string()
    truths = [pa.types.is_boolean(one), pa.types.is_boolean(other)]
    return pa.float64() if is_numeric(one) and is_numeric(other) and not any(truths) else None


def type_in_words(kind: pa.DataType) -> str:
    """Returns a type in words, with Arrow's name for it."""
    arrow_name = shortened(str(kind))[1:-1]
    return f"bytes that are not UTF-8 text ({arrow_name})" if pa.types.is_binary(kind) else arrow_name
