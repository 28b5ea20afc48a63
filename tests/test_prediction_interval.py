"""Checks prediction intervals against the textbook's formula in NumPy and SciPy's Student distribution."""

import numpy as np
import pytest
import scipy.stats
import torch

from linreg_pl.core.prediction_interval import PredictionInterval
from linreg_pl.core.triangle import triangle_of
from tests.problems import problem


def textbook(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, probability: float, w: np.ndarray | None = None
) -> np.ndarray:
    """Computes half of the interval's width, (n, K), by weighted least squares; the new rows have weight 1.

    With an intercept, x and `new` include a column of ones.
    """
    w = np.ones(len(x)) if w is None else w
    gram = np.linalg.pinv((x.T * w) @ x)
    rank = np.linalg.matrix_rank(x)
    residuals = y - x @ (gram @ ((x.T * w) @ y))
    s = np.sqrt((w[:, np.newaxis] * residuals**2).sum(axis=0) / (len(x) - rank))
    leverage = np.array([row @ gram @ row for row in new])
    t = scipy.stats.t.ppf((1 + probability) / 2, len(x) - rank)
    reach: np.ndarray = t * np.sqrt(1 + leverage)[:, np.newaxis] * s
    return reach


def with_ones(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x])


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("probability", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_reach_equals_the_textbooks(fit_intercept: bool, probability: float, num_targets: int, weighted: bool) -> None:
    x, y, *_ = problem(20, 3, num_targets, 0.0, seed=4)
    new = 3 * problem(6, 3, 1, 0.0, seed=5).x
    w = 9 * torch.rand(20, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(6)) if weighted else None
    rows = (x, y) if w is None else (x, y, w)
    interval = PredictionInterval(triangle_of([rows]), fit_intercept, probability)
    columns = with_ones if fit_intercept else np.asarray
    weights = None if w is None else w[:, 0].numpy()
    expected = textbook(columns(x.numpy()), y.numpy(), columns(new.numpy()), probability, weights)
    np.testing.assert_allclose(interval.reach(new).numpy(), expected, rtol=1e-10)


def test_categories_with_an_intercept() -> None:
    """Of linearly dependent columns, rows with the same dependence have an interval, others have NaN."""
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 3, 30)
    x = np.column_stack([np.eye(3)[codes], generator.standard_normal(30)])
    y = generator.standard_normal((30, 1))
    new = np.array([[1, 0, 0, 0.5], [0, 0, 1, -7.0], [0, 0, 0, 1.0]])
    interval = PredictionInterval(triangle_of([(torch.from_numpy(x), torch.from_numpy(y))]), True, 0.9)
    reach = interval.reach(torch.from_numpy(new)).numpy()
    np.testing.assert_allclose(reach[:2], textbook(with_ones(x), y, with_ones(new[:2]), 0.9), rtol=1e-10)
    assert np.isnan(reach[2])


def test_interval_has_its_coverage() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 12, 2, generator=generator, dtype=torch.float64)
    y = x.sum(dim=2, keepdim=True) + torch.randn(500, 12, 1, generator=generator, dtype=torch.float64)
    inside = 0
    for rows_x, rows_y in zip(x, y, strict=True):  # the last row is new, the other eleven are fitted
        interval = PredictionInterval(triangle_of([(rows_x[:-1], rows_y[:-1])]), True, 0.8)
        ones = torch.ones(11, 1, dtype=torch.float64)
        theta = torch.linalg.lstsq(torch.cat([ones, rows_x[:-1]], 1), rows_y[:-1]).solution
        error = rows_x[-1:] @ theta[1:] + theta[0] - rows_y[-1:]
        inside += bool(error.abs() <= interval.reach(rows_x[-1:]))
    assert inside / 500 == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / 500) ** 0.5)


def test_too_few_rows_are_refused() -> None:
    x, y, *_ = problem(4, 3, 1, 0.0, seed=0)
    with pytest.raises(ValueError, match="4 rows are too few: fit more rows than coefficients"):
        PredictionInterval(triangle_of([(x, y)]), True, 0.95)
