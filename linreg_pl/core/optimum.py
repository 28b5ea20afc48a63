"""Where is J smallest, and how far above that is it elsewhere? Exactly, from the triangle of the data.

With the coefficients as one matrix θ = (b; W), J is a paraboloid:

    J(W, b) = mean((X W + b - y)²) + l2 · sum(W²) = J* + ‖T (θ - θ*)‖²
    T'T = [1, X]'[1, X] / (N·K) + l2 · P'P                   P = diag(0, 1, …, 1)

Where rows have weights, the mean is the weighted one: sum of w · (…)² / (K · sum of w), and [1, X] has rows times √w.
T'T is half of J's Hessian. T itself is the triangle of the data's triangle on the penalty's rows √l2·P, so that nothing
is ever squared; and the gap J - J* is a norm, which keeps its digits where J and J* agree in all of theirs.
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

    Coefficients are the rows of one matrix θ (1+D, K): b, then W. Without an intercept b is 0, and moves nothing.
    """

    theta: DoubleDouble  # (1+D, K), θ*
    objective: float  # J*
    factor: Tensor  # T (P, 1+D), where P = 1+D, or D without an intercept
    penalty: DoubleDouble  # √l2·P (1+D, 1+D)
    data: Triangle
    inverse: PseudoInverse  # of T's columns that are free
    free: slice  # rows of θ that are: all, or all but b

    @property
    def W(self) -> Tensor:
        """(D, K), where J is smallest."""
        return self.theta.high[1:]

    @property
    def b(self) -> Tensor:
        """(K,), where J is smallest."""
        return self.theta.high[0]

    @property
    def fit_intercept(self) -> bool:
        """Whether b is free."""
        return bool(self.free.start == 0)

    @property
    def dependent(self) -> list[int]:
        """Columns of [1, X] that are combinations of others, and these others; the 1 is number 0."""
        return [self.free.start + int(column) for column in self.inverse.dependent.nonzero()]

    def factor_of(self, scaling: Scaling) -> Tensor:
        """T for those of the W and b of `scaling` that are free, (P, P); J's Hessian is twice its Gram matrix."""
        factor: Tensor = (self.factor @ scaling.matrix)[:, self.free]
        if self.dependent:  # what is left of the directions that change nothing is rounding
            _, lengths, Vt = torch.linalg.svd(factor)
            lengths[len(lengths) - self.inverse.nullity :] = 0
            factor = lengths.unsqueeze(1) * Vt
        return factor

    def gap(self, W: Tensor, b: Tensor) -> float:
        """J(W, b) - J*, in O(D²·K); never negative."""
        return float((self.factor @ self._from_here(W, b)).square().sum())

    def gradient(self, W: Tensor, b: Tensor) -> Tensor:
        """dJ/dθ (1+D, K) over all rows: dJ/db, then dJ/dW."""
        return 2 * self.factor.T @ (self.factor @ self._from_here(W, b))

    def _from_here(self, W: Tensor, b: Tensor) -> Tensor:
        return (theta_of(W, b) - self.theta.high) - self.theta.low


def optimum(data: Triangle, penalty: DoubleDouble, fit_intercept: bool = True) -> Optimum:
    """The minimum of J over the rows in `data`.

    Where columns depend on others and nothing is penalised, J is smallest in many places: the one with the smallest
    sum(W²) is taken, at which ridge regression arrives as its l2 goes to 0.

    Args:
        data: Of the rows.
        penalty: From `penalty_rows`.
        fit_intercept: Whether b is free; 0 otherwise.
    """
    free = slice(0 if fit_intercept else 1, 1 + data.num_features)
    data_rows = data.R / (data.total_weight * data.num_targets) ** 0.5
    of_nothing = torch.zeros(len(penalty.high), data.num_targets, dtype=torch.float64)
    penalty_rows = torch.cat([penalty.high, of_nothing], dim=1)
    R = upper_triangle(torch.cat([data_rows, penalty_rows])[:, free.start :])
    num_free = free.stop - free.start
    factor, right, rest = R[:num_free, :num_free], R[:num_free, num_free:], R[num_free:, num_free:]
    inverse = PseudoInverse(factor, data.rounding)
    solution = inverse.shortest(inverse.solve(right), rows=slice(1 - free.start, None))
    missed = right - factor @ solution
    theta = torch.zeros(1 + data.num_features, data.num_targets, dtype=torch.float64)
    theta[free] = solution
    return Optimum(
        theta=double_double(theta),
        objective=float(rest.square().sum() + missed.square().sum()),
        factor=torch.cat([torch.zeros(num_free, free.start, dtype=torch.float64), factor], dim=1),
        penalty=penalty,
        data=data,
        inverse=inverse,
        free=free,
    )


def penalty_rows(num_features: int, l2: float, fold_bias: bool = False, scaling: Scaling | None = None) -> DoubleDouble:
    """√l2·P (1+D, 1+D), whose squares at θ sum up to the penalty; the root has to have more digits than l2.

    Args:
        num_features: D.
        l2: Factor of the penalty.
        fold_bias: Whether b is penalised with W.
        scaling: Of the W and b that are penalised; those of the user's units if not given.
    """
    penalized = torch.ones(1 + num_features, dtype=torch.float64)
    penalized[0] = float(fold_bias)
    rows = penalized.unsqueeze(1) * (scaling or users_units(num_features)).inverse
    return square_root(torch.tensor(l2, dtype=torch.float64)) * double_double(rows)
