"""How well does θ predict some rows? By the mean squared error, and by the share of the targets' variation it explains.

    mse = SSE / (K · Σ w)     SSE = Σ w · (y - x W - b)²          r2 = 1 - SSE / SST     SST = Σ w · (y - mean of y)²

Sums over all N rows and K targets, each target about its own weighted mean over these rows: scikit-learn's `r2_score`
with `multioutput="variance_weighted"`. Without weights w is 1, and Σ w is N. All in float64. The triangle of the rows
has these sums in O(D²·K), whatever N.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.objective import residuals, weighted
from linreg_pl.core.triangle import Triangle

CONSTANT = 1e-12
"""A target whose standard deviation is this share of its mean is constant but for float64's rounding."""


@dataclass(frozen=True)
class Evaluation:
    """The sums over some rows; without any weight there are no means, and what is asked for is NaN."""

    total_weight: float  # of the rows; without weights, their number
    residual_squares: Tensor  # (K,), float64, weighted, as all sums are
    means: Tensor  # (K,), of y
    squares: Tensor  # (K,), of y about these means

    @property
    def mse(self) -> float:
        """Mean over all rows and targets."""
        return float(self.residual_squares.sum() / (self.total_weight * len(self.means)))

    @property
    def r2(self) -> float:
        """NaN where no target varies: there is nothing to explain."""
        varies = self.squares > self.total_weight * (CONSTANT * self.means).square()
        return 1 - float(self.residual_squares.sum()) / float(self.squares.sum()) if varies.any() else torch.nan

    def merge(self, other: "Evaluation") -> "Evaluation":
        """Of both parts' rows.

        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
        """
        if not (self.total_weight and other.total_weight):
            return self if self.total_weight else other
        total_weight = self.total_weight + other.total_weight
        share, apart = other.total_weight / total_weight, other.means - self.means
        return Evaluation(
            total_weight,
            self.residual_squares + other.residual_squares,
            self.means + share * apart,
            self.squares + other.squares + self.total_weight * share * apart.square(),
        )


def evaluation(x: Tensor, y: Tensor, theta: Tensor, weights: Tensor | None = None) -> Evaluation:
    """Of rows x (N, D), y (N, K), and their weights (N, 1) on whatever scale, at θ = (b; W) (1+D, K), float64, CPU.

    Raises:
        ValueError: the shapes do not fit.
    """
    x, y = (of.to("cpu", torch.float64) for of in (x, y))
    weights = None if weights is None else weights.to("cpu", torch.float64)
    residual = residuals(x, y, theta[1:], theta[0])
    residual_squares = (residual * weighted(residual, weights)).sum(dim=0)
    total_weight = float(len(y) if weights is None else weights.sum())
    means = weighted(y, weights).sum(dim=0) / total_weight
    deviations = y - means
    return Evaluation(total_weight, residual_squares, means, (deviations * weighted(deviations, weights)).sum(dim=0))


def evaluation_of(rows: Triangle, theta: Tensor) -> Evaluation:
    """The same from the rows' triangle alone."""
    apart = rows.R[:, : len(theta)] @ theta - rows.R[:, len(theta) :]
    about_means = rows.R[1:, len(theta) :]
    return Evaluation(
        rows.total_weight,
        apart.square().sum(dim=0),
        rows.means[rows.num_features :],
        about_means.square().sum(dim=0),
    )
