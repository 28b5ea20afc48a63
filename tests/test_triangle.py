"""Checks the triangle against the rows it was made of, in any chunks, order and units."""

import itertools
import multiprocessing
from fractions import Fraction
from operator import mul
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linreg_pl.core import triangle
from linreg_pl.core.parallel import ROWS_PER_TASK
from linreg_pl.core.scaling import standardization
from linreg_pl.core.triangle import Triangle, triangle_of
from tests.problems import Problem, problem, problems
from tests.waiting import PATIENCE

# Two float64 Gram matrices of at most 24 rows of numbers up to 5.
CLOSE: Any = {"rtol": 1e-12, "atol": 1e-11}


def gram(x: Tensor, y: Tensor) -> Tensor:
    """Computes the Gram matrix of [1, x, y]."""
    columns = torch.cat([torch.ones(len(x), 1, dtype=torch.float64), x.double(), y.double()], dim=1)
    return columns.T @ columns


def assert_holds(triangle: Triangle, expected: Tensor, num_rows: int) -> None:
    """Asserts that `triangle` is the unique one of `num_rows` rows with this Gram matrix."""
    torch.testing.assert_close(triangle.R.T @ triangle.R, expected, **CLOSE)
    assert torch.equal(triangle.R, triangle.R.triu())
    assert (triangle.R.diagonal() >= 0).all()
    assert triangle.num_rows == num_rows


@given(problems(), st.data())
@settings(max_examples=40)
def test_chunks_and_order_do_not_matter(given_problem: Problem, data: st.DataObject) -> None:
    x, y = given_problem.x, given_problem.y
    order = torch.tensor(data.draw(st.permutations(range(len(x)))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    ends = [0, *cuts, len(x)]
    chunks = [(x[order][start:stop], y[order][start:stop]) for start, stop in itertools.pairwise(ends)]
    whole = triangle_of(chunks)
    assert_holds(whole, gram(x, y), len(x))
    assert (whole.num_features, whole.num_targets) == (x.shape[1], y.shape[1])


@given(problems(), problems())
@settings(max_examples=40)
def test_merging_keeps_all_rows(one: Problem, other: Problem) -> None:
    D, K = min(one.x.shape[1], other.x.shape[1]), min(one.y.shape[1], other.y.shape[1])
    sets = [(rows.x[:, :D], rows.y[:, :K]) for rows in (one, other)]
    left, right = (triangle_of([rows]) for rows in sets)
    assert_holds(left.merge(right), gram(*sets[0]) + gram(*sets[1]), len(one.x) + len(other.x))
    assert_holds(right.merge(left), gram(*sets[0]) + gram(*sets[1]), len(one.x) + len(other.x))


@given(problems())
@settings(max_examples=40)
def test_duplicated_rows_double_the_gram_matrix(given_problem: Problem) -> None:
    x, y = given_problem.x, given_problem.y
    once, twice = triangle_of([(x, y)]), triangle_of([(x, y), (x, y)])
    assert_holds(twice, 2 * gram(x, y), 2 * len(x))
    torch.testing.assert_close(twice.means, once.means, **CLOSE)
    torch.testing.assert_close(twice.scales, once.scales, **CLOSE)


@given(problems(), st.integers(-30, 30), st.data())
@settings(max_examples=40)
def test_units_and_column_order(given_problem: Problem, exponent: int, data: st.DataObject) -> None:
    """Scaling by a power of two changes no digit."""
    x, y = given_problem.x, given_problem.y
    column = data.draw(st.integers(0, x.shape[1] - 1))
    scaled = x.clone()
    scaled[:, column] *= 2.0**exponent
    rescaled = triangle_of([(scaled, y)])
    rescaled.R[:, 1 + column] /= 2.0**exponent
    assert_holds(rescaled, gram(x, y), len(x))
    order = torch.tensor(data.draw(st.permutations(range(x.shape[1]))))
    assert_holds(triangle_of([(x[:, order], y)]), gram(x[:, order], y), len(x))


@given(problems())
@settings(max_examples=40)
def test_means_and_scales(given_problem: Problem) -> None:
    x, y = given_problem.x, given_problem.y
    columns = torch.cat([x, y], dim=1)
    whole = triangle_of([(x, y)])
    torch.testing.assert_close(whole.means, columns.mean(dim=0), **CLOSE)
    torch.testing.assert_close(whole.scales, columns.std(dim=0, correction=0), **CLOSE)


def test_rows_factored_in_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triangle, "ROWS_PER_FACTORIZATION", 5)
    x, y, *_ = problem(24, 2, 1, 0.0, seed=0)
    assert_holds(triangle_of([(x[:3], y[:3]), (x[3:], y[3:])]), gram(x, y), 24)


def test_fork_starts_its_own_threads() -> None:
    """The parent's cached threads do not exist in a forked process."""
    x, y, *_ = problem(10, 3, 1, 0.0, seed=0)
    expected = triangle_of([(x, y)]).R
    with multiprocessing.get_context("fork").Pool(1) as forked:
        R = forked.apply_async(factored_in_a_fork).get(timeout=PATIENCE)
    np.testing.assert_array_equal(R, expected.numpy())


def factored_in_a_fork() -> np.ndarray:
    """Factors the same rows."""
    x, y, *_ = problem(10, 3, 1, 0.0, seed=0)
    R: np.ndarray = triangle_of([(x, y)]).R.numpy()
    return R


def test_float32_and_integers() -> None:
    x, y = torch.tensor([[0.1], [0.2], [5.0]]), torch.tensor([[3], [1], [4]])
    assert_holds(triangle_of([(x, y)]), gram(x, y), 3)


@pytest.mark.parametrize("value", [0.1, 1e6 + 0.3, 7.0, 0.0])
@pytest.mark.parametrize("num_rows", [1, 10, 5000])
def test_constant_column_has_no_scale(value: float, num_rows: int) -> None:
    x, y, *_ = problem(num_rows, 2, 1, 0.0, seed=1)
    x[:, 0] = value
    whole, chunked = triangle_of([(x, y)]), triangle_of(zip(x.split(7), y.split(7), strict=True))
    assert whole.scales[0] == 0
    assert chunked.scales[0] == 0


def test_smallest_float32_difference_has_a_scale() -> None:
    x, y, *_ = problem(10_000, 1, 1, 0.0, seed=1)
    x[:] = 1.0
    x[123] = 1 + 2.0**-23
    expected = 2.0**-23 / 100  # the standard deviation of one row that differs among 10 000
    assert triangle_of([(x.float(), y)]).scales[0].item() == pytest.approx(expected, rel=1e-3)


@given(problems())
@settings(max_examples=40)
def test_standardization_of_the_triangle(given_problem: Problem) -> None:
    x, y = given_problem.x, given_problem.y
    x = torch.cat([x, torch.full((len(x), 1), 0.1, dtype=torch.float64)], dim=1)
    scales = x.std(dim=0, correction=0)
    constant = scales < 1e-12
    z = torch.where(constant, 0.0, (x - x.mean(dim=0)) / torch.where(constant, 1.0, scales))
    triangle = triangle_of([(x, y)])
    scaled = triangle.R[:, : 1 + triangle.num_features] @ standardization(triangle).matrix
    # Centring cancels the mean's digits: at most one or two in so few normal numbers.
    expected = gram(z, y)[: 1 + triangle.num_features, : 1 + triangle.num_features]
    torch.testing.assert_close(scaled.T @ scaled, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("num_targets", [1, 2])
def test_with_noise_is_the_expectation(num_targets: int) -> None:
    """Noise of ±std, independent in every entry: the mean over all signs is the exact expectation."""
    x, y, *_ = problem(4, 2, num_targets, 0.0, seed=2)
    signs = itertools.product([-1.0, 1.0], repeat=y.numel())
    grams = [gram(x, y + 0.7 * torch.tensor(sign, dtype=torch.float64).view_as(y)) for sign in signs]
    assert_holds(triangle_of([(x, y)]).with_noise(0.7), torch.stack(grams).mean(dim=0), 4)


def test_bits_on_any_number_of_threads() -> None:
    x, y, *_ = problem(2 * ROWS_PER_TASK + 1, 1, 1, 0.0, seed=3)
    before = torch.get_num_threads()
    triangles = []
    for num_threads in (1, 3):
        torch.set_num_threads(num_threads)
        triangles.append(triangle_of([(x, y)]).R)
        assert torch.get_num_threads() == num_threads, "the setting is restored"
    torch.set_num_threads(before)
    assert torch.equal(*triangles)


def exact_root(gram: list[list[Fraction]]) -> Tensor:
    """Factors a Gram matrix by Cholesky's formulas in fractions: only the square roots are rounded."""
    left, rows = [row[:] for row in gram], []
    for pivot in range(len(gram)):
        row = left[pivot][:]
        rows.append([float(value) / float(row[pivot]) ** 0.5 for value in row])
        for i in range(pivot + 1, len(gram)):
            left[i] = [
                value - row[i] * pivot_value / row[pivot] for value, pivot_value in zip(left[i], row, strict=True)
            ]
    return torch.tensor(rows, dtype=torch.float64).triu()


def far_and_near(num_rows: int, sine: float) -> tuple[Tensor, Tensor]:
    """Returns a column far from 0, one at an angle of about `sine` to it, and a target, all with few digits."""
    generator = torch.Generator().manual_seed(4)
    z = torch.randint(-1000, 1000, (num_rows, 3), generator=generator).double() / 1024
    x = torch.stack([z[:, 0] + 4096, z[:, 0] - 17 + sine * z[:, 1]], dim=1)
    return x, (z[:, :1] - z[:, 1:2] + z[:, 2:])


def cut_off(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Makes the second column almost collinear in the rows after the first 1000."""
    x[1_000:] *= 2**10
    x[1_000:, 1] = x[1_000:, 0] * 3
    return x, y


@pytest.mark.parametrize(
    ("rows", "squared"),
    [
        (far_and_near(4_000, 2.0**-3), True),
        (far_and_near(4_000, 2.0**-20), False),
        (cut_off(*far_and_near(4_000, 2.0**-3)), False),
    ],
    ids=["independent", "near", "near where all rows are seen"],
)
def test_many_rows_keep_their_digits(
    rows: tuple[Tensor, Tensor], squared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A float64 Gram matrix would lose more than half of the near column's digits."""
    monkeypatch.setattr(triangle, "ROWS_PER_FACTORIZATION", 1_000)
    assert (
        triangle._by_cholesky(*rows, torch.zeros(rows[0].shape[1] + rows[1].shape[1]).double()) is not None
    ) == squared
    columns = torch.cat([torch.ones(len(rows[0]), 1), *rows], dim=1).T.tolist()
    gram = [
        [sum(map(mul, map(Fraction, one), map(Fraction, other)), Fraction()) for other in columns] for one in columns
    ]
    expected = exact_root(gram)
    R = triangle_of([rows]).R
    lengths = expected.norm(dim=0)
    assert ((R.T @ R - expected.T @ expected).abs() <= 1e-12 * lengths * lengths[:, None]).all()
    assert R[2, 2].item() == pytest.approx(expected[2, 2].item(), rel=1e-8)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no chunk of rows"):
        triangle_of([])
