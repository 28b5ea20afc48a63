"""How are sums kept to twice the digits of float64? As pairs `high + low`, 106 bits together.

The error of a float64 sum or product is itself a float64, and can be computed: Knuth's two-sum, and Dekker's
two-product ("A floating-point technique for extending the available precision", Numerische Mathematik 18, 1971).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

SPLITTER = 2.0**27 + 1
"""Cuts 53 bits into 26 and 26, and a sign; a value above 1e300 would overflow."""


class DoubleDouble(NamedTuple):
    """`high + low`, elementwise, where `low` is below the last digit of `high`."""

    high: Tensor
    low: Tensor

    def __add__(self, other: "DoubleDouble") -> "DoubleDouble":  # type: ignore[override]
        """Elementwise sum."""
        total, error = two_sum(self.high, other.high)
        return fast_two_sum(total, error + (self.low + other.low))

    def __mul__(self, other: "DoubleDouble") -> "DoubleDouble":  # type: ignore[override]
        """Elementwise product."""
        product, error = two_product(self.high, other.high)
        return fast_two_sum(product, error + (self.high * other.low + self.low * other.high))

    def __neg__(self) -> "DoubleDouble":
        """Elementwise negation."""
        return DoubleDouble(-self.high, -self.low)

    def rows(self, chosen: slice) -> "DoubleDouble":
        """Some rows."""
        return DoubleDouble(self.high[chosen], self.low[chosen])

    def columns(self, chosen: slice) -> "DoubleDouble":
        """Some columns."""
        return DoubleDouble(self.high[:, chosen], self.low[:, chosen])

    def after_ones(self) -> "DoubleDouble":
        """The columns after one of ones."""
        return DoubleDouble(pad(self.high, (1, 0), value=1.0), pad(self.low, (1, 0)))

    def sum_of_rows(self) -> "DoubleDouble":
        """The sum over the first dimension, by halves."""
        if len(self.high) == 1:
            return DoubleDouble(self.high[0], self.low[0])
        half = len(self.high) // 2
        halves = self.rows(slice(half)) + self.rows(slice(half, 2 * half))
        if len(self.high) % 2:
            last = self.rows(slice(2 * half, None))
            halves = DoubleDouble(torch.cat([halves.high, last.high]), torch.cat([halves.low, last.low]))
        return halves.sum_of_rows()


def double_double(value: Tensor) -> DoubleDouble:
    """`value`, to whose digits nothing is added."""
    high = value.to(torch.float64)
    return DoubleDouble(high, torch.zeros_like(high))


def fast_two_sum(a: Tensor, b: Tensor) -> DoubleDouble:
    """`a + b` exactly, where |a| ≥ |b|."""
    total = a + b
    return DoubleDouble(total, b - (total - a))


def two_sum(a: Tensor, b: Tensor) -> DoubleDouble:
    """`a + b` exactly."""
    total = a + b
    of_b = total - a
    return DoubleDouble(total, (a - (total - of_b)) + (b - of_b))


def two_product(a: Tensor, b: Tensor) -> DoubleDouble:
    """`a · b` exactly, where nothing overflows or underflows."""
    product = a * b
    a_high, a_low = split(a)
    b_high, b_low = split(b)
    return DoubleDouble(product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low)


def split(a: Tensor) -> tuple[Tensor, Tensor]:
    """`a` as a sum of two numbers of 26 bits."""
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def square_root(a: Tensor) -> DoubleDouble:
    """√a, to twice the digits of the float64 `a`: one of Newton's steps from its rounded root."""
    root = a.sqrt()
    square, error = two_product(root, root)
    return fast_two_sum(root, torch.where(root > 0, ((a - square) - error) / (2 * root), 0))
