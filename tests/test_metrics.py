"""Checks mse and R² against scikit-learn's metrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, r2_score
from torch import Tensor

from linreg_pl.core.metrics import evaluation, evaluation_of
from linreg_pl.core.scaling import theta_of
from linreg_pl.core.triangle import triangle_of
from tests.problems import Problem, problem, problems


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("num_targets", [1, 3])
def test_metrics_equal_scikit_learns(num_targets: int, weighted: bool) -> None:
    x, y, W, b, _ = problem(50, 4, num_targets, 0.0, seed=2)
    y = y * 10.0 ** torch.arange(num_targets) + 100  # targets of different sizes, whose sums are pooled
    prediction = (x @ W + b).numpy()
    theta, weights = theta_of(W, b), [weights_of(x)] if weighted else []
    w = weights[0][:, 0] if weighted else None
    residual = x @ W + b - y
    for result in (evaluation(residual, y, *weights), evaluation_of(triangle_of([(x, y, *weights)]), theta)):
        assert result.mse == pytest.approx(mean_squared_error(y, prediction, sample_weight=w), rel=1e-12)
        r2 = r2_score(y, prediction, sample_weight=w, multioutput="variance_weighted")
        assert result.r2 == pytest.approx(r2, rel=1e-12)


def weights_of(x: Tensor) -> Tensor:
    """Returns random weights (N, 1), half of them 0."""
    return (7 * torch.rand(len(x), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) - 3.5).relu()


@given(problems(), st.booleans())
def test_merged_rows_equal_all_rows(given_problem: Problem, weighted: bool) -> None:
    """Also where a row has no weight."""
    x, y, W, b, _ = given_problem
    theta, rows = theta_of(W, b), (x, y, *([weights_of(x)] if weighted else []))
    residual = x @ W + b - y
    whole = evaluation(residual, y, *rows[2:])
    each = zip(*(tensor.split(1) for tensor in (residual, *rows[1:])), strict=True)
    evaluations = [evaluation(*row) for row in each]
    merged = evaluations[0]
    for other in evaluations[1:]:
        merged = merged.merge(other)
    for result in (merged, evaluation_of(triangle_of([rows]), theta)):
        assert result.total_weight == pytest.approx(float(rows[2].sum()) if weighted else len(x))
        assert result.mse == pytest.approx(whole.mse, rel=1e-10, nan_ok=True)  # where no row has weight
        assert result.r2 == pytest.approx(whole.r2, rel=1e-8, nan_ok=True)  # two targets may almost coincide


def test_constant_target_has_no_r2() -> None:
    x, theta = torch.randn(7, 2, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)
    y = torch.full((7, 1), 0.1, dtype=torch.float64)  # whose sum rounds
    residual = x @ theta[1:] + theta[0] - y
    halves = evaluation(residual[:3], y[:3]).merge(evaluation(residual[3:], y[3:]))
    for result in (evaluation(residual, y), evaluation_of(triangle_of([(x, y)]), theta), halves):
        assert math.isnan(result.r2)
        assert result.mse == pytest.approx(np.mean((x.numpy() @ [1, 1] + 1 - 0.1) ** 2))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="y has shape"):
        evaluation(torch.ones(3, 1), torch.ones(3))
    with pytest.raises(ValueError, match="weights has shape"):
        evaluation(torch.ones(3, 1), torch.ones(3, 1), torch.ones(3))
