"""Turns arrays, tensors, series and frames into one table with named columns, and serves it as a data module."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.frames import arrow_table
from linreg_pl.data.table.matrix import as_matrix
from linreg_pl.data.table.module import TableDataModule
from linreg_pl.data.table.sources import ArrowStream, index_columns
from linreg_pl.errors import InputError, quoted, repeated


class NamedTable:
    """An Arrow table with a name for messages."""

    def __init__(self, table: pa.Table, name: str) -> None:
        self.table, self.source_name = table, name

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Returns a capsule that holds the table."""
        return self.table.__arrow_c_stream__(requested_schema)


class ArrayDataModule(TableDataModule):
    """Rows from arrays in memory: NumPy, torch, pandas, polars, Arrow, or lists.

    Columns of a frame keep their names; others are named as in scikit-learn, x0, x1, and so on. The target has its
    series' or column's name, or else y, or y0, y1, and so on.

    Args:
        X: Features (N, D), or (N,) for a single one.
        y: Targets (N,), or (N, K).
        weights: Weights (N,), 0 or more: how much each row counts in J. For standard errors, a weight is the inverse
            noise variance.
        settings: Further arguments of `TableDataModule`, such as `batch_size`, `val_fraction` or `missing`.

    Raises:
        InputError: the shapes do not fit, or the values can't be used.

    Example:
        >>> data = linreg_pl.ArrayDataModule(np.eye(3), [1.0, 2.0, 4.0])
        >>> data.feature_names, data.target_names
        (['x0', 'x1', 'x2'], ['y'])
    """

    arrays: ClassVar[tuple[str, ...]] = ("X", "y", "weights")

    def __init__(self, X: Any, y: Any, weights: Any = None, **settings: Any) -> None:
        for name in ("path", "target", "weight", "val_path", "test_path"):
            if name in settings:
                raise InputError(f"ArrayDataModule takes no {name}: use TableDataModule for files")
        table, columns = joined(X, y=y, weights=weights)
        weight = columns["weights"][0] if columns["weights"] else None
        super().__init__(table, target=columns["y"], weight=weight, **settings)


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
