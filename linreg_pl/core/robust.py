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
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum
from linreg_pl.core.pseudo_inverse import INVOLVED
from linreg_pl.core.statistics import statistics

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
    solution: Optimum, chunks: Iterable[tuple[Any, ...]], kind: Robust | Literal["cluster"]
) -> RobustErrors:
    """Computes robust standard errors by one pass over the rows.

    Args:
        solution: The exact solution; with a penalty, the errors are those of the biased estimate.
        chunks: The rows that it solves: x (n, D), y (n, K), and weights (n, 1) if they have any. For clusters, the
            number of each row's group (n,), int64, from 0 on, comes last.
        kind: HC0, HC1, HC2, HC3 or cluster.

    Raises:
        ValueError: `kind` is none of these, or there are fewer than two groups.
    """
    if kind not in (*get_args(Robust), "cluster"):
        raise ValueError(f"robust is {kind!r}: give HC0, HC1, HC2 or HC3")
    meat = _Meat(solution, kind)
    for chunk in chunks:
        for start in range(0, len(chunk[0]), meat.rows_per_block):
            meat.add(*(tensor[start : start + meat.rows_per_block] for tensor in chunk))
    return meat.errors()


class _Meat:
    """The sum M over rows, in coordinates z = a · H with H H' = (A'wA)⁻¹."""

    rows_per_block = 16_384
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

    def add(self, x: Tensor, y: Tensor, *others: Tensor) -> None:
        """Adds some rows; others are their weights, if they have any, and the numbers of their groups, for clusters."""
        D, is_clustered = self._solution.data.num_features, self._kind == "cluster"
        weights = others[0] if len(others) > is_clustered else None
        A = x.double() - self._center[:D]
        if self._solution.fit_intercept:
            A = torch.cat([torch.ones(len(A), 1, dtype=A.dtype), A], dim=1)
        z = A @ self._H
        u = y.double() - self._center[D:] - A @ self._theta
        if weights is not None:
            u = u * weights
        if is_clustered:
            present = torch.ones(len(z), dtype=torch.bool) if weights is None else weights[:, 0] > 0
            self._add_groups(z, u, others[-1], present)
            return
        if self._kind in ("HC2", "HC3"):
            leverage = z.square().sum(dim=1, keepdim=True)
            rest = 1 - (leverage if weights is None else leverage * weights)
            lone = rest[:, 0] < 1e-10
            u = torch.where(lone.unsqueeze(1), 0.0, u / (rest.sqrt() if self._kind == "HC2" else rest))
            if lone.any():  # (A'wA)⁻¹ a has the coefficients that the row determines
                parts = (z[lone] @ self._users_half.T).abs() / torch.linalg.vector_norm(self._users_half, dim=1)
                self._decisive |= (parts > INVOLVED * parts.amax(dim=1, keepdim=True)).any(dim=0)
        for k in range(u.shape[1]):
            scaled = z * u[:, k : k + 1]
            self._sums[k] += scaled.T @ scaled

    def _add_groups(self, z: Tensor, u: Tensor, groups: Tensor, present: Tensor) -> None:
        num_groups = 1 + int(groups.max())
        if num_groups > len(self._scores):
            grown = max(num_groups, 2 * len(self._scores)) - len(self._scores)
            self._scores = torch.nn.functional.pad(self._scores, (0, 0, 0, grown))
            self._present = torch.nn.functional.pad(self._present, (0, grown))
        self._present[groups[present]] = True
        self._scores.index_add_(0, groups, (u.unsqueeze(2) * z.unsqueeze(1)).flatten(1))

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
