"""Between which bounds will a new y lie? The prediction interval of least squares, from the triangle of the rows alone.

    ŷ ± t · s · √(1 + h)      h = x₀' (X'wX)⁺ x₀, x₀ = (1, x)      s² = RSS / (N - rank of X)

RSS is that of the exact solution without a penalty; t is the quantile of Student's distribution with N - rank degrees
of freedom (Draper and Smith, "Applied Regression Analysis", 3rd edition, 1998, section 3.1 for one column, 5.4 for
more). It holds for the exact solution of y = X W + b + ε, where ε is normal, independent, and of one deviation σ.

Where rows have weights, an ε has the deviation σ / √w, RSS sums w times squares, and the new row's weight is 1.

Around the prediction of a W that is still being trained, or of one that a penalty holds back, it has the same width:
then it is that interval moved by how far the prediction is from the exact one, and misses y the oftener for it.
"""

import torch
from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.pseudo_inverse import INVOLVED
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import Triangle


class PredictionInterval:
    """How far an interval reaches to either side of a prediction.

    Args:
        rows: Those that were fitted.
        fit_intercept: Whether b was; x₀ = x otherwise.
        probability: With which y lies within.

    Raises:
        ValueError: there are no more rows than coefficients to fit, or `probability` is not between 0 and 1.
    """

    def __init__(self, rows: Triangle, fit_intercept: bool, probability: float) -> None:
        solution = optimum(rows, penalty_rows(rows.num_features, 0.0), fit_intercept)
        found = statistics(solution)
        if round(found.degrees_of_freedom) < 1:
            raise ValueError(f"{rows.num_rows} rows are no more than the coefficients that were fitted to them")
        self.fit_intercept = fit_intercept
        self._half = solution.inverse.half / (rows.total_weight * rows.num_targets) ** 0.5  # half·half' is (X'wX)⁺
        self._null = solution.inverse.null
        self._factor = found.t(probability) * found.residual_std

    def reach(self, x: Tensor) -> Tensor:
        """Half of the interval's width, (N, K) in float64, for x (N, D).

        NaN where the rows that were fitted say nothing: their columns depended on each other, and those of x do not.
        """
        x = x.to("cpu", torch.float64)
        x = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], dim=1) if self.fit_intercept else x
        leverage = (x @ self._half).square().sum(dim=1, keepdim=True)
        unknown = ((x @ self._null).abs() > INVOLVED * (x.abs() @ self._null.abs())).any(dim=1, keepdim=True)
        return torch.where(unknown, torch.nan, (1 + leverage).sqrt()) * self._factor
