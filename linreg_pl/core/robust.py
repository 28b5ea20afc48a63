"""Computes standard errors that allow the noise to differ between rows, or to be correlated within groups of rows.

With A = [1, X], weights w, residuals u = y - A θ, and leverages h = w · diag(A (A'wA)⁻¹ A'), the estimates' covariance
is

    (A'wA)⁻¹ · M · (A'wA)⁻¹        M = Σ f · (w u)² · a a'                      over the rows a of A
                                   M = Σ s s',  s = Σ w u a  within a group     over the groups

    HC0  f = 1            HC1  f = N / (N - P)          HC2  f = 1 / (1 - h)         HC3  f = 1 / (1 - h)²
    cluster               M times G / (G - 1) · (N - 1) / (N - P), for G groups

White, "A heteroskedasticity-consistent covariance matrix estimator", Econometrica 48 (1980); MacKinnon and White, "Some
heteroskedasticity-consistent covariance matrix estimators", Journal of Econometrics 29 (1985); Liang and Zeger,
"Longitudinal data analysis using generalized linear models", Biometrika 73 (1986). These are the `cov_type` of
statsmodels, with its default small-sample correction for clusters.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum
from linreg_pl.core.parallel import in_workers
from linreg_pl.core.pseudo_inverse import INVOLVED
from linreg_pl.core.statistics import statistics
from linreg_pl.core.world import ALONE, World

Robust = Literal["HC0", "HC1", "HC2", "HC3"]
"""How standard errors allow for noise that differs between rows."""


@dataclass(frozen=True, eq=False)
class RobustErrors:
    """Robust standard errors, and the F statistic that goes with them.

    All are NaN where there are no more rows than parameters. The errors of coefficients that the rows do not determine
    are NaN; for HC2 and HC3 also those that one row alone determines: its leverage is 1, and its residual 0.
    """

    kind: str  # HC0, HC1, HC2, HC3 or cluster
    standard_errors: Tensor  # (1+D, K), of b, then of W
    f: Tensor  # (K,), Wald's F statistic that all W are 0; NaN where their covariance is singular
    degrees_of_freedom: float  # of the t and F distributions: G - 1 for clusters, else those of the residuals
    num_groups: int | None  # G, for clusters
    decisive: Tensor  # (1+D,), which coefficients one row alone determines, for HC2 and HC3


def robust_errors(
    solution: Optimum,
    chunks: Iterable[tuple[Any, ...]],
    kind: Robust | Literal["cluster"],
    world: World = ALONE,
) -> RobustErrors:
    """Computes robust standard errors by one pass over the rows.

    Args:
        solution: The exact solution; with a penalty, the errors are those of the biased estimate.
        chunks: The rows that it solves: x (n, D), y (n, K), and weights (n, 1) if they have any. For clusters, the
            number of each row's group (n,), int64, from 0 on, comes last.
        kind: HC0, HC1, HC2, HC3 or cluster.
        world: The processes whose chunks together are the rows.

    Raises:
        ValueError: `kind` is none of these, or there are fewer than two groups.
    """
    if kind not in (*get_args(Robust), "cluster"):
        raise ValueError(f"robust is {kind!r}: give HC0, HC1, HC2 or HC3")
    meat = _Meat(solution, kind)
    for part in in_workers(meat.part, chunks):
        meat.add(part)
    meat.take(world.reduced(meat.sums, _added))
    return meat.errors()


class _Part(NamedTuple):
    """What some rows contribute."""

    sums: np.ndarray  # (K, rank, rank), of M; for clusters 0
    decisive: np.ndarray  # (1+D,)
    scores: np.ndarray | None  # (n, K · rank), for clusters
    groups: Tensor | None  # (n,), with -1 for rows of weight 0


class _Sums(NamedTuple):
    """What all rows so far contribute."""

    sums: Tensor  # (K, rank, rank)
    scores: Tensor  # (G, K · rank), a row a group
    present: Tensor  # (G,), groups with a row of weight above 0
    decisive: Tensor  # (1+D,)


def _added(first: _Sums, second: _Sums) -> _Sums:
    """Adds what two sets of rows contribute."""
    count = max(len(first.scores), len(second.scores))
    scores = [torch.nn.functional.pad(each.scores, (0, 0, 0, count - len(each.scores))) for each in (first, second)]
    present = [torch.nn.functional.pad(each.present, (0, count - len(each.present))) for each in (first, second)]
    return _Sums(
        first.sums + second.sums, scores[0] + scores[1], present[0] | present[1], first.decisive | second.decisive
    )


class _Meat:
    """The sum M over rows, in coordinates z = a · H with H H' = (A'wA)⁻¹."""

    rows_per_block = 4096
    """Few enough for the processor's cache."""

    def __init__(self, solution: Optimum, kind: str) -> None:
        self._solution, self._kind = solution, kind
        data, free = solution.data, solution.free
        self._half = solution.half / (data.total_weight * data.num_targets) ** 0.5
        self._users_half = self._half.clone()
        self._users_half[0] -= data.center[: data.num_features] @ self._half[1:]  # b in the user's units
        rank, K = self._half.shape[1], data.num_targets
        self._center, self._H, self._theta = data.center, self._half[free], solution.theta.high[free]
        self._sums = torch.zeros(K, rank, rank, dtype=torch.float64)
        self._scores = torch.zeros(0, K * rank, dtype=torch.float64)  # a row a group
        self._present = torch.zeros(0, dtype=torch.bool)  # groups with a row of weight above 0
        self._decisive = torch.zeros(len(self._half), dtype=torch.bool)

    def part(self, x: Tensor, y: Tensor, *others: Tensor) -> _Part:
        """Computes what some rows contribute.

        Args:
            x: Features (n, D).
            y: Targets (n, K).
            others: The weights (n, 1), if rows have some, and for clusters the numbers of the groups (n,).
        """
        is_clustered, (K, rank) = self._kind == "cluster", self._sums.shape[:2]
        weights = others[0].numpy() if len(others) > is_clustered else None
        sums, decisive = np.zeros((K, rank, rank)), np.zeros(len(self._half), dtype=bool)
        scores = np.empty((len(x), K * rank)) if is_clustered else None
        for start in range(0, len(x), self.rows_per_block):
            rows = slice(start, start + self.rows_per_block)
            w = None if weights is None else weights[rows].astype(np.float64)
            z, u = self._coordinates(x.numpy()[rows], y.numpy()[rows])
            u = u if w is None else u * w
            if self._kind in ("HC2", "HC3"):
                u = self._corrected(z, u, w, decisive)
            for k in range(K):
                scaled = z * u[:, k : k + 1]
                if scores is None:
                    sums[k] += scaled.T @ scaled
                else:
                    scores[rows, k * rank : (k + 1) * rank] = scaled
        groups = others[-1] if is_clustered else None
        if groups is not None and weights is not None:
            groups = torch.where(torch.from_numpy(weights[:, 0] > 0), groups, -1)
        return _Part(sums, decisive, scores, groups)

    def _coordinates(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns z (n, rank) and the residuals (n, K) of some rows."""
        D, first = x.shape[1], int(self._solution.fit_intercept)
        A = np.empty((len(x), first + D))
        A[:, :first] = 1
        center = self._center.numpy()
        np.subtract(x, center[:D], out=A[:, first:])
        return A @ self._H.numpy(), y - center[D:] - A @ self._theta.numpy()

    def _corrected(self, z: np.ndarray, u: np.ndarray, w: np.ndarray | None, decisive: np.ndarray) -> np.ndarray:
        """Divides residuals by 1 - h, or its root; those of rows with leverage 1 are 0, and these rows are noted."""
        rest = 1 - np.einsum("nr,nr->n", z, z)[:, np.newaxis] * (1 if w is None else w)
        lone = rest[:, 0] < 1e-10
        rest[lone] = np.inf
        if lone.any():  # (A'wA)⁻¹ a has the coefficients that the row determines
            half = self._users_half.numpy()
            parts = np.abs(z[lone] @ half.T) / np.maximum(np.linalg.norm(half, axis=1), np.finfo(np.float64).tiny)
            decisive |= (parts > INVOLVED * parts.max(axis=1, keepdims=True)).any(axis=0)
        corrected: np.ndarray = u / (np.sqrt(rest) if self._kind == "HC2" else rest)
        return corrected

    def add(self, part: _Part) -> None:
        """Adds what some rows contribute."""
        self._sums += torch.from_numpy(part.sums)
        self._decisive |= torch.from_numpy(part.decisive)
        if part.scores is None or part.groups is None or not (part.groups >= 0).any():
            return
        present, scores = part.groups >= 0, torch.from_numpy(part.scores)
        groups, num_groups = part.groups[present], 1 + int(part.groups.max())
        if num_groups > len(self._scores):
            grown = max(num_groups, 2 * len(self._scores)) - len(self._scores)
            self._scores = torch.nn.functional.pad(self._scores, (0, 0, 0, grown))
            self._present = torch.nn.functional.pad(self._present, (0, grown))
        self._present[groups] = True
        self._scores.index_add_(0, groups, scores if len(groups) == len(scores) else scores[present])

    @property
    def sums(self) -> _Sums:
        """Returns what the rows so far contribute."""
        return _Sums(self._sums, self._scores, self._present, self._decisive)

    def take(self, sums: _Sums) -> None:
        """Takes what the rows of all processes contribute."""
        self._sums, self._scores, self._present, self._decisive = sums

    def errors(self) -> RobustErrors:
        """Returns the standard errors of all rows."""
        data, fit = self._solution.data, statistics(self._solution)
        N, degrees, num_groups = data.num_rows, fit.degrees_of_freedom, None
        correction = N / degrees if not fit.is_saturated and self._kind == "HC1" else 1.0
        if self._kind == "cluster":
            num_groups = int(self._present.sum())
            if num_groups < 2:
                raise ValueError("all rows are in one group: give a column with more values")
            scores = self._scores.reshape(-1, *self._sums.shape[:2])
            self._sums = torch.einsum("gkr,gks->krs", scores, scores)
            correction = num_groups / (num_groups - 1) * (N - 1) / max(degrees, 1.0)
            degrees = num_groups - 1.0
        half = self._users_half
        squares = torch.stack([((half @ sums) * half).sum(dim=1) for sums in self._sums], dim=1)
        errors = (correction * squares).sqrt()
        errors[fit.standard_errors.isnan()] = torch.nan
        errors[self._decisive] = torch.nan
        has_test = not (fit.is_saturated or self._decisive.any())
        f = [self._wald(k, correction) if has_test else math.nan for k in range(data.num_targets)]
        f_statistics = torch.tensor(f, dtype=torch.float64)
        return RobustErrors(self._kind, errors, f_statistics, degrees, num_groups, self._decisive)

    def _wald(self, target: int, correction: float) -> float:
        """Returns W' V⁻¹ W / D, where V is the covariance of W; NaN where it is singular."""
        half, W = self._half[1:], self._solution.W[:, target]
        covariance = correction * (half @ self._sums[target] @ half.T)
        lengths = covariance.diagonal().sqrt()
        if not len(W) or not (lengths > 0).all():
            return math.nan
        values, vectors = torch.linalg.eigh(covariance / lengths / lengths.unsqueeze(1))
        if values[0] <= len(W) * torch.finfo(torch.float64).eps * values[-1]:
            return math.nan
        return float(((vectors.T @ (W / lengths)).square() / values).sum()) / len(W)
