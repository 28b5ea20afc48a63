"""Solves least squares in rational arithmetic, with an intercept and standard errors, for float64 values."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from mpmath import mp, mpf
from torch import Tensor

from tests.rationals import Matrix, identity, product, rational, solve, transposed


def to_float(value: Fraction, power: int = 1) -> float:
    """Rounds a fraction, or its square root if `power` is 2, of any size."""
    with mp.workdps(80):
        quotient = mpf(value.numerator) / mpf(value.denominator)
        return float(quotient if power == 1 else mp.root(quotient, power))


def total(values: Sequence[Fraction]) -> Fraction:
    """Adds exactly."""
    return sum(values, Fraction())


@dataclass(frozen=True)
class LeastSquares:
    """The exact solution for one target, with an intercept; the columns of x are linearly independent of each other."""

    x: Matrix  # (N, D)
    y: Matrix  # (N, 1)
    weights: list[Fraction]  # of rows, above 0

    @classmethod
    def of(cls, x: Tensor, y: Tensor, weights: Tensor | None, columns: Sequence[int]) -> "LeastSquares":
        """Converts the rows of weight above 0, and some columns of x."""
        w = [Fraction(1)] * len(x) if weights is None else [value for (value,) in rational(weights)]
        rows = [[row[column] for column in columns] for row in rational(x)]
        targets = rational(y)
        kept = [index for index, weight in enumerate(w) if weight]
        return cls([rows[i] for i in kept], [targets[i] for i in kept], [w[i] for i in kept])

    @cached_property
    def means(self) -> list[Fraction]:
        """Returns the means of the columns of x, then of y."""
        columns = [*transposed(self.x), *transposed(self.y)]
        terms = [[w * value for w, value in zip(self.weights, column, strict=True)] for column in columns]
        return [total(column) / total(self.weights) for column in terms]

    @cached_property
    def _deviations(self) -> tuple[Matrix, Matrix]:
        *means, mean = self.means
        x = [[value - m for value, m in zip(row, means, strict=True)] for row in self.x]
        return x, [[value - mean] for (value,) in self.y]

    @cached_property
    def _weighted(self) -> Matrix:
        return [[w * value for value in row] for w, row in zip(self.weights, self._deviations[0], strict=True)]

    @cached_property
    def _inverse(self) -> Matrix:
        gram = product(transposed(self._weighted), self._deviations[0])
        return solve(gram, identity(len(gram)))

    @cached_property
    def slopes(self) -> list[Fraction]:
        """Returns W."""
        right = product(transposed(self._weighted), self._deviations[1])
        return [value for (value,) in product(self._inverse, right)]

    @cached_property
    def intercept(self) -> Fraction:
        """Returns b."""
        *means, mean = self.means
        return mean - total([m * w for m, w in zip(means, self.slopes, strict=True)])

    def prediction(self, row: Sequence[Fraction]) -> Fraction:
        """Returns x W + b."""
        return self.intercept + total([value * w for value, w in zip(row, self.slopes, strict=True)])

    @cached_property
    def squares(self) -> tuple[Fraction, Fraction]:
        """Returns the sums of squared residuals and of squared deviations of y."""
        x, y = self._deviations
        fitted = product(x, [[slope] for slope in self.slopes])
        rows = list(zip(self.weights, y, fitted, strict=True))
        return total([w * (v - f) ** 2 for w, (v,), (f,) in rows]), total([w * v**2 for w, (v,), _ in rows])

    @property
    def r_squared(self) -> float:
        """Returns R²."""
        residual, whole = self.squares
        return to_float(1 - residual / whole)

    @property
    def variance(self) -> Fraction:
        """Returns the estimate of σ²."""
        return self.squares[0] / (len(self.y) - 1 - len(self.slopes))

    @property
    def standard_errors(self) -> list[float]:
        """Returns those of W."""
        return [to_float(self.variance * row[i], 2) for i, row in enumerate(self._inverse)]

    def standard_error_at(self, row: Sequence[Fraction]) -> float:
        """Returns that of the prediction's expected value; of b, where the row is 0."""
        z = [value - m for value, m in zip(row, self.means, strict=False)]
        (image,) = product([z], self._inverse)
        leverage = total([a * b for a, b in zip(image, z, strict=True)])
        return to_float(self.variance * (leverage + 1 / total(self.weights)), 2)
