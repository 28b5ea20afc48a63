"""Solves least squares in rational arithmetic, without any rounding.

Numbers are `fractions.Fraction`; a matrix is a list of rows. Floats are converted exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble

Matrix = list[list[Fraction]]


def rational(rows: Tensor | Iterable[Iterable[Any]]) -> Matrix:
    """Converts floats exactly."""
    return [[Fraction(value) for value in row] for row in (rows.tolist() if isinstance(rows, Tensor) else rows)]


def floats(matrix: Matrix) -> Tensor:
    """Rounds to the nearest float64."""
    return torch.tensor([[float(value) for value in row] for row in matrix], dtype=torch.float64)


def pairs(matrix: Matrix) -> DoubleDouble:
    """Rounds to the nearest pairs of float64."""
    high = floats(matrix)
    return DoubleDouble(high, floats(add(matrix, rational(high), factor=-1)))


def transposed(A: Matrix) -> Matrix:
    return [list(column) for column in zip(*A, strict=True)]


def product(A: Matrix, B: Matrix) -> Matrix:
    columns = transposed(B)
    return [[sum((a * b for a, b in zip(row, column, strict=True)), Fraction()) for column in columns] for row in A]


def add(A: Matrix, B: Matrix, factor: Fraction | int = 1) -> Matrix:
    """Computes A + factor · B."""
    return [[a + factor * b for a, b in zip(left, right, strict=True)] for left, right in zip(A, B, strict=True)]


def solve(A: Matrix, B: Matrix) -> Matrix:
    """Computes A⁻¹ B by Gaussian elimination; A is regular."""
    rows = [[*left, *right] for left, right in zip(A, B, strict=True)]
    for i in range(len(rows)):
        pivot = next(k for k in range(i, len(rows)) if rows[k][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for k, row in enumerate(rows):
            if k != i and row[i]:
                rows[k] = [a - row[i] * b for a, b in zip(row, rows[i], strict=True)]
    return [row[len(A) :] for row in rows]


def identity(size: int) -> Matrix:
    return [[Fraction(i == j) for j in range(size)] for i in range(size)]


def squares(A: Matrix) -> Fraction:
    """Sums the squares of all entries."""
    return sum((value * value for row in A for value in row), Fraction())


@dataclass(frozen=True)
class Paraboloid:
    """J(θ) = sum((A θ - y)²) / (N·K) + l2 · sum((P θ)²), and its minimum."""

    columns: Matrix  # A (N, P), including the column of ones if there is an intercept
    y: Matrix  # (N, K)
    l2: Fraction = Fraction()
    penalized: Matrix | None = None  # P

    @property
    def hessian(self) -> Matrix:
        """Computes half of the Hessian: A'A / (N·K) + l2 · P'P."""
        count = len(self.y) * len(self.y[0])
        half = [[value / count for value in row] for row in product(transposed(self.columns), self.columns)]
        if self.penalized:
            half = add(half, product(transposed(self.penalized), self.penalized), self.l2)
        return half

    def minimum(self) -> Matrix:
        """Computes θ* (P, K)."""
        count = len(self.y) * len(self.y[0])
        right = product(transposed(self.columns), self.y)
        return solve(self.hessian, [[value / count for value in row] for row in right])

    def value(self, theta: Matrix) -> Fraction:
        """Computes J."""
        mse = squares(add(product(self.columns, theta), self.y, factor=-1)) / (len(self.y) * len(self.y[0]))
        return mse + (self.l2 * squares(product(self.penalized, theta)) if self.penalized else 0)

    def gradient(self, theta: Matrix) -> Matrix:
        """Computes 2 · half Hessian · (θ - θ*)."""
        error = add(theta, self.minimum(), factor=-1)
        return [[2 * value for value in row] for row in product(self.hessian, error)]


def with_ones(x: Sequence[Sequence[Fraction]]) -> Matrix:
    """Prepends a column of ones."""
    return [[Fraction(1), *row] for row in x]
