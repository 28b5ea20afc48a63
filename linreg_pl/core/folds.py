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
from linreg_pl.core.threads import threads_that_pay
from linreg_pl.core.triangle import ROWS_PER_FACTORIZATION, Triangle, factored, root, trapezoid, with_rows
from linreg_pl.core.world import ALONE, World, known


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


def fold_triangles(
    chunks: Iterable[tuple[Any, ...]], count: int, center: Tensor | None = None, world: World = ALONE
) -> list[Triangle]:
    """Factors the rows of each fold in one pass; the result has the same bits on any number of threads.

    Args:
        chunks: The rows: x (n, D), y (n, K), weights (n, 1) if rows have some, and last the numbers of their folds
            (n,), from 0 on.
        count: Number of folds.
        center: Of the columns of X and y, (D+K,), float64; 0 if not given.
        world: The processes whose chunks together are the rows.

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
    with threads_that_pay(max((each.R.shape[1] for triangles in pending for each in triangles), default=0) ** 3):
        of_folds = world.reduced([merged(triangles) if triangles else None for triangles in pending], _merged_folds)
        totals = [triangle for triangle in of_folds if triangle is not None]
    num_empty = count - sum(total.total_weight > 0 for total in totals)
    if num_empty:
        raise ValueError(f"{num_empty} of {count} folds have no row of weight above 0")
    return totals


def _merged_folds(first: list[Triangle | None], second: list[Triangle | None]) -> list[Triangle | None]:
    return [known(Triangle.merge)(*pair) for pair in zip(first, second, strict=True)]


def merged(triangles: Sequence[Triangle]) -> Triangle:
    """Returns the triangle of the rows of all, about the first one's center."""
    first, *others = triangles
    if not others:
        return first
    num_rows = sum(each.num_rows for each in triangles)
    parts = [first, *(each.centered_at(first.center) for each in others)]
    R = trapezoid(torch.cat([part.R for part in parts]))
    return replace(
        first,
        R=with_rows(R, min(num_rows, R.shape[1])),
        num_rows=num_rows,
        total_weight=sum(each.total_weight for each in triangles),
        factored_lengths=torch.linalg.vector_norm(torch.stack([part.lengths for part in parts]), dim=0),
        log_weights=sum(each.log_weights for each in triangles),
    )


def _factored_by_fold(center: Tensor | None, count: int, *rows: Tensor) -> list[Triangle | None]:
    """Factors some rows, fold by fold; None for a fold without rows."""
    *columns, folds = rows
    x, y, *weights = columns
    if center is None:
        center = torch.zeros(x.shape[1] + y.shape[1], dtype=torch.float64)
    roots = _by_cholesky(count, center, *rows) if len(x) > ROWS_PER_FACTORIZATION else [None] * count
    num_rows = total_weights = torch.bincount(folds, minlength=count).tolist()
    log_weights = [0.0] * count
    if weights:
        counted = weights[0][:, 0].double()
        num_rows = torch.bincount(folds[counted > 0], minlength=count).tolist()
        total_weights = torch.bincount(folds, counted, count).tolist()
        log_weights = torch.bincount(folds, torch.where(counted > 0, counted, 1).log(), count).tolist()
    triangles = list[Triangle | None]()
    for fold, R in enumerate(roots):
        if R is not None:
            total_weight = float(total_weights[fold])
            triangles.append(
                Triangle(R, num_rows[fold], x.shape[1], total_weight, center, log_weights=log_weights[fold])
            )
            continue
        chosen = folds == fold
        triangles.append(factored(center, *(column[chosen] for column in columns)) if chosen.any() else None)
    return triangles


def _by_cholesky(count: int, center: Tensor, x: Tensor, y: Tensor, *weights_and_folds: Tensor) -> list[Tensor | None]:
    """Computes each fold's R from its Gram matrix, as `triangle` does without folds; None where that is unsafe.

    The rows of a fold are gathered a few at a time, so that they stay in the processor's cache, and fill one block. All
    views are made once: this function runs in several threads, and only one of them at a time can make a view.
    """
    *weights, folds = weights_and_folds
    D, most = x.shape[1], ROWS_PER_FACTORIZATION
    means = torch.cat([part[:most].double().mean(dim=0) for part in (x, y)])
    block = torch.ones(most, 1 + len(means), dtype=torch.float64)  # rows of [1, X, y] less the means, times √w
    rows, roots = block.numpy(), [weight.double().sqrt() for weight in weights]
    fills = [
        (part.numpy(), buffer.numpy(), buffer, mean, place)
        for part, buffer, mean, place in (
            (x, torch.empty_like(x[:most]), means[:D], block[:, 1 : 1 + D]),
            (y, torch.empty_like(y[:most]), means[D:], block[:, 1 + D :]),
        )
    ]
    order = np.argsort(folds.numpy(), kind="stable")
    ends = np.bincount(folds.numpy(), minlength=count).cumsum().tolist()
    grams = np.zeros((count, block.shape[1], block.shape[1]))
    for gram, begin, end in zip(grams, [0, *ends], ends, strict=False):
        size = -(-(end - begin) // max(1, -(-(end - begin) // most)))  # of parts of equal length
        for first in range(begin, end, max(1, size)):
            chosen = order[first : min(first + size, end)]
            number = len(chosen)
            for values, gathered, buffer, mean, place in fills:
                np.take(values, chosen, axis=0, out=gathered[:number], mode="clip")  # "raise" would copy once more
                torch.sub(buffer[:number], mean, out=place[:number])
            for root_of_weight in roots:
                block[:number, 0] = 1
                block[:number] *= root_of_weight[chosen]
            gram += rows[:number].T @ rows[:number]
        if begin == 0 < end and root(gram) is None:
            return [None] * count  # so are those of the other folds, in all likelihood
    factors = [root(gram) for gram in grams]
    for R in factors:
        if R is not None:
            R[0, 1:] += R[0, 0] * (means - center)
    return factors
