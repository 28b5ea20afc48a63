"""Reads further rows in the way that a fit has read its own, from arrays, frames and files, to predict them."""

import logging
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linreg_pl.data.columns import Columns
from linreg_pl.data.table.arrays import NamedTable, is_series, named_columns
from linreg_pl.data.table.matrix import as_matrix
from linreg_pl.data.table.sources import ArrowStream
from linreg_pl.data.table.table_rows import TableRows
from linreg_pl.errors import InputError, named_arguments


def read_rows(columns: Columns, X: Any) -> Iterator[Tensor]:
    """Yields x (n, D) in float64, some rows at a time; NaN where a value is missing, with a warning at the end.

    Args:
        columns: Of the fit.
        X: An array (N, D) with the fit's columns in the same order; a frame, or a path to a file, with their names.

    Raises:
        InputError: columns are missing, or a value can't be used.
    """
    num_rows = num_incomplete = 0
    for x in _encoded(columns, X):
        yield x
        num_rows, num_incomplete = num_rows + len(x), num_incomplete + int(x.isnan().any(dim=1).sum())
    if num_incomplete:
        logging.getLogger("linreg_pl").warning(
            "%d of %d predictions are NaN: a value is missing, or is none of the fit's categories or numbers",
            *(num_incomplete, num_rows),
        )


def _encoded(columns: Columns, X: Any) -> Iterator[Tensor]:
    names = columns.learnt.get("features", columns.feature_names)
    if is_series(X):
        if len(names) != 1:
            raise InputError(
                f"X is a Series, but the fit has {len(names)} columns: give a frame; X.to_frame().T is one of one row"
            )
        X = X.to_frame() if X.name not in (None, "") else X.to_numpy()
    if hasattr(X, "__len__") and not isinstance(X, str) and not len(X):
        yield torch.zeros(0, len(columns.feature_names), dtype=torch.float64)
        return
    if not isinstance(X, str | PathLike | ArrowStream):
        matrix = as_matrix(X, "X")
        if matrix.shape[1] != len(names):
            shape = tuple(np.shape(X)) or matrix.shape
            row = f"; one row is X[None], of shape (1, {len(names)})" if shape == (len(names),) else ""
            raise InputError(
                f"X has shape {shape}, but the fit has {len(names)} columns: give X (N, {len(names)}), or a frame with"
                f" the names of the columns{row}"
            )
        if names == columns.feature_names and matrix.dtype.kind in "fiub":
            yield torch.from_numpy(matrix.astype("float64"))
            return
        X = NamedTable(named_columns(matrix, names, "X"), "X")
    learnt = columns.learnt or {"features": columns.feature_names, "categories": {}}
    with named_arguments():
        data = TableRows(X, **{"target": columns.target_names, **columns.settings})
        data.adopt({"design": learnt, "checksum_type": "float64"})
        data.setup("predict")
        for x, *_ in data.opened:
            yield x.double()
