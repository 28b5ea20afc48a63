"""Reduces the rows of each fold to a triangle in one pass, and merges those of the others, to train on.

Triangles are merged, never subtracted: a difference loses all digits where means are large.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.parallel import in_workers
from linreg_pl.core.triangle import ROWS_PER_FACTORIZATION, Triangle, factored, root, trapezoid, with_rows


@dataclass(frozen=True, eq=False)
class Folds:
    """The triangles of the rows of each fold.

    Args:
        triangles: One a fold, about one center.
        in_order: Whether a fold is predicted from the folds before it only, as in time. The first is never predicted.
    """

    triangles: Sequence[Triangle]
    in_order: bool = False

    @property
    def whole(self) -> Triangle:
        """Returns the triangle of all rows."""
        return list(accumulate(self.triangles, Triangle.merge))[-1]

    @property
    def held_out(self) -> Sequence[Triangle]:
        """Returns the triangles of the rows that are predicted, fold by fold."""
        return self.triangles[1:] if self.in_order else self.triangles

    @property
    def training(self) -> list[Triangle]:
        """Returns the triangles of the rows that each of these folds is predicted from."""
        before = list(accumulate(self.triangles, Triangle.merge))[:-1]
        if self.in_order:
            return before
        behind = list(accumulate(reversed(self.triangles), Triangle.merge))[-2::-1]
        between = [left.merge(right) for left, right in zip(before[:-1], behind[1:], strict=True)]
        return [behind[0], *between, before[-1]]


def fold_triangles(chunks: Iterable[tuple[Any, ...]], count: int, center: Tensor | None = None) -> list[Triangle]:
    """Factors the rows of each fold in one pass; the result has the same bits on any number of threads.

    Args:
        chunks: The rows: x (n, D), y (n, K), weights (n, 1) if rows have some, and last the numbers of their folds
            (n,), from 0 on.
        count: Number of folds.
        center: Of the columns of X and y, (D+K,), float64; 0 if not given.

    Raises:
        ValueError: a fold has no row of weight above 0.
    """
    pending: list[list[Triangle]] = [[] for _ in range(count)]
    parts = in_workers(partial(_factored_by_fold, center, count), chunks)
    try:
        for part in parts:
            for triangles, triangle in zip(pending, part, strict=True):
                triangles += [] if triangle is None else [triangle]
                if len(triangles) == 8:  # few merges of many triangles take less time than many of two
                    triangles[:] = [merged(triangles)]
    finally:
        parts.close()
    totals = [merged(triangles) for triangles in pending if triangles]
    num_empty = count - sum(total.total_weight > 0 for total in totals)
    if num_empty:
        raise ValueError(f"{num_empty} of {count} folds have no row of weight above 0")
    return totals


def merged(triangles: Sequence[Triangle]) -> Triangle:
    """Returns the triangle of the rows of all, about the first one's center."""
    first, *others = triangles
    if not others:
        return first
    num_rows = sum(each.num_rows for each in triangles)
    R = trapezoid(torch.cat([first.R, *(each.centered_at(first.center).R for each in others)]))
    R = with_rows(R, min(num_rows, R.shape[1]))
    return replace(first, R=R, num_rows=num_rows, total_weight=sum(each.total_weight for each in triangles))


def _factored_by_fold(center: Tensor | None, count: int, *rows: Tensor) -> list[Triangle | None]:
    """Factors some rows, fold by fold; None for a fold without rows."""
    *columns, folds = rows
    x, y, *weights = columns
    if center is None:
        center = torch.zeros(x.shape[1] + y.shape[1], dtype=torch.float64)
    roots = _by_cholesky(count, center, *rows) if len(x) > ROWS_PER_FACTORIZATION else [None] * count
    num_rows = total_weights = torch.bincount(folds, minlength=count).tolist()
    if weights:
        counted = weights[0][:, 0].double()
        num_rows = torch.bincount(folds[counted > 0], minlength=count).tolist()
        total_weights = torch.bincount(folds, counted, count).tolist()
    triangles = list[Triangle | None]()
    for fold, R in enumerate(roots):
        if R is not None:
            triangles.append(Triangle(R, num_rows[fold], x.shape[1], float(total_weights[fold]), center))
            continue
        chosen = folds == fold
        triangles.append(factored(center, *(column[chosen] for column in columns)) if chosen.any() else None)
    return triangles


def _by_cholesky(count: int, center: Tensor, *rows: Tensor) -> list[Tensor | None]:
    """Computes each fold's R from its Gram matrix, as `triangle` does without folds; None where that is unsafe.

    All folds share one block of rows in the processor's cache.
    """
    *columns, folds = rows
    order = np.argsort(folds.numpy(), kind="stable")
    means = torch.cat([part[:ROWS_PER_FACTORIZATION].double().mean(dim=0) for part in columns[:2]])
    columns = [torch.empty_like(part) for part in columns]
    for part, sorted_part in zip(rows, columns, strict=False):
        np.take(part.numpy(), order, axis=0, out=sorted_part.numpy(), mode="clip")  # "raise" would copy once more
    x, y, *weights = columns
    block = torch.ones(ROWS_PER_FACTORIZATION, 1 + len(means), dtype=torch.float64)
    roots, start = list[Tensor | None](), 0
    for size in torch.bincount(folds, minlength=count).tolist():
        gram = np.zeros((block.shape[1], block.shape[1]))
        for first in range(start, start + size, ROWS_PER_FACTORIZATION):
            some = slice(first, min(first + ROWS_PER_FACTORIZATION, start + size))
            filled = block[: some.stop - some.start]
            filled[:, 0] = 1
            torch.sub(x[some], means[: x.shape[1]], out=filled[:, 1 : 1 + x.shape[1]])
            torch.sub(y[some], means[x.shape[1] :], out=filled[:, 1 + x.shape[1] :])
            if weights:
                filled *= weights[0][some].double().sqrt()
            gram += filled.numpy().T @ filled.numpy()
            if first == 0 and root(gram) is None:
                return [None] * count
        R, start = root(gram), start + size
        if R is not None:
            R[0, 1:] += R[0, 0] * (means - center)
        roots.append(R)
    return roots
