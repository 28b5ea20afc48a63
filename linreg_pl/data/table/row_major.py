"""Lays columns out as rows.

A value of each column goes to each row. So many columns, all at once, would miss the processor's cache at each value.
Some rows at a time are collected first, and then transposed within the cache.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch

FEW_COLUMNS = 8
"""So many rows of a cache line each are written at once without a miss."""
BLOCK_BYTES = 2**19
"""Size of the rows that are transposed at once: half of a processor's second cache."""


def as_rows(columns: Sequence[pa.Array]) -> np.ndarray:
    """Returns columns of float32 or float64 as an array, (n, number of columns); null becomes NaN."""
    values = [column.to_numpy(zero_copy_only=False) for column in columns]
    kind = torch.from_numpy(np.empty(0, np.result_type(*values))).dtype
    rows = torch.empty(
        len(values[0]), len(values), dtype=kind
    ).numpy()  # sums over NumPy's memory may round differently
    if len(values) <= FEW_COLUMNS:
        for column, each in zip(rows.T, values, strict=True):
            column[:] = each
        return rows
    at_once = max(256, BLOCK_BYTES // rows[:1].nbytes)
    block = np.empty((len(values), at_once + 16), rows.dtype)[:, :at_once]  # cache lines a power of two apart collide
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        for column, each in zip(block, values, strict=True):
            column[: len(part)] = each[start : start + at_once]
        part[:] = block[:, : len(part)].T
    return rows
