"""Sums the targets over groups of rows with equal features, so that least squares takes each group as one row.

Of rows with equal x, weights w and targets y, of mean ȳ, least squares needs no more than this:

    Σ w (y - θ'x)(y - θ'x)'  =  Σw (ȳ - θ'x)(ȳ - θ'x)'  +  Σ w (y - ȳ)(y - ȳ)'

The group becomes a row of weight Σw. The last sum, over all groups, is a block below the targets of the triangle. Each
y is summed less the first one of its group, so that no digits are lost where y is far from 0.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.triangle import Triangle, triangle_of, upper_triangle


class GroupSums:
    """Sums over the rows of each group; rows of weight 0 count as absent.

    Args:
        num_targets: K.
    """

    def __init__(self, num_targets: int) -> None:
        self._first = np.empty((0, num_targets))  # y of each group's first row, NaN without one
        self._weights, self._sums = np.zeros((0, 1)), np.zeros((0, num_targets))  # Σw, and Σ w d, for d = y - first y
        self._squared_weights, self._squared_sums = self._weights, self._sums  # Σw², and Σ w² d, if there are weights
        self._products = np.zeros((num_targets, num_targets))  # Σ w d d' over all groups
        self._num_rows, self._log_weights, self._is_weighted = 0, 0.0, False

    def add(self, groups: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Adds rows: the numbers of their groups (n,), y (n, K) and weights (n, 1), if rows have some."""
        if weights is not None:
            is_present = weights[:, 0] > 0
            if not is_present.all():
                groups, y, weights = groups[is_present], y[is_present], weights[is_present]
            self._is_weighted = True
            self._log_weights += float(np.log(weights, dtype=np.float64).sum())
        if not len(groups):
            return
        self._make_room(int(groups.max()) + 1)
        first = self._first.take(groups, axis=0)
        is_new = np.isnan(first[:, 0])
        if is_new.any():
            self._first[groups[is_new][::-1]] = y[is_new][::-1]  # the last one written is the first row's
            first = self._first.take(groups, axis=0)
        d = y - first
        weighted = d
        if weights is not None:
            w = weights.astype(np.float64)
            weighted = w * d
            _add(self._squared_weights, groups, w * w)
            _add(self._squared_sums, groups, w * weighted)
        _add(self._weights, groups, np.ones((len(groups), 1)) if weights is None else w)
        _add(self._sums, groups, weighted)
        self._products += np.einsum("nk,nl->kl", weighted, d)  # BLAS's threads would wait for each other
        self._num_rows += len(groups)

    def _make_room(self, count: int) -> None:
        """Makes the sums at least as long as there are groups."""
        added = max(count, 2 * len(self._weights)) - len(self._weights) if count > len(self._weights) else 0
        if not added:
            return
        self._first = np.pad(self._first, ((0, added), (0, 0)), constant_values=np.nan)
        self._weights, self._sums = (np.pad(each, ((0, added), (0, 0))) for each in (self._weights, self._sums))
        squared = self._squared_weights, self._squared_sums
        self._squared_weights, self._squared_sums = (np.pad(each, ((0, added), (0, 0))) for each in squared)

    def rows(self, groups: np.ndarray, center: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Returns ȳ less a center (K,), (g, K), and Σw, (g, 1), of some groups."""
        self._make_room(int(groups.max(initial=-1)) + 1)  # of groups whose rows are all of weight 0
        return self._means(groups, self._weights, self._sums, center)

    def squared_rows(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the same for weights w²: the mean of y, (g, K), and the root of Σw², (g, 1)."""
        self._make_room(int(groups.max(initial=-1)) + 1)
        squared = (self._squared_weights, self._squared_sums) if self._is_weighted else (self._weights, self._sums)
        means, weights = self._means(groups, *squared, 0.0)
        return means, np.sqrt(weights)

    def _means(
        self, groups: np.ndarray, weights: np.ndarray, sums: np.ndarray, center: np.ndarray | float
    ) -> tuple[np.ndarray, np.ndarray]:
        of_groups = weights[groups]
        is_present = of_groups > 0
        means = self._first[groups] - center + sums[groups] / np.where(is_present, of_groups, 1)
        return np.where(is_present, means, 0), of_groups

    def triangle(self, chunks: Iterable[tuple[Tensor, ...]], center: Tensor) -> Triangle | None:
        """Returns the triangle of all rows, about a center (D+K,); None if there are none.

        Args:
            chunks: x (g, D) of the groups, with the `rows` of the groups about the targets' center.
            center: Of the columns of X and y.
        """
        if not self._num_rows:
            return None
        K = len(self._products)
        of_groups = triangle_of(chunks, torch.cat([center[:-K], torch.zeros(K, dtype=torch.float64)]))
        R = upper_triangle(torch.cat([of_groups.R, self._scatter(of_groups.R.shape[1])]))
        return replace(
            of_groups,
            R=R[: max(1, self._num_rows)],
            num_rows=self._num_rows,
            center=center,
            log_weights=self._log_weights,
            decimals=None,
        )

    def _scatter(self, num_columns: int) -> Tensor:
        """Returns a block (K, 1+D+K) whose product with itself is Σ w (y - ȳ)(y - ȳ)' over all groups."""
        weights = np.where(self._weights > 0, self._weights, 1)
        scatter = self._products - (self._sums / weights).T @ self._sums
        scales = np.sqrt(np.maximum(scatter.diagonal(), 0))
        known = np.where(scales > 0, scales, 1)
        values, vectors = np.linalg.eigh(scatter / np.outer(known, known))
        block = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T * scales
        return torch.nn.functional.pad(torch.from_numpy(block), (num_columns - len(block), 0))


def _add(totals: np.ndarray, groups: np.ndarray, values: np.ndarray) -> None:
    """Adds values (n, C) to the totals of their groups, (G, C)."""
    for total, column in zip(totals.T, values.T, strict=True):
        if len(total) <= len(groups):
            total += np.bincount(groups, column, len(total))  # a sum of sums has smaller rounding errors
        else:
            np.add.at(total, groups, column)
