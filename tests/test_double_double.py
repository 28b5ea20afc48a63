"""Checks pairs of float64 against rational arithmetic."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, square_root, two_product, two_sum
from tests.rationals import Matrix, pairs

# No overflow, no underflow of a product's error.
NUMBERS = st.floats(-1e100, 1e100).filter(lambda value: value == 0 or abs(value) > 1e-100)
RATIONALS = st.fractions(-1000, 1000, max_denominator=10**9)

EPS = Fraction(1, 2**52)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def exact(value: DoubleDouble) -> Fraction:
    """Returns its only entry."""
    return sum((Fraction(part.item()) for part in value), Fraction())


@given(NUMBERS, NUMBERS)
def test_float64_sum_and_product_are_exact(a: float, b: float) -> None:
    assert exact(two_sum(row(a), row(b))) == Fraction(a) + Fraction(b)
    assert exact(two_product(row(a), row(b))) == Fraction(a) * Fraction(b)


@given(RATIONALS, RATIONALS)
def test_pairs_have_twice_the_digits(a: Fraction, b: Fraction) -> None:
    """A sum may cancel, so its error is relative to its terms."""
    left, right = pairs([[a]]), pairs([[b]])
    assert abs(exact(left) - a) <= EPS**2 * abs(a)
    assert abs(exact(left + right) - (a + b)) <= 4 * EPS**2 * (abs(a) + abs(b))
    assert abs(exact(left + -right) - (a - b)) <= 4 * EPS**2 * (abs(a) + abs(b))
    assert abs(exact(left * right) - a * b) <= 8 * EPS**2 * abs(a * b)


@given(st.floats(1e-90, 1e90))
def test_square_root_has_twice_the_digits(a: float) -> None:
    assert abs(exact(square_root(row(a))) ** 2 / Fraction(a) - 1) <= 8 * EPS**2


def test_square_root_of_zero() -> None:
    assert exact(square_root(row(0.0))) == 0


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 100])
def test_sum_of_rows(num_rows: int) -> None:
    values: Matrix = [[Fraction((-1) ** i, 3 + i), Fraction(10**i, 7**i)] for i in range(num_rows)]
    total = pairs(values).sum_of_rows()
    for column in range(2):
        terms = [row[column] for row in values]
        error = Fraction(total.high[column].item()) + Fraction(total.low[column].item()) - sum(terms)
        assert abs(error) <= 32 * EPS**2 * sum(map(abs, terms))
