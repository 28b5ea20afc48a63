"""Computes standard errors, residual deviation and R², in the user's units, from the triangle alone.

The model is y = X W + b + ε, with independent ε of one standard deviation for each target. With a penalty the estimates
are biased. Their standard errors then measure the spread around their own mean, and the effective number of parameters
is the trace of the matrix that maps y to its prediction.

With l1 there are no standard errors, as the rows also choose which coefficients are 0. The effective number of
parameters is that trace for the others, which is right on average (Zou, Hastie and Tibshirani, "On the degrees of
freedom of the lasso", Annals of Statistics 35, 2007). Of several targets, it is the mean.

For standard errors, a weight w is the inverse noise variance: the row's ε has the standard deviation σ / √w. The
residual deviation estimates σ, for a row of weight 1, as √(sum of w · residual² / degrees_of_freedom). R² uses weighted
squares about the weighted mean. Each row of weight above 0 counts as one, whatever its weight; rows of weight 0 count
as absent. statsmodels' WLS counts these too.
"""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.student_t import student_quantile


@dataclass(frozen=True)
class Statistics:
    """Statistics of an exact solution.

    NaN where there are no more rows than parameters, where the targets do not vary, and for the coefficients that the
    rows do not determine: those of constant and of linearly dependent columns. With l1, all standard errors are NaN.
    """

    standard_errors: Tensor  # (1+D, K), of b, then of W
    residual_squares: Tensor  # (K,), RSS
    explained_squares: Tensor  # (K,), TSS - RSS
    residual_std: Tensor  # (K,), √(RSS / degrees_of_freedom), of a row of weight 1
    r_squared: Tensor  # (K,), 1 - RSS / TSS; TSS is about the mean, or about 0 without an intercept
    degrees_of_freedom: float  # num_rows less the effective number of parameters
    is_constant: Tensor  # (K,), whether the target does not vary
    is_perfect: Tensor  # (K,), whether rounding alone explains the residuals of least squares
    rounding_errors: Tensor  # (1+D, K), what the standard errors would be if rounding made all residuals

    @property
    def is_saturated(self) -> bool:
        """Returns whether no degree of freedom is left, so that the residuals tell nothing about the noise."""
        return self.degrees_of_freedom <= 0.5

    @cached_property
    def known_errors(self) -> Tensor:
        """Returns the standard errors (1+D, K), with NaN also for targets whose residuals are only rounding."""
        return torch.where(self.is_perfect, torch.nan, self.standard_errors)

    def t(self, probability: float = 0.95) -> float:
        """Returns the half width of a confidence interval, in standard errors."""
        return student_quantile(probability, round(self.degrees_of_freedom))


_computed = WeakKeyDictionary[Optimum, Statistics]()  # a solution does not change, and many ask for its statistics


def statistics(solution: Optimum) -> Statistics:
    """Returns standard errors, residual deviation and R² of an exact solution; they are computed once."""
    known = _computed.get(solution)
    if known is None:
        known = _computed[solution] = _statistics(solution)
    return known


def _statistics(solution: Optimum) -> Statistics:
    data, D = solution.data, solution.data.num_features
    rows, targets = data.R / (data.total_weight * data.num_targets) ** 0.5, slice(1 + D, None)
    influence = rows[:, : 1 + D] @ solution.half  # its columns are orthonormal where nothing is penalised
    num_parameters = float(influence.square().sum())
    if solution.l1_term is not None:
        halves = [solution.half_of(k) for k in range(data.num_targets)]
        num_parameters = sum(float((rows[:, : 1 + D] @ half).square().sum()) for half in halves) / len(halves)
    degrees_of_freedom = data.num_rows - num_parameters
    residuals = data.R[:, : 1 + D] @ solution.theta.high - data.R[:, targets]
    residual_squares = residuals.square().sum(dim=0)
    deviations = data.R[1 if solution.fit_intercept else 0 :, targets]
    target_squares = deviations.square().sum(dim=0)
    explained_squares = target_squares - residual_squares
    if solution.penalty.high[0, 0] == 0:  # b is not penalised: W = 0 has RSS = TSS, and only rounding takes it above
        explained_squares = explained_squares.clamp(min=0)
    varies = torch.linalg.vector_norm(deviations, dim=0) > data.errors[targets]
    undefined = torch.full_like(residual_squares, torch.nan)
    residual_std = (residual_squares / degrees_of_freedom).sqrt() if degrees_of_freedom > 0.5 else undefined
    spread = torch.linalg.vector_norm(solution.in_users_units(solution.half) @ influence.T, dim=1)
    spread[[*solution.constant, *solution.unidentified]] = torch.nan
    spread /= (data.total_weight * data.num_targets) ** 0.5
    rounding = residual_rounding(solution)
    is_perfect = smallest_residuals(solution, residual_squares) <= rounding
    return Statistics(
        standard_errors=spread.unsqueeze(1) * (residual_std if solution.l1_term is None else undefined),
        residual_squares=residual_squares,
        explained_squares=explained_squares,
        residual_std=residual_std,
        r_squared=torch.where(varies, explained_squares / target_squares, undefined),
        degrees_of_freedom=degrees_of_freedom,
        is_constant=~varies,
        is_perfect=is_perfect,
        rounding_errors=spread.unsqueeze(1) * rounding / max(degrees_of_freedom, 1.0) ** 0.5,
    )


def rounding_of_print(values: Tensor, digits: int = 6) -> Tensor:
    """Returns half a unit of the last of so many significant digits of each value; 0 for 0."""
    exponents = values.abs().log10().floor()
    return torch.where(values == 0, 0.0, 0.5 * 10.0 ** (exponents - (digits - 1)))


def residual_rounding(solution: Optimum) -> Tensor:
    """Returns bounds on the lengths of the residuals that rounding alone makes, (K,): columns' errors times θ."""
    data, D = solution.data, solution.data.num_features
    errors = (data.centered_at(data.means) if solution.fit_intercept else data).errors
    rounding: Tensor = errors[1 + D :] + errors[1 : 1 + D] @ solution.W.abs()
    return rounding


def smallest_residuals(solution: Optimum, residual_squares: Tensor, almost_perfect: float = 1e-6) -> Tensor:
    """Returns the lengths of the residuals without the penalty, (K,), as a penalty keeps them above rounding.

    Args:
        solution: The exact solution.
        residual_squares: Sums of its squared residuals, (K,).
        almost_perfect: Share of the targets' squares below which the solution without the penalty is looked at.
    """
    data, D = solution.data, solution.data.num_features
    squares = data.R[1 if solution.fit_intercept else 0 :, 1 + D :].square().sum(dim=0)
    if (solution.is_penalized or solution.l1_term) and (residual_squares < almost_perfect * squares).any():
        solution = optimum(data, penalty_rows(D, 0.0), solution.fit_intercept)
        residuals = data.R[:, : 1 + D] @ solution.theta.high - data.R[:, 1 + D :]
        residual_squares = residuals.square().sum(dim=0)
    return residual_squares.sqrt()


def shown_coefficients(solution: Optimum) -> tuple[Tensor, Tensor]:
    """Returns W (D, K) and b (K,) of the solution for printing, with 0 for what is only rounding."""
    theta, fit = torch.cat([solution.b.unsqueeze(0), solution.W]), statistics(solution)
    # Of a coefficient that is a millionth of its standard error, rounding decides every digit.
    smallest = torch.where(fit.is_perfect, fit.rounding_errors, 1e-6 * fit.standard_errors)
    theta = torch.where(theta.abs() < smallest, 0.0, theta)
    return theta[1:], theta[0]


def worst_in_standard_errors(solution: Optimum, change: Tensor) -> float:
    """Returns the largest entry of a change of W (D, K), divided by its standard error; 0 where none is known."""
    errors = statistics(solution).standard_errors[1:]
    known = errors > 0
    return float((change[known] / errors[known]).abs().max()) if known.any() else 0.0


def unexplained_gaps(solution: Optimum, error: Tensor) -> Tensor:
    """Returns for which targets J - J* at an error θ - θ* (1+D, K) is more than chance and rounding explain, (K,).

    Chance explains an error of one standard error in each direction of θ.
    """
    data, fit, K = solution.data, statistics(solution), solution.data.num_targets
    gaps = (solution.factor @ error).square().sum(dim=0) + solution.excess_of(error)
    gaps = gaps * data.total_weight * K
    chance = fit.residual_squares * solution.half.shape[1] / data.num_rows
    squares = data.about_zero.R[:, -K:].square().sum(dim=0)
    allowed = torch.stack([chance, 1e-12 * fit.explained_squares, 1e-24 * squares]).amax(dim=0)
    return (gaps > allowed) & (allowed > 0)
