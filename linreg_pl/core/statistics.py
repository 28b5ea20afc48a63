"""How sure are the coefficients, and how much do they explain? In the user's units, from the triangle alone.

Of the model y = X W + b + ε, with independent ε of one standard deviation for each target. With a penalty the estimates
are biased, and the standard errors are those of their spread around their own mean; the parameters then count for as
many as are free of it: the trace of the matrix that takes y to its prediction.

A row of weight w has an ε of standard deviation σ / √w. The residual deviation estimates σ, that of a row of weight 1,
as √(sum of w · residual² / degrees_of_freedom), and R² is of weighted squares about the weighted mean. A row counts as
one, whatever its weight: the convention of statsmodels' WLS.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum
from linreg_pl.core.student_t import student_quantile

NOTHING = 1e-6
"""A coefficient that is this share of its standard error is 0 but for rounding, which decides all of its digits."""


@dataclass(frozen=True)
class Statistics:
    """Of an exact solution.

    NaN where there are no more rows than parameters, where there is nothing to explain, and for the coefficients of
    columns that depend on each other: many values of these are as good.
    """

    standard_errors: Tensor  # (1+D, K), of b, then of W
    residual_std: Tensor  # (K,), √(RSS / degrees_of_freedom), of a row of weight 1
    r_squared: Tensor  # (K,), 1 - RSS / TSS; TSS is about the mean, or about 0 without an intercept
    degrees_of_freedom: float  # num_rows less the parameters

    def t(self, probability: float = 0.95) -> float:
        """How many standard errors an interval of this confidence reaches to either side."""
        return student_quantile(probability, round(self.degrees_of_freedom))


def statistics(solution: Optimum) -> Statistics:
    """Standard errors and what goes with them, for an exact solution."""
    data, free = solution.data, solution.free
    features, targets = slice(0, 1 + data.num_features), slice(1 + data.num_features, None)
    rows = data.R[:, free] / (data.total_weight * data.num_targets) ** 0.5
    influence = rows @ solution.inverse.half  # its columns are orthonormal where nothing is penalised
    degrees_of_freedom = data.num_rows - float(influence.square().sum())
    residuals = data.R[:, features] @ solution.theta.high - data.R[:, targets]
    residual_squares = residuals.square().sum(dim=0)
    about = data.R[1 if solution.fit_intercept else 0 :, targets]
    lengths = torch.linalg.vector_norm(data.R[:, targets], dim=0)
    varies = torch.linalg.vector_norm(about, dim=0) > data.rounding * lengths
    nothing = torch.full_like(residual_squares, torch.nan)
    residual_std = (residual_squares / degrees_of_freedom).sqrt() if degrees_of_freedom > 0.5 else nothing
    spread = torch.zeros(1 + data.num_features, dtype=torch.float64)
    spread[free] = torch.linalg.vector_norm(solution.inverse.half @ influence.T, dim=1)
    spread[solution.dependent] = torch.nan
    spread /= (data.total_weight * data.num_targets) ** 0.5
    return Statistics(
        standard_errors=spread.unsqueeze(1) * residual_std,
        residual_std=residual_std,
        r_squared=torch.where(varies, 1 - residual_squares / about.square().sum(dim=0), nothing),
        degrees_of_freedom=degrees_of_freedom,
    )


def shown_coefficients(solution: Optimum) -> tuple[Tensor, Tensor]:
    """W (D, K) and b (K,) of the solution for printing, with 0 for what is only rounding."""
    theta, errors = solution.theta.high, statistics(solution).standard_errors
    theta = torch.where(theta.abs() < NOTHING * errors, 0.0, theta)
    return theta[1:], theta[0]
