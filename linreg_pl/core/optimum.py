"""Computes the exact minimum of J, and the gap J - J* anywhere, from the triangle of the data.

With the coefficients as one matrix θ = (b; W), J is a paraboloid:

    J(W, b) = mean((X W + b - y)²) + l2 · sum(W²) = J* + ‖T (θ - θ*)‖²
    T'T = [1, X]'[1, X] / (N·K) + l2 · P'P                   P = diag(0, 1, …, 1)

Where rows have weights, the mean is weighted: sum of w · (…)² / (K · sum of w), and each row of [1, X] is times √w.
T'T is half of J's Hessian. T itself is the QR triangle of the data's triangle stacked on the penalty's rows √l2·P, so
nothing is ever squared. The gap is a norm, which keeps its digits where J and J* agree in all of theirs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, double_double, square_root
from linreg_pl.core.pseudo_inverse import PseudoInverse
from linreg_pl.core.scaling import Scaling, theta_of, users_units
from linreg_pl.core.triangle import Triangle, upper_triangle


@dataclass(frozen=True)
class Optimum:
    """The minimum of J, and J around it; all in the user's units.

    Coefficients are the rows of one matrix θ (1+D, K): b, then W. Without an intercept b is 0, and not part of J.
    """

    theta: DoubleDouble  # (1+D, K), θ*
    objective: float  # J*
    factor: Tensor  # T (P, 1+D), where P is 1+D, or D without an intercept
    penalty: DoubleDouble  # √l2·P (1+D, 1+D)
    data: Triangle
    inverse: PseudoInverse  # of T's free columns
    free: slice  # rows of θ that are fitted: all, or all but b

    @property
    def W(self) -> Tensor:
        """Returns W (D, K) at the minimum."""
        return self.theta.high[1:]

    @property
    def b(self) -> Tensor:
        """Returns b (K,) at the minimum."""
        return self.theta.high[0]

    @property
    def fit_intercept(self) -> bool:
        """Tells whether b is fitted."""
        return bool(self.free.start == 0)

    @property
    def dependent(self) -> list[int]:
        """Returns the linearly dependent columns of [1, X]; the column of ones is number 0."""
        return [self.free.start + int(column) for column in self.inverse.dependent.nonzero()]

    def factor_of(self, scaling: Scaling) -> Tensor:
        """Returns T for the fitted W and b of `scaling`, (P, P); J's Hessian is twice its Gram matrix."""
        factor: Tensor = (self.factor @ scaling.matrix)[:, self.free]
        if self.dependent:  # only rounding is left of the directions in which T θ does not change
            _, lengths, Vt = torch.linalg.svd(factor)
            lengths[len(lengths) - self.inverse.nullity :] = 0
            factor = lengths.unsqueeze(1) * Vt
        return factor

    def gap(self, W: Tensor, b: Tensor) -> float:
        """Computes J(W, b) - J*, in O(D²·K); never negative."""
        return float((self.factor @ self._error(W, b)).square().sum())

    def gradient(self, W: Tensor, b: Tensor) -> Tensor:
        """Computes dJ/dθ (1+D, K) over all rows: dJ/db, then dJ/dW."""
        return 2 * self.factor.T @ (self.factor @ self._error(W, b))

    def _error(self, W: Tensor, b: Tensor) -> Tensor:
        return (theta_of(W, b) - self.theta.high) - self.theta.low


def optimum(data: Triangle, penalty: DoubleDouble, fit_intercept: bool = True) -> Optimum:
    """Computes the minimum of J over the rows of the triangle `data`.

    Where columns are linearly dependent and nothing is penalised, J has many minima. This returns the one with the
    smallest sum(W²), the limit of ridge regression as l2 goes to 0.

    Args:
        data: Triangle of the rows.
        penalty: From `penalty_rows`.
        fit_intercept: Whether b is fitted; 0 otherwise.
    """
    free = slice(0 if fit_intercept else 1, 1 + data.num_features)
    data_rows = data.R / (data.total_weight * data.num_targets) ** 0.5
    no_targets = torch.zeros(len(penalty.high), data.num_targets, dtype=torch.float64)
    penalty_rows = torch.cat([penalty.high, no_targets], dim=1)
    R = upper_triangle(torch.cat([data_rows, penalty_rows])[:, free.start :])
    num_free = free.stop - free.start
    factor, right, rest = R[:num_free, :num_free], R[:num_free, num_free:], R[num_free:, num_free:]
    inverse = PseudoInverse(factor, data.rounding)
    solution = inverse.shortest(inverse.solve(right), rows=slice(1 - free.start, None))
    residual = right - factor @ solution
    theta = torch.zeros(1 + data.num_features, data.num_targets, dtype=torch.float64)
    theta[free] = solution
    return Optimum(
        theta=double_double(theta),
        objective=float(rest.square().sum() + residual.square().sum()),
        factor=torch.cat([torch.zeros(num_free, free.start, dtype=torch.float64), factor], dim=1),
        penalty=penalty,
        data=data,
        inverse=inverse,
        free=free,
    )


def penalty_rows(num_features: int, l2: float, fold_bias: bool = False, scaling: Scaling | None = None) -> DoubleDouble:
    """Returns √l2·P (1+D, 1+D): the sum of squares of its product with θ is the penalty.

    It is a pair, as the root needs more digits than l2 has.

    Args:
        num_features: D.
        l2: Factor of the penalty.
        fold_bias: Whether b is penalised with W.
        scaling: Of the W and b that are penalised; by default those in the user's units.
    """
    penalized = torch.ones(1 + num_features, dtype=torch.float64)
    penalized[0] = float(fold_bias)
    rows = penalized.unsqueeze(1) * (scaling or users_units(num_features)).inverse
    return square_root(torch.tensor(l2, dtype=torch.float64)) * double_double(rows)
