"""Checks J and its gradient against autograd, against the formula spelled out, and by their invariances."""

from typing import Any

import pytest
import torch
from hypothesis import given

from linreg_pl.core.objective import objective, predict, residuals, value_and_gradient
from tests.problems import Problem, problem, problems

# float64 on at most 12 x 6 numbers of size 1 to 7: a few hundred roundings of 1e-16.
CLOSE: Any = {"rtol": 1e-12, "atol": 1e-12}


@given(problems())
def test_gradient_equals_autograds(given_problem: Problem) -> None:
    x, y, W, b, l2 = given_problem
    W.requires_grad_()
    b.requires_grad_()
    loss = objective(x, y, W, b, l2)
    loss.backward()
    step = value_and_gradient(x, y, W, b, l2)
    torch.testing.assert_close(step.loss, loss.detach(), **CLOSE)
    torch.testing.assert_close(step.grad_W, W.grad, **CLOSE)
    torch.testing.assert_close(step.grad_b, b.grad, **CLOSE)


@given(problems())
def test_objective_equals_the_formula(given_problem: Problem) -> None:
    x, y, W, b = (tensor.tolist() for tensor in given_problem[:4])
    l2 = given_problem.l2
    rows, features, targets = range(len(x)), range(len(W)), range(len(b))
    squares = [
        (sum(x[n][d] * W[d][k] for d in features) + b[k] - y[n][k]) ** 2  # (X W + b - y)²
        for n in rows
        for k in targets
    ]
    penalty = l2 * sum(W[d][k] ** 2 for d in features for k in targets)
    step = value_and_gradient(*given_problem)
    assert step.mse.item() == pytest.approx(sum(squares) / len(squares), rel=1e-12)
    assert step.loss.item() == pytest.approx(sum(squares) / len(squares) + penalty, rel=1e-12)


@given(problems())
def test_duplicated_rows_change_nothing(given_problem: Problem) -> None:
    x, y, W, b, l2 = given_problem
    once = value_and_gradient(x, y, W, b, l2)
    twice = value_and_gradient(torch.cat([x, x]), torch.cat([y, y]), W, b, l2)
    for name in ("loss", "mse", "grad_W", "grad_b"):
        torch.testing.assert_close(getattr(twice, name), getattr(once, name), **CLOSE)


@given(problems())
def test_penalty_excludes_the_bias(given_problem: Problem) -> None:
    x, y, W, b, l2 = given_problem
    unpenalised, penalised = value_and_gradient(x, y, W, b, 0.0), value_and_gradient(x, y, W, b, l2)
    torch.testing.assert_close(penalised.grad_W - unpenalised.grad_W, 2 * l2 * W, **CLOSE)
    assert torch.equal(penalised.grad_b, unpenalised.grad_b)
    assert torch.equal(penalised.mse, unpenalised.mse)


def test_flat_target_is_refused() -> None:
    x, y, W, b, _ = problem(5, 2, 1, 0.0, seed=0)
    with pytest.raises(ValueError, match=r"y has shape \(5,\).*predict \(5, 1\)"):
        residuals(x, y.squeeze(1), W, b)


def test_prediction_adds_b_to_each_row() -> None:
    x, _, W, b, _ = problem(5, 2, 3, 0.0, seed=0)
    torch.testing.assert_close(predict(x, W, b), torch.stack([row @ W + b for row in x]), **CLOSE)
