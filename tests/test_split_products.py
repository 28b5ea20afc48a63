"""Checks products of split matrices against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linreg_pl.core.double_double import DoubleDouble, double_double
from linreg_pl.core.split_products import PARTS, ResidualProducts, power_above, split
from tests.rationals import Matrix, add, product, rational, transposed


def exact(value: DoubleDouble) -> Matrix:
    return add(rational(value.high), rational(value.low))


def drawn(random: np.random.Generator, *shape: int) -> torch.Tensor:
    """Draws numbers of very different sizes."""
    return torch.from_numpy(random.normal(size=shape) * 10 ** random.uniform(-6, 6, size=shape))


def low_digits(high: torch.Tensor, random: np.random.Generator) -> DoubleDouble:
    """Adds digits below the last of each number."""
    return DoubleDouble(high, high * torch.from_numpy(random.uniform(-1, 1, size=high.shape)) * 2.0**-54)


@given(st.integers(0, 2**31), st.integers(5, 24))
def test_parts_add_up(seed: int, bits: int) -> None:
    """Each part but the last is a whole multiple of its last bit, and of so many bits."""
    random = np.random.default_rng(seed)
    value = low_digits(drawn(random, 3, 4), random)
    sizes = power_above(value.high.abs().amax(dim=1, keepdim=True))
    parts = split(value.high.numpy().copy(), value.low.numpy(), sizes.numpy(), bits, np.empty((PARTS, 3, 4)))
    for index, part in enumerate(parts[:-1]):
        units = part / (sizes.numpy() * 2.0 ** (-(index + 1) * bits))
        assert (units == np.round(units)).all()
        assert (np.abs(units) <= 2.0**bits).all()
    total = [[sum(map(Fraction, part)) for part in zip(*row, strict=True)] for row in zip(*parts.tolist(), strict=True)]
    rounding = Fraction(2) ** (-(PARTS - 1) * bits - 52)
    for row, sums, (size,) in zip(exact(value), total, sizes.tolist(), strict=True):
        assert all(abs(one - other) <= rounding * Fraction(size) for one, other in zip(row, sums, strict=True))


@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 3), st.lists(st.integers(1, 9), min_size=1, max_size=3)),
    is_weighted=st.booleans(),
)
def test_products_equal_rational(seed: int, shape: tuple[int, int, list[int]], is_weighted: bool) -> None:
    """Errors are below the 28th digit of the largest terms, however the rows are cut into blocks."""
    random = np.random.default_rng(seed)
    P, K, blocks = shape
    theta = low_digits(drawn(random, P, K), random)
    A = [low_digits(drawn(random, P, n), random) for n in blocks]
    y = [low_digits(drawn(random, K, n), random) for n in blocks]
    weights = [torch.from_numpy(random.uniform(size=(1, n))) for n in blocks]
    sizes = power_above(torch.cat([each.high for each in A], dim=1).abs().amax(dim=1))
    products = ResidualProducts(theta, sizes, max(blocks))
    expected = [[Fraction()] * K for _ in range(P)]
    largest = 0.0
    for columns, targets, w in zip(A, y, weights, strict=True):
        products.add(columns.high.numpy().copy(), columns.low.numpy(), targets, w if is_weighted else None)
        residuals = add(transposed(exact(targets)), product(transposed(exact(columns)), exact(theta)), factor=-1)
        largest = max(largest, *(abs(float(value)) for row in residuals for value in row))
        largest = max(largest, float((theta.high.abs().T @ columns.high.abs() + targets.high.abs()).max()))
        if is_weighted:
            factors = [Fraction(value) for value in w[0].tolist()]
            residuals = [[factor * value for value in row] for factor, row in zip(factors, residuals, strict=True)]
        expected = add(expected, product(exact(columns), residuals))
    errors = add(exact(products.total), expected, factor=-1)
    for row, size in zip(errors, sizes.tolist(), strict=True):
        assert all(abs(float(error)) <= 1e-28 * size * largest * sum(blocks) for error in row)


@pytest.mark.parametrize("size", [0.0, 1.0, 0.75, 3e-300, 1e300])
def test_power_above(size: float) -> None:
    power = float(power_above(torch.tensor(size, dtype=torch.float64)))
    assert power == 1 if size == 0 else size < power <= 2 * size


def test_zeros() -> None:
    """Nothing is divided by a size of 0."""
    theta = double_double(torch.zeros(2, 1))
    products = ResidualProducts(theta, power_above(torch.zeros(2, dtype=torch.float64)), 3)
    products.add(np.zeros((2, 3)), np.zeros((2, 3)), double_double(torch.zeros(1, 3)))
    assert exact(products.total) == [[0], [0]]
