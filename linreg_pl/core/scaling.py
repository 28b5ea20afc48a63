"""Converts W and b between the user's units and those of standardized features and centered targets.

    z = (x - means) / scales        prediction = z W_z + b_z + target_means = x W + b
    W = W_z / scales                b = b_z + target_means - means · W

With θ = (b; W), apart from the target's means, this is one matrix: θ = M θ_z, and [1, z] = [1, x] M.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from linreg_pl.core.triangle import Triangle


@dataclass(frozen=True)
class Scaling:
    """Means and scales of the D features, and means of the K targets, float64; a scale is never 0."""

    means: Tensor  # (D,)
    scales: Tensor  # (D,)
    target_means: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))  # (K,), or one for all

    def equals(self, other: "Scaling") -> bool:
        """Tests whether both are the same to the bit."""
        return (
            torch.equal(self.means, other.means)
            and torch.equal(self.scales, other.scales)
            and torch.equal(self.target_means, other.target_means)
        )

    def on(self, device: torch.device) -> "Scaling":
        """Returns the scaling of rows on a device."""
        return Scaling(self.means.to(device), self.scales.to(device), self.target_means.to(device))

    def center(self, num_targets: int) -> Tensor:
        """Returns the means of all columns of X and y, (D+K,)."""
        return torch.cat([self.means, self.target_means.expand(num_targets)])

    @property
    def centered(self) -> "Scaling":
        """Returns the scaling of columns whose means have been subtracted already."""
        return replace(self, means=torch.zeros_like(self.means), target_means=torch.zeros_like(self.target_means))

    def standardized(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Computes z (n, D), and y (n, K) less its means, in float64."""
        return (x.double() - self.means) / self.scales, y.double() - self.target_means

    @cached_property
    def matrix(self) -> Tensor:
        """Returns M, (1+D, 1+D)."""
        M = torch.eye(1 + len(self.means), dtype=torch.float64)
        M[0, 1:] = -self.means / self.scales
        M.diagonal()[1:] = 1 / self.scales
        return M

    @cached_property
    def inverse(self) -> Tensor:
        """Returns M⁻¹, (1+D, 1+D)."""
        M = torch.eye(1 + len(self.means), dtype=torch.float64)
        M[0, 1:] = self.means
        M.diagonal()[1:] = self.scales
        return M

    def to_users(self, theta: Tensor) -> Tensor:
        """Computes M θ (1+D, K) without M, in O(D·K)."""
        return _bordered(-self.means / self.scales, self.scales.reciprocal(), theta)

    def from_users(self, theta: Tensor) -> Tensor:
        """Computes M⁻¹ θ (1+D, K) likewise."""
        return _bordered(self.means, self.scales, theta)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Computes A M (n, 1+D) for rows A, likewise."""
        return torch.cat([rows[:, :1], (rows[:, 1:] - rows[:, :1] * self.means) * self.scales.reciprocal()], dim=1)


def _bordered(top: Tensor, diagonal: Tensor, theta: Tensor) -> Tensor:
    """Computes the product of [[1, top], [0, diag(diagonal)]] and θ (1+D, K)."""
    # Among four rows, BLAS adds up the first in the same order as in the product with the whole matrix.
    rows = torch.zeros(min(4, theta.shape[0]), theta.shape[0], dtype=theta.dtype)
    rows[0] = torch.cat([torch.ones(1, dtype=theta.dtype), top])
    return torch.cat([(rows @ theta)[:1], diagonal.unsqueeze(1) * theta[1:]])


def theta_of(W: Tensor, b: Tensor) -> Tensor:
    """Stacks b (K,) on W (D, K) as θ (1+D, K): float64, on the CPU, detached from the graph."""
    return torch.cat([b.detach().unsqueeze(0), W.detach()]).to("cpu", torch.float64)


def users_units(num_features: int) -> Scaling:
    """Returns the scaling that changes nothing: W and b are in the user's units."""
    return Scaling(torch.zeros(num_features, dtype=torch.float64), torch.ones(num_features, dtype=torch.float64))


def standardization(data: Triangle, fit_intercept: bool = True) -> Scaling:
    """Returns the scaling to mean 0 and standard deviation 1; without an intercept, to standard deviation 1 only.

    A constant feature is divided by 1.
    """
    scales, means = data.scales[: data.num_features], data.means
    means = means if fit_intercept else torch.zeros_like(means)
    return Scaling(means[: data.num_features], torch.where(scales > 0, scales, 1.0), means[data.num_features :])
