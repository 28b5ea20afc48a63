"""Checks the pseudo-inverse of scaled columns against NumPy's, and by its invariances."""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from linreg_pl.core.pseudo_inverse import PseudoInverse
from tests.problems import Problem, problem, problems

EPS = torch.finfo(torch.float64).eps
CLOSE: Any = {"rtol": 1e-9, "atol": 1e-9}  # 1e-16 by the square of a condition number of some thousands


def tall(given_problem: Problem) -> tuple[Tensor, Tensor]:
    """Returns a matrix with at least as many rows as columns, and right-hand sides, padded with rows of zeros."""
    missing = (0, 0, 0, max(0, given_problem.x.shape[1] - len(given_problem.x)))
    return pad(given_problem.x, missing), pad(given_problem.y, missing)


def errors_of(T: Tensor) -> Tensor:
    """Returns bounds on the errors of the columns: a few roundings of their lengths."""
    errors: Tensor = 32 * EPS * torch.linalg.vector_norm(T, dim=0)
    return errors


@given(problems())
@settings(max_examples=40)
def test_solution_is_stationary(given_problem: Problem) -> None:
    """T'(T θ - right) = 0, also with fewer rows than columns."""
    T, right = tall(given_problem)
    inverse = PseudoInverse(T, errors_of(T))
    theta = inverse.solve(right)
    torch.testing.assert_close(T.T @ (T @ theta - right), torch.zeros_like(theta), rtol=0, atol=1e-9)
    torch.testing.assert_close(inverse.half @ (inverse.half.T @ (T.T @ right)), theta, **CLOSE)


@given(problems(), st.integers(-100, 100))
@settings(max_examples=40)
def test_units_change_no_digit(given_problem: Problem, exponent: int) -> None:
    T, right = tall(given_problem)
    scaled = T.clone()
    scaled[:, 0] *= 2.0**exponent
    one, other = PseudoInverse(T, errors_of(T)), PseudoInverse(scaled, errors_of(scaled))
    expected = one.solve(right)
    expected[0] /= 2.0**exponent
    torch.testing.assert_close(other.solve(right), expected, rtol=1e-12, atol=0)


def test_shortest_equals_numpys() -> None:
    T, right = tall(problem(4, 6, 2, 0.0, seed=18))
    inverse = PseudoInverse(T, errors_of(T))
    ours = inverse.shortest(inverse.solve(right), torch.ones(6).double())
    np.testing.assert_allclose(ours.numpy(), np.linalg.pinv(T.numpy()) @ right.numpy(), rtol=0, atol=1e-12)
    assert inverse.dependent.all()


def test_shortest_in_other_units() -> None:
    """Only θ₀ + 3 θ₁ is determined, to be 5: the shortest in units of 1 and 2 is (20, 15) / 13."""
    T, right = torch.tensor([[1.0, 3.0], [0, 0]]).double(), torch.tensor([[5.0], [0]]).double()
    inverse = PseudoInverse(T, errors_of(T))
    ours = inverse.shortest(inverse.solve(right), torch.tensor([1.0, 2.0]).double())
    torch.testing.assert_close(ours.flatten(), torch.tensor([20.0, 15.0]).double() / 13, rtol=0, atol=1e-14)


def test_zero_matrix_gives_zero() -> None:
    inverse = PseudoInverse(torch.zeros(3, 2, dtype=torch.float64), torch.zeros(2).double())
    assert torch.equal(inverse.solve(torch.ones(3, 1).double()), torch.zeros(2, 1).double())
