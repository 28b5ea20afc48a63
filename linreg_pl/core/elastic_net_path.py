"""Computes the solutions with an l1 penalty along a path, from one triangle, and their errors on rows held out.

As `core/ridge_path.py`, with l1 · sum|W| added to what is minimised. Coordinate descent takes the place of the SVD:
each solution starts from the one before, the strongest penalty first.

    df = Σ S² / (S² + l2), and 1 for a free b        S: singular values of the columns of A whose coefficient is not 0

Without l2 that is the number of coefficients that are not 0 (Zou, Hastie and Tibshirani, "On the degrees of freedom of
the lasso", Annals of Statistics 35, 2007). Of several targets, it is the mean.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from linreg_pl.core.elastic_net import L1Problem
from linreg_pl.core.ridge_path import Posing, RidgePath
from linreg_pl.core.triangle import Triangle


@dataclass(frozen=True)
class Axis:
    """Which penalty varies along a path, and the factor of the other one."""

    name: Literal["l1", "l2"] = "l2"
    other: float = 0.0

    @property
    def has_l1(self) -> bool:
        """Returns whether some value on the path has an l1 penalty."""
        return self.name == "l1" or self.other > 0

    def pair(self, value: float) -> tuple[float, float]:
        """Returns l1 and l2 at a value."""
        return (value, self.other) if self.name == "l1" else (self.other, value)

    def path(self, rows: Triangle, posing: Posing) -> RidgePath:
        """Returns the solutions along it for the rows of a triangle."""
        return ElasticNetPath(rows, posing, self) if self.has_l1 else RidgePath(rows, posing)


class ElasticNetPath(RidgePath):
    """The solutions along an axis, for the rows of a triangle; `values` are those of the penalty that varies.

    Args:
        rows: Triangle of the rows.
        posing: The settings that pose the problem; b is not penalised.
        axis: The penalties.
    """

    def __init__(self, rows: Triangle, posing: Posing, axis: Axis) -> None:
        super().__init__(rows, posing)
        self._axis = axis
        self._problem = L1Problem(torch.where(self._is_constant, 0.0, self._A), self._B)
        self._newest: tuple[Tensor, Tensor] | None = None  # values, and their solutions

    @property
    def largest_l1(self) -> float:
        """Returns the smallest l1 for which all of W is 0."""
        return self._problem.largest_l1

    def _penalized(self, values: Tensor) -> Tensor:
        if self._newest is None or not torch.equal(self._newest[0], values):
            pairs = [self._axis.pair(value) for value in reversed(values.tolist())]
            solved = list(self._problem.path(pair for pair in pairs if pair[0] > 0))
            ridge = torch.tensor([l2 for l1, l2 in pairs if l1 == 0], dtype=torch.float64)
            solved += [*super()._penalized(ridge)]
            self._newest = values, torch.stack(solved[::-1])
        return self._newest[1]

    def degrees_of_freedom(self, values: Tensor) -> Tensor:
        """Returns the effective number of parameters at each value, (L,); that of b is one of them."""
        pairs = map(self._axis.pair, values.tolist())
        degrees = [self._degrees(*pair, W) for pair, W in zip(pairs, self._penalized(values), strict=True)]
        return torch.tensor(degrees, dtype=torch.float64)

    def _degrees(self, l1: float, l2: float, W: Tensor) -> float:
        if l1 == 0:
            return float(super().degrees_of_freedom(torch.tensor([l2], dtype=torch.float64)))
        total = 0.0
        for chosen in (W != 0).T:
            squares = torch.linalg.svdvals(self._A[:, chosen]).square()
            squares = squares[squares > 1e-26 * squares[:1]]
            total += float((squares / (squares + l2)).sum())
        return total / W.shape[1] + int(self._posing.has_free_bias)


def default_l1(rows: Triangle, posing: Posing) -> Tensor:
    """Returns 41 values of l1, ten a power of ten, up to the smallest one for which all of W is 0, (41,)."""
    largest = ElasticNetPath(rows, posing, Axis("l1")).largest_l1
    return torch.logspace(-4, 0, 41, dtype=torch.float64) * (largest or 1.0)
