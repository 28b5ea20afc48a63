"""Turns arrays, tensors, series and frames into one table with named columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.frames import arrow_table
from linreg_pl.data.table.matrix import as_matrix
from linreg_pl.data.table.sources import ArrowStream, index_columns
from linreg_pl.errors import InputError, quoted, repeated


class NamedTable:
    """An Arrow table with a name for messages."""

    def __init__(self, table: pa.Table, name: str) -> None:
        self.table, self.source_name = table, name

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Returns a capsule that holds the table."""
        return self.table.__arrow_c_stream__(requested_schema)


def joined(X: Any, **others: Any) -> tuple[NamedTable, dict[str, list[str]]]:
    """Joins the columns of X and of other arrays, by their position, to one table.

    Args:
        X: Features (N, D).
        others: y (N,) or (N, K), and weights, cluster or by (N,), by these names; None for none.

    Returns:
        The table, and the names of each other array's columns.

    Raises:
        InputError: the numbers of rows differ, or two columns have the same name.
    """
    table, columns = named_columns(X, "x", "X"), dict[str, list[str]]()
    if not table.num_columns or not table.num_rows:
        raise InputError(f"X has no {'rows' if table.num_columns else 'columns'}: give at least one")
    shapes = {"X": table.shape}
    for label, values in others.items():
        if values is None:
            columns[label] = []
            continue
        further = named_columns(values, label, label)
        require_same_order(X, values, label)
        if label != "y" and further.num_columns != 1:
            raise InputError(f"{label} has shape {further.shape}: give one number for each row, (N,)")
        if further.num_rows != table.num_rows:
            raise InputError(
                f"X has shape {shapes['X']}, and {label} has shape {shape_of(values, further)}: both need a row for"
                " each observation"
            )
        if not has_names(values) or label != "y":  # a name of ours gives way
            further = further.rename_columns([free_name(name, table.column_names) for name in further.column_names])
        doubled = repeated([*table.column_names, *further.column_names])
        if doubled:
            raise InputError(f"{quoted(doubled)} is a column of both X and {label}; rename one, or take it out of X")
        columns[label] = further.column_names
        for name, column in zip(further.column_names, further.columns, strict=True):
            table = table.append_column(name, column)
    name = f"the {type(X).__name__}" if isinstance(X, ArrowStream) and not isinstance(X, NamedTable) else "X"
    return NamedTable(table, name), columns


def require_same_order(X: Any, values: Any, label: str) -> None:
    """Checks that two pandas objects have the same index, in the same order, as rows are joined by position.

    Raises:
        InputError: they have not.
    """
    first, second = getattr(X, "index", None), getattr(values, "index", None)
    if first is None or second is None or not hasattr(first, "equals") or first.equals(second):
        return
    if hasattr(second, "equals") and len(first) == len(second):
        order = "the same index in another order" if set(first) == set(second) else "different indexes"
        raise InputError(
            f"X and {label} have {order}, so their rows do not belong together: give {label}.loc[X.index], or"
            f" {label}.to_numpy() if they do"
        )


def free_name(name: str, taken: Sequence[str]) -> str:
    """Returns the name, with underscores before it until it is free."""
    while name in taken:
        name = f"_{name}"
    return name


def named_columns(values: Any, names: str | Sequence[str], label: str) -> pa.Table:
    """Returns an array or frame as an Arrow table; columns of an array are not copied if they are contiguous.

    Args:
        values: The array, of shape (N,) or (N, D), or a frame.
        names: Names of the columns if `values` has none: all of them, or the stem of x0, x1, and so on. A single column
            of a stem other than x has no number.
        label: The array's name in messages.

    Raises:
        InputError: it is no array or frame of these shapes.
    """
    if is_series(values):
        values = values.to_frame() if values.name not in (None, "") else np.asarray(values)
    if isinstance(values, ArrowStream):
        table = arrow_table(values)
        index = index_columns(table.schema)
        return table.drop_columns(list(index)) if index else table
    matrix = as_matrix(values, label)
    if isinstance(names, str):
        is_alone = names != "x" and matrix.shape[1] == 1
        names = [names] if is_alone else [f"{names}{index}" for index in range(matrix.shape[1])]
    try:
        columns = [pa.array(matrix[:, index], from_pandas=matrix.dtype == object) for index in range(matrix.shape[1])]
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(
            f"{label} has values of type {matrix.dtype} that can't be read ({error}); give numbers"
        ) from error
    return pa.table(dict(zip(names, columns, strict=True)))


def has_names(values: Any) -> bool:
    """Returns whether an array's columns have names of their own."""
    return (is_series(values) and values.name not in (None, "")) or (
        isinstance(values, ArrowStream) and not is_series(values)
    )


def is_series(values: Any) -> bool:
    """Returns whether this is a pandas or polars Series."""
    return hasattr(values, "to_frame") and hasattr(values, "name")


def shape_of(values: Any, table: pa.Table) -> tuple[int, ...]:
    """Returns the shape of an array, or of the table that it has become."""
    shape = getattr(values, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) else table.shape if table.num_columns > 1 else (table.num_rows,)
