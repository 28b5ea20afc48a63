"""Converts W and b between the user's units and those of standardized features.

    z = (x - means) / scales        prediction = z W_z + b_z = x W + b
    W = W_z / scales                b = b_z - means · W

With θ = (b; W) this is one matrix: θ = M θ_z, and [1, z] = [1, x] M.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.triangle import Triangle


@dataclass(frozen=True)
class Scaling:
    """Means and scales of the D features, float64; a scale is never 0."""

    means: Tensor  # (D,)
    scales: Tensor  # (D,)

    def equals(self, other: "Scaling") -> bool:
        """Tests whether both are the same to the bit."""
        return torch.equal(self.means, other.means) and torch.equal(self.scales, other.scales)

    @property
    def matrix(self) -> Tensor:
        """Returns M, (1+D, 1+D)."""
        M = torch.eye(1 + len(self.means), dtype=torch.float64)
        M[0, 1:] = -self.means / self.scales
        M.diagonal()[1:] = 1 / self.scales
        return M

    @property
    def inverse(self) -> Tensor:
        """Returns M⁻¹, (1+D, 1+D)."""
        M = torch.eye(1 + len(self.means), dtype=torch.float64)
        M[0, 1:] = self.means
        M.diagonal()[1:] = self.scales
        return M


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
    scales = data.scales[: data.num_features]
    means = data.means[: data.num_features] if fit_intercept else torch.zeros_like(scales)
    return Scaling(means, torch.where(scales > 0, scales, 1.0))
