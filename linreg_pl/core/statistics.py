"""Computes standard errors, residual deviation and R², in the user's units, from the triangle alone.

The model is y = X W + b + ε, with independent ε of one standard deviation for each target. With a penalty the estimates
are biased. Their standard errors then measure the spread around their own mean, and the effective number of parameters
is the trace of the matrix that maps y to its prediction.

For standard errors, a weight w is the inverse noise variance: the row's ε has the standard deviation σ / √w. The
residual deviation estimates σ, for a row of weight 1, as √(sum of w · residual² / degrees_of_freedom). R² uses weighted
squares about the weighted mean. Each row counts as one, whatever its weight, as in statsmodels' WLS.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum
from linreg_pl.core.student_t import student_quantile


@dataclass(frozen=True)
class Statistics:
    """Statistics of an exact solution.

    NaN where there are no more rows than parameters, where the targets do not vary, and for the coefficients of
    linearly dependent columns, which are not unique.
    """

    standard_errors: Tensor  # (1+D, K), of b, then of W
    residual_std: Tensor  # (K,), √(RSS / degrees_of_freedom), of a row of weight 1
    r_squared: Tensor  # (K,), 1 - RSS / TSS; TSS is about the mean, or about 0 without an intercept
    degrees_of_freedom: float  # num_rows less the effective number of parameters

    def t(self, probability: float = 0.95) -> float:
        """Returns the half width of a confidence interval, in standard errors."""
        return student_quantile(probability, round(self.degrees_of_freedom))


def statistics(solution: Optimum) -> Statistics:
    """Computes standard errors, residual deviation and R² of an exact solution."""
    data, free = solution.data, solution.free
    features, targets = slice(0, 1 + data.num_features), slice(1 + data.num_features, None)
    rows = data.R[:, free] / (data.total_weight * data.num_targets) ** 0.5
    influence = rows @ solution.inverse.half  # its columns are orthonormal where nothing is penalised
    degrees_of_freedom = data.num_rows - float(influence.square().sum())
    residuals = data.R[:, features] @ solution.theta.high - data.R[:, targets]
    residual_squares = residuals.square().sum(dim=0)
    deviations = data.R[1 if solution.fit_intercept else 0 :, targets]
    lengths = torch.linalg.vector_norm(data.R[:, targets], dim=0)
    varies = torch.linalg.vector_norm(deviations, dim=0) > data.rounding * lengths
    undefined = torch.full_like(residual_squares, torch.nan)
    residual_std = (residual_squares / degrees_of_freedom).sqrt() if degrees_of_freedom > 0.5 else undefined
    spread = torch.zeros(1 + data.num_features, dtype=torch.float64)
    spread[free] = torch.linalg.vector_norm(solution.inverse.half @ influence.T, dim=1)
    spread[solution.dependent] = torch.nan
    spread /= (data.total_weight * data.num_targets) ** 0.5
    return Statistics(
        standard_errors=spread.unsqueeze(1) * residual_std,
        residual_std=residual_std,
        r_squared=torch.where(varies, 1 - residual_squares / deviations.square().sum(dim=0), undefined),
        degrees_of_freedom=degrees_of_freedom,
    )


def rounding_of_print(values: Tensor, digits: int = 6) -> Tensor:
    """Returns half a unit of the last of so many significant digits of each value; 0 for 0."""
    exponents = values.abs().log10().floor()
    return torch.where(values == 0, 0.0, 0.5 * 10.0 ** (exponents - (digits - 1)))


def shown_coefficients(solution: Optimum) -> tuple[Tensor, Tensor]:
    """Returns W (D, K) and b (K,) of the solution for printing, with 0 for what is only rounding."""
    theta, errors = solution.theta.high, statistics(solution).standard_errors
    # Of a coefficient that is a millionth of its standard error, rounding decides every digit.
    theta = torch.where(theta.abs() < 1e-6 * errors, 0.0, theta)
    return theta[1:], theta[0]
