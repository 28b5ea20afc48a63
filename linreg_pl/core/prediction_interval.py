"""Computes the prediction interval of least squares, from the triangle of the rows alone.

    ŷ ± t · s · √(1 + h)      h = x₀' (X'wX)⁺ x₀, x₀ = (1, x)      s² = RSS / (N - rank of X)

RSS is the residual sum of squares of the exact solution without a penalty; t is the quantile of Student's distribution
with N - rank degrees of freedom (Draper and Smith, "Applied Regression Analysis", 3rd edition, 1998, section 3.1 for
one column, 5.4 for more). The interval is valid for the exact solution of y = X W + b + ε, where ε is normal and
independent, with one standard deviation σ.

Where rows have weights, ε has the standard deviation σ / √w, RSS sums w times squares, and the new row's weight is 1.

The interval has the same width around the prediction of a W that is not exact: one in training, or a penalised one. It
is then shifted by the prediction's error, and misses y more often.
"""

import torch
from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.pseudo_inverse import INVOLVED
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import Triangle


class PredictionInterval:
    """Half widths of the prediction intervals around any predictions.

    Args:
        triangle: Of the rows that were fitted.
        fit_intercept: Whether b is fitted; x₀ = x otherwise.
        probability: That y lies within.

    Raises:
        ValueError: there are no more rows than coefficients to fit, or `probability` is not between 0 and 1.
    """

    def __init__(self, triangle: Triangle, fit_intercept: bool, probability: float) -> None:
        solution = optimum(triangle, penalty_rows(triangle.num_features, 0.0), fit_intercept)
        fit = statistics(solution)
        if round(fit.degrees_of_freedom) < 1:
            raise ValueError(f"{triangle.num_rows} rows are too few: fit more rows than coefficients")
        self.fit_intercept = fit_intercept
        free, center = solution.free, solution.data.center[: triangle.num_features]
        # half·half' is (X'wX)⁺ for columns less their center
        self._half = solution.half[free] / (triangle.total_weight * triangle.num_targets) ** 0.5
        self._null, self._center = solution.null[free], center
        self._factor = fit.t(probability) * fit.residual_std

    def reach(self, x: Tensor) -> Tensor:
        """Computes half of the interval's width, (N, K) in float64, for x (N, D).

        NaN where the fitted rows do not determine the prediction: their columns were linearly dependent, and x breaks
        that dependence.
        """
        x = x.to("cpu", torch.float64) - self._center
        x = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], dim=1) if self.fit_intercept else x
        leverage = (x @ self._half).square().sum(dim=1, keepdim=True)
        unknown = ((x @ self._null).abs() > INVOLVED * (x.abs() @ self._null.abs())).any(dim=1, keepdim=True)
        return torch.where(unknown, torch.nan, (1 + leverage).sqrt()) * self._factor
