"""Solves least squares with an l1 penalty, alone (lasso) or with l2 (elastic net), by coordinate descent.

    ‖A w - r‖² + l2 · sum(w²) + l1 · sum|w|                                            for each target's r

A (M, D) is the triangle of the centered features, or has the rows of an l2 penalty below it, so M is about D, however
many rows the table has. J is this sum where A and r are divided by √(N·K). scikit-learn's `ElasticNet` divides the
squares by 2N, so with K = 1 `l1 = 2 · alpha · l1_ratio` and `l2 = alpha · (1 - l1_ratio)`; in general both are divided
by K.

Coordinate descent (Friedman, Hastie and Tibshirani, "Regularization paths for generalized linear models via coordinate
descent", Journal of Statistical Software 33, 2010) finds out which w are 0, and the signs of the others. For these, the
minimum solves linear equations, so a few steps of Newton's method give its last digits. A step that would change a sign
ends where that w is 0 (Lee et al., "Efficient sparse coding algorithms", 2006). The sum decreases at each step.

The duality gap bounds how far the sum is above its minimum (Kim et al., "An interior-point method for large-scale
l1-regularized least squares", 2007). At the minimum, the pulls `2 A'(r - A w) - 2 l2 w` are `l1 · sign(w)` where w is
not 0, and between -l1 and l1 elsewhere.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.parallel import libraries


@dataclass(frozen=True)
class L1Term:
    """The term `l1 · sum|V|` of J around the minimum, where V (D, K) is W in the units that are penalised.

    It has a kink where an entry of V is 0. So J grows from its minimum not only by a square, but also by `l1 · |V|`
    less the pull times V, which is not negative.

    Args:
        l1: Factor of the penalty.
        minimum: V at the minimum.
        pulls: The negative gradient of the rest of J there, (D, K); l1 · sign(V) where V is not 0.
    """

    l1: float
    minimum: Tensor
    pulls: Tensor

    @classmethod
    def at(cls, l1: float, minimum: Tensor, pulls: Tensor) -> Self:
        """Builds the term, and corrects the rounding of the pulls."""
        return cls(l1, minimum, torch.where(minimum == 0, pulls.clamp(-l1, l1), l1 * minimum.sign()))

    @property
    def value(self) -> float:
        """Returns the term at the minimum."""
        return self.l1 * float(self.minimum.abs().sum())

    @property
    def num_nonzero(self) -> Tensor:
        """Returns how many coefficients of each target are not 0, (K,)."""
        return (self.minimum != 0).sum(dim=0)

    def excess(self, errors: Tensor) -> Tensor:
        """Computes each target's J - J* at V - V* (D, K), but for the squares of the rest of J, (K,)."""
        V = self._at(errors)
        return (self.l1 * V.abs() - self.pulls * V).sum(dim=0)

    def subgradient(self, change: Tensor, errors: Tensor) -> Tensor:
        """Computes the shortest subgradient of J (D, K), which is 0 only at the minimum.

        Args:
            change: How much the gradient of the rest of J differs from that at the minimum, (D, K).
            errors: V - V*, (D, K).
        """
        V = self._at(errors)
        # Where V has the sign of the minimum, the pull and the term cancel: their sum has no rounding.
        is_kept = V.sign() == self.minimum.sign()
        at_zero = torch.nn.functional.softshrink(change - self.pulls, self.l1)
        elsewhere = torch.where(is_kept, change, change - self.pulls + self.l1 * V.sign())
        return torch.where(V == 0, at_zero, elsewhere)

    def _at(self, errors: Tensor) -> Tensor:
        V = self.minimum + errors
        return torch.where(V.abs() <= 1e-14 * self.minimum.abs(), 0.0, V)  # the sum of a V of 0 is rounded


@dataclass(frozen=True)
class L1Problem:
    """The least-squares problems of all targets, to which an l1 penalty is added.

    Args:
        columns: A (M, D), float64.
        right: r (M, K), likewise.
    """

    columns: Tensor
    right: Tensor

    @property
    def largest_l1(self) -> float:
        """Returns the smallest l1 for which all of W is 0."""
        pulls = 2 * (self.columns.T @ self.right).abs()
        return float(pulls.max()) if pulls.numel() else 0.0

    def solve(self, l1: float, l2: float = 0.0, start: Tensor | None = None) -> Tensor:
        """Returns W (D, K) at the minimum.

        Where several W have the same sum, it is one of them. Without a start, l1 comes down from `largest_l1` in powers
        of 2, so that few coefficients join at a time.

        Args:
            l1: Factor of sum|W|, above 0.
            l2: Factor of sum(W²), unless A has its rows.
            start: W (D, K) of a similar l1 to start at.
        """
        W = np.zeros((self.columns.shape[1], self.right.shape[1])) if start is None else start.numpy().copy()
        with libraries().limit(limits=1, user_api="blas"):  # threads cost more than they save on such small products
            for k, lasso in enumerate(self._targets):
                distance = math.log2(max(l1, self.largest_l1)) - math.log2(l1)
                halvings = 0 if start is not None else max(0, math.ceil(distance) - 1)
                for power in range(halvings, -1, -1):
                    W[:, k] = lasso.minimum(math.ldexp(l1, power), l2, W[:, k])
        return torch.from_numpy(W)

    def path(self, penalties: Iterable[tuple[float, float]]) -> Iterator[Tensor]:
        """Yields W (D, K) for each pair (l1, l2), each starting from the one before; largest l1 first is fastest."""
        W = None
        for l1, l2 in penalties:
            W = self.solve(l1, l2, W)
            yield W

    def duality_gap(self, W: Tensor, l1: float, l2: float = 0.0) -> float:
        """Computes a bound on how far the sum at W (D, K) is above its minimum, over all targets."""
        return sum(
            lasso.duality_gap(w, *lasso.residual_and_pulls(w, l2), l1, l2)
            for lasso, w in zip(self._targets, W.T.numpy(), strict=True)
        )

    @cached_property
    def _targets(self) -> list["_Lasso"]:
        columns = np.asfortranarray(self.columns.numpy())
        squares = np.einsum("mj,mj->j", columns, columns)
        return [_Lasso(columns, squares, np.ascontiguousarray(r)) for r in self.right.T.numpy()]


@dataclass(frozen=True)
class _Lasso:
    """The problem of one target."""

    columns: np.ndarray  # (M, D), in Fortran's order
    squares: np.ndarray  # (D,), of the columns' lengths
    right: np.ndarray  # (M,)

    def minimum(self, l1: float, l2: float, w: np.ndarray, most_rounds: int = 100_000) -> np.ndarray:
        """Returns w (D,) at the minimum, from `w` on.

        A round looks at all pulls, descends along the coordinates that are not 0 or are pulled away from it, and then
        takes Newton steps. It ends when nothing is left but rounding.
        """
        length = float(np.linalg.norm(self.right))
        rounding = 8 * np.finfo(np.float64).eps * np.sqrt(self.squares) * length
        w, is_solved = w.copy(), False
        for _ in range(most_rounds):
            residual, pulls = self.residual_and_pulls(w, l2)
            gap = self.duality_gap(w, residual, pulls, l1, l2)
            is_pulled = (w == 0) & (np.abs(pulls) > l1 + rounding)
            if gap <= 1e-17 * length**2 or (is_solved and not is_pulled.any()):
                break
            self._descend(w, residual, np.flatnonzero((w != 0) | is_pulled), l1, l2)
            is_solved = self._polish(w, l1, l2)
        return w

    def residual_and_pulls(self, w: np.ndarray, l2: float) -> tuple[np.ndarray, np.ndarray]:
        """Returns r - A w (M,), and the pulls (D,)."""
        residual = self.right - self.columns @ w
        return residual, 2 * (residual @ self.columns - l2 * w)

    def duality_gap(self, w: np.ndarray, residual: np.ndarray, pulls: np.ndarray, l1: float, l2: float) -> float:
        """Computes the duality gap at w (D,), without differences of large numbers near the minimum."""
        largest = float(np.abs(pulls).max()) if len(pulls) else 0.0
        share = l1 / largest if largest > l1 else 1.0  # makes the residual a feasible point of the dual problem
        squares = float(residual @ residual) + l2 * float(w @ w)
        return (1 - share) ** 2 * squares + float((np.abs(w) * l1 - share * w * pulls).sum())

    def _descend(
        self, w: np.ndarray, residual: np.ndarray, active: np.ndarray, l1: float, l2: float, most_sweeps: int = 2
    ) -> None:
        """Moves each active coordinate in turn to its minimum, a few times; changes w and the residual in place."""
        columns, half = self.columns, l1 / 2
        for _ in range(most_sweeps):
            largest_change = 0.0
            for j in active.tolist():
                column, square, old = columns[:, j], float(self.squares[j]), float(w[j])
                pull = float(column @ residual) + square * old
                new = (pull - half if pull > half else pull + half if pull < -half else 0.0) / (square + l2)
                if new != old:
                    residual -= (new - old) * column
                    w[j] = new
                    largest_change = max(largest_change, abs(new - old) * square**0.5)
            if largest_change <= 1e-9 * float(np.linalg.norm(self.right)):
                return

    def _polish(self, w: np.ndarray, l1: float, l2: float) -> bool:
        """Moves the w that are not 0 to the minimum for their signs; returns whether they keep these.

        Where a sign would change, it moves until the first w is 0, and leaves that one out.
        """
        for _ in range(1 + np.count_nonzero(w)):
            chosen = np.flatnonzero(w)
            if not len(chosen):
                return True
            columns = self.columns[:, chosen]
            equations = _Equations(columns, np.sqrt(self.squares[chosen] + l2), l2)
            is_inside = True
            for _ in range(2):  # the second corrects the first one's rounding
                values = w[chosen]
                forces = columns.T @ (self.right - columns @ values) - l2 * values - l1 / 2 * np.sign(values)
                change = equations.step(forces, np.sign(values))
                is_crossing = values * (values + change) < 0
                if is_crossing.any() or not np.isfinite(change).all():
                    is_inside = False
                    break
                w[chosen] = values + change
            if is_inside:
                return bool((w[chosen] != 0).all())
            if not np.isfinite(change).all():
                return False
            shares = np.full(len(values), np.inf)
            shares[is_crossing] = -values[is_crossing] / change[is_crossing]
            first = int(shares.argmin())
            w[chosen] = values + shares[first] * change
            w[chosen[first]] = 0.0
        return False


class _Equations:
    """The equations of Newton's method for some columns: A'A + l2, of which A has full rank or not.

    Args:
        columns: A (M, n).
        lengths: √(‖column‖² + l2), (n,).
        l2: Factor of the l2 penalty.
    """

    def __init__(self, columns: np.ndarray, lengths: np.ndarray, l2: float) -> None:
        scaled = columns / lengths
        self._lengths = lengths
        stacked = np.concatenate([scaled, np.diag(np.sqrt(l2) / lengths)]) if l2 else scaled
        self._triangle = np.asarray(np.linalg.qr(stacked, mode="r"))
        self._is_regular = len(stacked) >= len(lengths) and np.abs(self._triangle.diagonal()).min() > 1e-8

    def step(self, forces: np.ndarray, signs: np.ndarray) -> np.ndarray:
        """Returns the change of w (n,) that balances the forces, half of the negative gradient.

        Where the columns are linearly dependent, w moves along a dependency in which the l1 penalty decreases. If there
        is none, the shortest change is returned.
        """
        scaled = forces / self._lengths
        if self._is_regular:
            change = np.linalg.solve(self._triangle, np.linalg.solve(self._triangle.T, scaled))
            return np.asarray(change / self._lengths)
        _, sizes, Vt = np.linalg.svd(self._triangle)
        is_kept = np.zeros(len(Vt), dtype=bool)
        is_kept[: len(sizes)] = sizes > 1e-8 * sizes[0]
        downhill = -(signs / self._lengths) @ Vt[~is_kept].T @ Vt[~is_kept]
        if np.abs(downhill).max() > 1e-6 * np.abs(signs / self._lengths).max():
            return np.asarray(1e12 * downhill / self._lengths)  # until a w is 0
        kept = Vt[is_kept]
        return np.asarray(kept.T @ ((kept @ scaled) / sizes[is_kept[: len(sizes)]] ** 2) / self._lengths)
