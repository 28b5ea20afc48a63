"""How well does θ predict some rows? By the mean squared error, and by the share of the targets' variation it explains.

    mse = SSE / (N·K)     SSE = Σ (y - x W - b)²          r2 = 1 - SSE / SST     SST = Σ (y - mean of y)²

Sums over all N rows and K targets, each target about its own mean over these rows: scikit-learn's `r2_score` with
`multioutput="variance_weighted"`. All in float64. The triangle of the rows has these sums in O(D²·K), whatever N.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.objective import residuals
from linreg_pl.core.triangle import Triangle

CONSTANT = 1e-12
"""A target whose standard deviation is this share of its mean is constant but for float64's rounding."""


@dataclass(frozen=True)
class Evaluation:
    """The sums over some rows."""

    num_rows: int
    residual_squares: Tensor  # (K,), float64
    means: Tensor  # (K,), of y
    squares: Tensor  # (K,), of y about these means

    @property
    def mse(self) -> float:
        """Mean over all rows and targets."""
        return float(self.residual_squares.sum()) / (self.num_rows * len(self.means))

    @property
    def r2(self) -> float:
        """NaN where no target varies: there is nothing to explain."""
        varies = self.squares > self.num_rows * (CONSTANT * self.means).square()
        return 1 - float(self.residual_squares.sum()) / float(self.squares.sum()) if varies.any() else torch.nan

    def merge(self, other: "Evaluation") -> "Evaluation":
        """Of both parts' rows.

        Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983).
        """
        num_rows = self.num_rows + other.num_rows
        share, apart = other.num_rows / num_rows, other.means - self.means
        return Evaluation(
            num_rows,
            self.residual_squares + other.residual_squares,
            self.means + share * apart,
            self.squares + other.squares + self.num_rows * share * apart.square(),
        )


def evaluation(x: Tensor, y: Tensor, theta: Tensor) -> Evaluation:
    """Of rows x (N, D) and y (N, K), at θ = (b; W) (1+D, K), float64 on the CPU.

    Raises:
        ValueError: the shapes do not fit.
    """
    x, y = (of.to("cpu", torch.float64) for of in (x, y))
    residual_squares = residuals(x, y, theta[1:], theta[0]).square().sum(dim=0)
    means = y.mean(dim=0)
    return Evaluation(len(y), residual_squares, means, (y - means).square().sum(dim=0))


def evaluation_of(rows: Triangle, theta: Tensor) -> Evaluation:
    """The same from the rows' triangle alone."""
    apart = rows.R[:, : len(theta)] @ theta - rows.R[:, len(theta) :]
    about_means = rows.R[1:, len(theta) :]
    return Evaluation(
        rows.num_rows,
        apart.square().sum(dim=0),
        rows.means[rows.num_features :],
        about_means.square().sum(dim=0),
    )
