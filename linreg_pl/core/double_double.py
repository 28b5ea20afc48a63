"""Adds and multiplies numbers with twice the digits of float64, as pairs `high + low` of 106 bits together.

The error of a float64 sum or product is itself a float64, and can be computed: Knuth's two-sum, and Dekker's
two-product ("A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class DoubleDouble(NamedTuple):
    """`high + low`, elementwise, where `low` is below the last digit of `high`."""

    high: Tensor
    low: Tensor

    def __add__(self, other: "DoubleDouble") -> "DoubleDouble":  # type: ignore[override]
        """Adds elementwise."""
        total, error = two_sum(self.high, other.high)
        return fast_two_sum(total, error + (self.low + other.low))

    def __mul__(self, other: "DoubleDouble") -> "DoubleDouble":  # type: ignore[override]
        """Multiplies elementwise."""
        product, error = two_product(self.high, other.high)
        return fast_two_sum(product, error + (self.high * other.low + self.low * other.high))

    def __neg__(self) -> "DoubleDouble":
        """Negates elementwise."""
        return DoubleDouble(-self.high, -self.low)

    def rows(self, chosen: slice) -> "DoubleDouble":
        """Returns some rows."""
        return DoubleDouble(self.high[chosen], self.low[chosen])

    def sum_of_rows(self) -> "DoubleDouble":
        """Sums over the first dimension, in pairs."""
        if len(self.high) == 1:
            return DoubleDouble(self.high[0], self.low[0])
        half = len(self.high) // 2
        halves = self.rows(slice(half)) + self.rows(slice(half, 2 * half))
        if len(self.high) % 2:
            last = self.rows(slice(2 * half, None))
            halves = DoubleDouble(torch.cat([halves.high, last.high]), torch.cat([halves.low, last.low]))
        return halves.sum_of_rows()


def double_double(value: Tensor) -> DoubleDouble:
    """Converts to a pair whose `low` is 0."""
    high = value.to(torch.float64)
    return DoubleDouble(high, torch.zeros_like(high))


def fast_two_sum(a: Tensor, b: Tensor) -> DoubleDouble:
    """Computes `a + b` exactly, where |a| ≥ |b|."""
    total = a + b
    return DoubleDouble(total, b - (total - a))


def two_sum(a: Tensor, b: Tensor) -> DoubleDouble:
    """Computes `a + b` exactly."""
    total = a + b
    b_rounded = total - a
    return DoubleDouble(total, (a - (total - b_rounded)) + (b - b_rounded))


def two_product(a: Tensor, b: Tensor) -> DoubleDouble:
    """Computes `a · b` exactly, where nothing overflows or underflows."""
    product = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    return DoubleDouble(product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low)


def split(a: Tensor) -> tuple[Tensor, Tensor]:
    """Splits `a` into a sum of two numbers of 26 bits."""
    scaled = (2.0**27 + 1) * a  # cuts 53 bits into 26, 26 and a sign; a value above 1e300 would overflow
    high = scaled - (scaled - a)
    return high, a - high


def square_root(a: Tensor) -> DoubleDouble:
    """Computes √a to twice the digits of the float64 `a`, by one Newton step from the rounded root."""
    root = a.sqrt()
    square, error = two_product(root, root)
    return fast_two_sum(root, torch.where(root > 0, ((a - square) - error) / (2 * root), 0))
