"""How well rows are predicted that were not fitted, against scikit-learn's metrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import mean_squared_error, r2_score

from linreg_pl.core.evaluation import evaluation, evaluation_of
from linreg_pl.core.scaling import theta_of
from linreg_pl.core.triangle import triangle_of
from tests.problems import Problem, problem, problems


@pytest.mark.parametrize("num_targets", [1, 3])
def test_metrics_are_scikit_learns(num_targets: int) -> None:
    x, y, W, b, _ = problem(50, 4, num_targets, 0.0, seed=2)
    y = y * 10.0 ** torch.arange(num_targets) + 100  # targets of other sizes: their sums are pooled
    prediction = (x @ W + b).numpy()
    theta = theta_of(W, b)
    for found in (evaluation(x, y, theta), evaluation_of(triangle_of([(x, y)]), theta)):
        assert found.mse == pytest.approx(mean_squared_error(y, prediction), rel=1e-12)
        assert found.r2 == pytest.approx(r2_score(y, prediction, multioutput="variance_weighted"), rel=1e-12)


@given(problems())
def test_any_parts_make_the_whole(given_problem: Problem) -> None:
    x, y, W, b, _ = given_problem
    theta = theta_of(W, b)
    whole = evaluation(x, y, theta)
    parts = [evaluation(x[row : row + 1], y[row : row + 1], theta) for row in range(len(x))]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    for found in (merged, evaluation_of(triangle_of([(x, y)]), theta)):
        assert found.num_rows == len(x)
        assert found.mse == pytest.approx(whole.mse, rel=1e-10)
        assert found.r2 == pytest.approx(whole.r2, rel=1e-8, nan_ok=True)  # two rows may lie near each other


def test_constant_target_has_nothing_to_explain() -> None:
    x, theta = torch.randn(7, 2, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)
    y = torch.full((7, 1), 0.1, dtype=torch.float64)  # whose sum rounds
    halves = evaluation(x[:3], y[:3], theta).merge(evaluation(x[3:], y[3:], theta))
    for found in (evaluation(x, y, theta), evaluation_of(triangle_of([(x, y)]), theta), halves):
        assert math.isnan(found.r2)
        assert found.mse == pytest.approx(np.mean((x.numpy() @ [1, 1] + 1 - 0.1) ** 2))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="y has shape"):
        evaluation(torch.ones(3, 1), torch.ones(3), torch.ones(2, 1, dtype=torch.float64))
