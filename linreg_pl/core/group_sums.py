"""Sums the targets over groups of rows with equal features, so that least squares takes each group as one row.

Of rows with equal x, weights w and targets y, of mean ȳ, least squares needs no more than this:

    Σ w (y - θ'x)(y - θ'x)'  =  Σw (ȳ - θ'x)(ȳ - θ'x)'  +  Σ w (y - ȳ)(y - ȳ)'

The group becomes a row of weight Σw. The last sum, over all groups, is a block below the targets of the triangle. Each
y is summed less an anchor: that of a row of its group with at least a quarter of the largest weight there. So no digits
are lost where y is far from 0, or where a row of hardly any weight is far from the others.
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
        self._anchors, self._anchor_weights = np.zeros((0, num_targets)), np.zeros(0)  # weight 0 without an anchor
        self._weights, self._sums = np.zeros((0, 1)), np.zeros((0, num_targets))  # Σw, and Σ w d, for d = y - anchor
        self._squared_weights, self._squared_sums = self._weights, self._sums  # Σw², and Σ w² d, if there are weights
        self._products = np.zeros((num_targets, num_targets))  # Σ w d d' over all groups
        self.num_rows, self._log_weights, self._is_weighted = 0, 0.0, False
        self._num_groups = 0  # the sums have room for more

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
        w = None if weights is None else weights.astype(np.float64)
        if (1.0 if w is None else w.max()) > 4 * self._anchor_weights[: self._num_groups].min():
            self._move_anchors(groups, y, np.ones((len(groups), 1)) if w is None else w)
        weighted = d = y - self._anchors.take(groups, axis=0)
        if w is not None:
            weighted = w * d
            add_to(self._squared_weights, groups, w * w)
            add_to(self._squared_sums, groups, w * weighted)
        add_to(self._weights, groups, w)
        add_to(self._sums, groups, weighted)
        self._products += np.einsum("nk,nl->kl", weighted, d)  # BLAS's threads would wait for each other
        self.num_rows += len(groups)

    def _move_anchors(self, groups: np.ndarray, y: np.ndarray, w: np.ndarray) -> None:
        """Makes rows the anchors of their groups where they are much heavier, and shifts the sums to them."""
        is_heavier = w[:, 0] > 4 * self._anchor_weights.take(groups)
        groups, y, w = groups[is_heavier], y[is_heavier], w[is_heavier]
        order, moved = np.argsort(w[:, 0], kind="stable"), np.unique(groups)
        before, has_anchor = self._anchors[moved], self._anchor_weights[moved, None] > 0
        self._anchors[groups[order]] = y[order]  # the last one written is the heaviest row's
        self._anchor_weights[groups[order]] = w[order, 0]
        shift = np.where(has_anchor, self._anchors[moved] - before, 0)
        crossed = self._sums[moved].T @ shift
        self._products += (self._weights[moved] * shift).T @ shift - crossed - crossed.T
        self._sums[moved] -= self._weights[moved] * shift
        if self._is_weighted:
            self._squared_sums[moved] -= self._squared_weights[moved] * shift

    def _make_room(self, count: int) -> None:
        """Makes the sums at least as long as there are groups."""
        self._num_groups = max(count, self._num_groups)
        added = max(count, 2 * len(self._weights)) - len(self._weights) if count > len(self._weights) else 0
        if not added:
            return
        self._anchors = np.pad(self._anchors, ((0, added), (0, 0)))
        self._anchor_weights = np.pad(self._anchor_weights, (0, added))
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
        means = self._anchors[groups] - center + sums[groups] / np.where(is_present, of_groups, 1)
        return np.where(is_present, means, 0), of_groups

    def triangle(self, chunks: Iterable[tuple[Tensor, ...]], center: Tensor) -> Triangle | None:
        """Returns the triangle of all rows, about a center (D+K,); None if there are none.

        Args:
            chunks: x (g, D) of the groups, with the `rows` of the groups about the targets' center.
            center: Of the columns of X and y.
        """
        if not self.num_rows:
            return None
        K = len(self._products)
        of_groups = triangle_of(chunks, torch.cat([center[:-K], torch.zeros(K, dtype=torch.float64)]))
        R = upper_triangle(torch.cat([of_groups.R, self._scatter(of_groups.R.shape[1])]))
        return replace(
            of_groups,
            R=R[: max(1, self.num_rows)],
            num_rows=self.num_rows,
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


def add_to(totals: np.ndarray, groups: np.ndarray, values: np.ndarray | None = None) -> None:
    """Adds values (n, C) to the totals of their groups, (G, C); 1 for each row if there are none."""
    for column, total in enumerate(totals.T):
        of_rows = None if values is None else values[:, column]
        if len(total) <= len(groups):
            total += np.bincount(groups, of_rows, len(total))  # a sum of sums has smaller rounding errors
        else:
            np.add.at(total, groups, total.dtype.type(1) if of_rows is None else of_rows)
