"""Builds test data: random rows and parameters of any size."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor


class Problem(NamedTuple):
    """A batch and a point (W, b), in float64."""

    x: Tensor  # (N, D)
    y: Tensor  # (N, K)
    W: Tensor  # (D, K)
    b: Tensor  # (K,)
    l2: float


def problem(num_rows: int, num_features: int, num_targets: int, l2: float, seed: int) -> Problem:
    """Draws standard normal rows and parameters."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return Problem(
        normal(num_rows, num_features),
        normal(num_rows, num_targets),
        normal(num_features, num_targets),
        normal(num_targets),
        l2,
    )


def problems() -> st.SearchStrategy[Problem]:
    """Draws small problems of all shapes, also with more features than rows."""
    return st.builds(
        problem,
        num_rows=st.integers(1, 12),
        num_features=st.integers(1, 6),
        num_targets=st.integers(1, 4),
        l2=st.sampled_from([0.0, 1e-10, 0.5, 7.0]),
        seed=st.integers(0, 2**31),
    )
