"""Computes the exact minimum of J, and the gap J - J* anywhere, from the triangle of the data.

With the coefficients as one matrix θ = (b; W), J is a paraboloid:

    J(W, b) = mean((X W + b - y)²) + l2 · sum(W²) = J* + ‖T (θ - θ*)‖²
    T'T = [1, X]'[1, X] / (N·K) + l2 · P'P                   P = diag(0, 1, …, 1)

Where rows have weights, the mean is weighted: sum of w · (…)² / (K · sum of w), and each row of [1, X] is times √w.
T'T is half of J's Hessian. T itself is the QR triangle of the data's triangle stacked on the penalty's rows √l2·P, so
nothing is ever squared. The gap is a norm, which keeps its digits where J and J* agree in all of theirs.

Without a penalty, T has no more rows than the data. Of N rows, fewer than columns, all this takes O(N²·D).

With l1 above 0, J also has the term `l1 · sum|W|`: `L1Problem` finds the minimum, and `L1Term` describes J around it.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, double_double, square_root
from linreg_pl.core.elastic_net import L1Problem, L1Term
from linreg_pl.core.pseudo_inverse import PseudoInverse
from linreg_pl.core.scaling import Scaling, theta_of, users_units
from linreg_pl.core.triangle import Triangle, trapezoid, upper_triangle

NEARLY_SINGULAR = 1e6
"""From this condition number on, a penalty that makes collinear columns identifiable is hardly meant to do so."""


@dataclass(frozen=True, eq=False)
class Optimum:
    """The minimum of J, and J around it.

    Coefficients are the rows of one matrix θ (1+D, K): b, then W. Without an intercept b is 0, and not part of J. They
    belong to the columns that the triangle was made of: X and y less its center.
    """

    theta: DoubleDouble  # (1+D, K), θ*
    objective: float  # J*
    factor: Tensor  # T (M, 1+D); M is the number P of fitted rows of θ, or of rows of the data if these are fewer
    penalty: DoubleDouble  # √l2·P (1+D, 1+D)
    data: Triangle
    free: slice  # rows of θ that are fitted: all, or all but b
    half: Tensor  # (1+D, rank); half @ half.T is (T'T)⁺
    inverse: PseudoInverse  # of T's columns for W, once b is eliminated
    constant: list[int]  # columns of [1, X] that are constant, whose W is 0; the column of ones is number 0
    dependent: list[int]  # columns of [1, X] that are linearly dependent
    unidentified: list[int]  # those of them whose coefficients no penalty determines either, or hardly
    condition: float  # of T'T, see `PseudoInverse`
    units: Tensor  # (D,), of the W that are penalised: V = units · W
    l1_term: L1Term | None  # None if l1 is 0; all else but θ* and J* is that of J without it
    refined_error: Tensor | None = None  # (K,), bounds of ‖T (θ - θ*)‖; None for the solution of the triangle

    @property
    def W(self) -> Tensor:
        """Returns W (D, K) at the minimum."""
        return self.theta.high[1:]

    @property
    def b(self) -> Tensor:
        """Returns b (K,) at the minimum, in the user's units."""
        if not self.fit_intercept:
            return self.theta.high[0]
        center, W = self.data.center.unsqueeze(1), self.theta.rows(slice(1, None))
        shift = (double_double(-center[: len(W.high)]) * W).sum_of_rows() if len(W.high) else None
        b = DoubleDouble(self.theta.high[0], self.theta.low[0]) + double_double(center[len(W.high) :, 0])
        return b.high if shift is None else (b + shift).high

    @property
    def is_penalized(self) -> bool:
        """Returns whether there is a penalty; its rows have scales, which are never 0, on the diagonal."""
        return bool(self.penalty.high.diagonal().any())

    @property
    def nullity(self) -> int:
        """Returns the number of directions in which J does not change."""
        return self.inverse.nullity

    @cached_property
    def null(self) -> Tensor:
        """Returns these directions, (1+D, nullity)."""
        null = torch.nn.functional.pad(self.inverse.null, (0, 0, 1, 0))
        if self.fit_intercept:
            null[0] = -self.factor[0, 1:] @ self.inverse.null / self.factor[0, 0]
        return null

    @property
    def fit_intercept(self) -> bool:
        """Tells whether b is fitted."""
        return bool(self.free.start == 0)

    def sizes(self, scaling: Scaling) -> Tensor:
        """Returns the standard deviations of the columns of X, in the units of `scaling`, and y, without constant ones.

        Without an intercept they are about 0.
        """
        data, first = self.data, int(self.fit_intercept)
        rows = data if self.fit_intercept else data.about_zero
        lengths = torch.linalg.vector_norm(rows.R[first:, 1:], dim=0) / data.total_weight**0.5
        lengths[: data.num_features] /= scaling.scales
        varying: Tensor = lengths[data.scales > 0]
        return varying

    def factor_of(self, scaling: Scaling) -> Tensor:
        """Returns T for the fitted W and b of `scaling`, (M, P); J's Hessian is twice its Gram matrix."""
        factor = scaling.of_rows(self.factor)[:, self.free]
        if self.nullity > self.half.shape[1]:
            span = self.span(scaling)
            return factor @ span @ span.T
        if self.nullity:  # only rounding is left of the directions in which T θ does not change
            null = torch.linalg.qr(scaling.from_users(self.null)[self.free]).Q
            factor = factor - (factor @ null) @ null.T
        return factor

    def condition_number(self, scaling: Scaling) -> float:
        """Returns the condition number of J's Hessian in the W and b of `scaling`; infinite if it is singular."""
        if self.nullity or self.constant:
            return float("inf")
        lengths = torch.linalg.svdvals(self.factor_of(scaling))
        return float((lengths[0] / lengths[-1]).square())

    def span(self, scaling: Scaling) -> Tensor:
        """Returns an orthonormal basis (P, rank) of the directions of the same W and b in which J changes."""
        rows = self.factor[self.factor.any(dim=1)]
        basis: Tensor = torch.linalg.qr(scaling.of_rows(rows)[:, self.free].T @ (rows @ self.half)).Q
        return basis

    def gap(self, W: Tensor, b: Tensor) -> float:
        """Computes J(W, b) - J*, in O(D²·K); never negative."""
        return self.gap_of(self._error(W, b))

    def gap_of(self, error: Tensor) -> float:
        """Computes J(θ) - J* from θ - θ* (1+D, K)."""
        return float((self.factor @ error).square().sum()) + float(self.excess_of(error).sum())

    def excess_of(self, error: Tensor) -> Tensor:
        """Computes the part of it that is due to the kinks of l1, by target, (K,); 0 without l1."""
        if self.l1_term is None:
            return torch.zeros(error.shape[1], dtype=torch.float64)
        return self.l1_term.excess(self.units.unsqueeze(1) * error[1:])

    def gradient(self, W: Tensor, b: Tensor) -> Tensor:
        """Computes dJ/dθ (1+D, K) over all rows: dJ/db, then dJ/dW; with l1, less its value at the minimum."""
        return self.gradient_of(self._error(W, b))

    def gradient_of(self, error: Tensor) -> Tensor:
        """Computes the same from θ - θ* (1+D, K)."""
        return 2 * self.factor.T @ (self.factor @ error)

    def half_of(self, target: int) -> Tensor:
        """Returns `half` of the coefficients of a target that are not 0, (1+D, rank); without l1, `half` itself."""
        if self.l1_term is None:
            return self.half
        W = self.W[:, target] != 0
        chosen = torch.cat([torch.tensor([self.fit_intercept]), W]).nonzero().flatten()
        half = torch.zeros(len(self.factor.T), len(chosen), dtype=torch.float64)
        inverse = PseudoInverse(self.factor[:, chosen], torch.zeros(len(chosen), dtype=torch.float64)).half
        half[chosen, : inverse.shape[1]] = inverse
        return half

    def in_users_units(self, rows: Tensor) -> Tensor:
        """Returns rows (1+D, n) for b and W with the row for b in the user's units, not about the center."""
        moved = rows.clone()
        moved[0] -= self.data.center[: self.data.num_features] @ rows[1:]
        return moved

    def _error(self, W: Tensor, b: Tensor) -> Tensor:
        return (theta_of(W, b) - self.theta.high) - self.theta.low


def optimum(
    data: Triangle,
    penalty: DoubleDouble,
    fit_intercept: bool = True,
    units: Tensor | None = None,
    l1: float = 0.0,
) -> Optimum:
    """Computes the minimum of J over the rows of the triangle `data`.

    W is solved for on columns less their means, and b follows from W. Where columns are linearly dependent and nothing
    is penalised, J has many minima. This returns the one with the smallest sum of (units · W)², the limit of ridge
    regression as l2 goes to 0.

    Args:
        data: Triangle of the rows.
        penalty: From `penalty_rows`.
        fit_intercept: Whether b is fitted; 0 otherwise.
        units: Scales of the features that are penalised, (D,); 1 if not given.
        l1: Factor of the l1 penalty, which falls on `units · W`.
    """
    units = torch.ones(data.num_features).double() if units is None else units
    num_columns, num_targets = 1 + data.num_features, data.num_targets
    free = slice(0 if fit_intercept else 1, num_columns)
    rows = data if fit_intercept else data.about_zero
    scale = (data.total_weight * num_targets) ** 0.5
    no_targets = torch.zeros(len(penalty.high), num_targets, dtype=torch.float64)
    is_penalized = bool(penalty.high.diagonal().any())
    if rows.is_wide and not is_penalized:
        R = trapezoid(rows.R[:, free.start :] / scale)
    else:
        stacked = torch.cat([rows.R / scale, torch.cat([penalty.high, no_targets], dim=1)])
        R = upper_triangle(stacked[:, free.start :])
    num_free, first = num_columns - free.start, 1 - free.start
    factor, right, rest = R[:num_free, :num_free], R[:num_free, num_free:], R[num_free:, num_free:]
    errors = rows.errors[1:num_columns] / scale
    inverse = PseudoInverse(factor[first:, first:], errors)
    known = _of_rows(rows, fit_intercept, errors) if is_penalized else inverse
    W = inverse.shortest(inverse.solve(right[first:]), units)
    is_constant = known.zero & (penalty.high[0, 0] == 0)  # b explains it, unless b is penalised as W is
    W[is_constant] = 0
    l1_term = None
    if l1:
        columns = torch.where(is_constant, 0.0, factor[first:, first:] / units)
        minimum = L1Problem(columns, right[first:]).solve(l1)
        l1_term = L1Term.at(l1, minimum, 2 * columns.T @ (right[first:] - columns @ minimum))
        W = minimum / units.unsqueeze(1)
    theta = torch.zeros(num_columns, num_targets, dtype=torch.float64)
    theta[1:] = W
    half = torch.nn.functional.pad(inverse.half, (0, 0, 1, 0))
    if fit_intercept:
        theta[0] = (right[0] - factor[0, 1:] @ W) / factor[0, 0]
        half[0] = -factor[0, 1:] @ inverse.half / factor[0, 0]
        alone = torch.zeros(num_columns, 1, dtype=torch.float64)
        alone[0] = 1 / factor[0, 0]
        half = torch.cat([alone, half], dim=1)
    residual = right - factor @ theta[free]
    dependent = _dependent(rows, known, fit_intercept)
    return Optimum(
        theta=double_double(theta),
        objective=float(rest.square().sum() + residual.square().sum()) + (l1_term.value if l1_term else 0.0),
        factor=torch.cat([torch.zeros(len(factor), free.start, dtype=torch.float64), factor], dim=1),
        penalty=penalty,
        data=rows,
        free=free,
        half=half,
        inverse=inverse,
        constant=[1 + int(column) for column in is_constant.nonzero()],
        dependent=dependent,
        unidentified=dependent if inverse.nullity or inverse.condition > NEARLY_SINGULAR else [],
        condition=inverse.condition,
        units=units,
        l1_term=l1_term,
    )


def _of_rows(rows: Triangle, fit_intercept: bool, errors: Tensor) -> PseudoInverse:
    """Returns the pseudo-inverse of the features alone, without a penalty."""
    scale = (rows.total_weight * rows.num_targets) ** 0.5
    features = rows.R[:, 1 : 1 + rows.num_features] / scale
    if fit_intercept:
        return PseudoInverse(features[1:], errors)
    return PseudoInverse(features, errors)


def _dependent(rows: Triangle, inverse: PseudoInverse, fit_intercept: bool) -> list[int]:
    """Returns the linearly dependent columns of [1, X]; the column of ones is one of them if others add up to it."""
    columns = [1 + int(column) for column in inverse.dependent.nonzero()]
    if not fit_intercept or not columns:
        return columns
    return columns if inverse.determines(rows.means[: rows.num_features]) else [0, *columns]


def penalty_rows(num_features: int, l2: float, fold_bias: bool = False, scaling: Scaling | None = None) -> DoubleDouble:
    """Returns √l2·P (1+D, 1+D): the sum of squares of its product with θ is the penalty.

    It is a pair, as the root needs more digits than l2 has.

    Args:
        num_features: D.
        l2: Factor of the penalty.
        fold_bias: Whether b is penalised with W.
        scaling: Of the W and b that are penalised; by default those in the user's units.
    """
    if l2 == 0:
        zeros = torch.zeros(1, 1, dtype=torch.float64).expand(1 + num_features, 1 + num_features)  # takes no memory
        return DoubleDouble(zeros, zeros)
    penalized = torch.ones(1 + num_features, dtype=torch.float64)
    penalized[0] = float(fold_bias)
    rows = penalized.unsqueeze(1) * (scaling or users_units(num_features)).inverse
    return square_root(torch.tensor(l2, dtype=torch.float64)) * double_double(rows)
