"""Computes how well θ predicts some rows: the mean squared error, and R², the share of variance explained.

    mse = SSE / (K · Σ w)     SSE = Σ w · (y - x W - b)²          r2 = 1 - SSE / SST     SST = Σ w · (y - mean of y)²

Sums run over all N rows and K targets. Each target is centred on its own weighted mean over these rows, as in
scikit-learn's `r2_score` with `multioutput="variance_weighted"`. Without weights w is 1, and Σ w is N. All in float64.
From the rows' triangle these sums cost O(D²·K), whatever N.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.objective import weighted
from linreg_pl.core.triangle import Triangle


@dataclass(frozen=True)
class Evaluation:
    """Sums over some rows; where these have no weight at all, their means and `mse` are NaN."""

    total_weight: float  # of the rows; without weights, their number
    residual_squares: Tensor  # (K,), float64, weighted, as all sums are
    means: Tensor  # (K,), of y
    squares: Tensor  # (K,), of y about these means

    @property
    def mse(self) -> float:
        """Computes the mean over all rows and targets."""
        return float(self.residual_squares.sum() / (self.total_weight * len(self.means)))

    @property
    def r2(self) -> float:
        """Computes R²; NaN where no target varies, and 0 for what rounding makes of 0."""
        # A target that deviates from its mean by no more than float64's rounding is constant.
        varies = self.squares > self.total_weight * (torch.finfo(torch.float64).eps * self.means).square()
        if not varies.any():
            return torch.nan
        r2 = 1 - float(self.residual_squares.sum()) / float(self.squares.sum())
        return 0.0 if abs(r2) <= 1e-12 else r2

    def merge(self, other: "Evaluation") -> "Evaluation":
        """Combines the sums of two sets of rows.

        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
        """
        if not (self.total_weight and other.total_weight):
            return self if self.total_weight else other
        total_weight = self.total_weight + other.total_weight
        share, shift = other.total_weight / total_weight, other.means - self.means
        return Evaluation(
            total_weight,
            self.residual_squares + other.residual_squares,
            self.means + share * shift,
            self.squares + other.squares + self.total_weight * share * shift.square(),
        )


def evaluation(residual: Tensor, y: Tensor, weights: Tensor | None = None) -> Evaluation:
    """Evaluates predictions by their residuals (N, K) and the targets y (N, K), in float64, where they are.

    Weights (N, 1) may have any scale.

    Raises:
        ValueError: the shapes do not fit.
    """
    if residual.shape != y.shape:
        raise ValueError(f"y has shape {tuple(y.shape)}, but the residuals {tuple(residual.shape)}: give one of each")
    residual, y, weights = residual.double(), y.double(), None if weights is None else weights.double()
    residual_squares = (residual * weighted(residual, weights)).sum(dim=0)
    total_weight = float(len(y) if weights is None else weights.sum())
    means = y[0] + weighted(y - y[0], weights).sum(dim=0) / total_weight
    deviations = y - means
    return Evaluation(total_weight, residual_squares, means, (deviations * weighted(deviations, weights)).sum(dim=0))


def evaluation_of(triangle: Triangle, theta: Tensor) -> Evaluation:
    """Computes the same from the rows' triangle alone, for θ = (b; W) (1+D, K) of columns less its center."""
    residual = triangle.R[:, : len(theta)] @ theta - triangle.R[:, len(theta) :]
    return Evaluation(
        triangle.total_weight,
        residual.square().sum(dim=0),
        triangle.means[triangle.num_features :],
        # A constant target has scale 0: the factorization's rounding grows with its distance from the center.
        triangle.total_weight * triangle.scales[triangle.num_features :].square(),
    )
