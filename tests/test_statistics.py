"""Checks standard errors and R² against rational arithmetic, the hat matrix and SciPy; `test_nist` has NIST's sets."""

import math
import weakref
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.scaling import standardization
from linreg_pl.core.statistics import Statistics, statistics
from linreg_pl.core.triangle import triangle_of
from tests.problems import Problem, problem
from tests.rationals import Paraboloid, add, identity, product, rational, solve, squares, transposed, with_ones


def overdetermined() -> st.SearchStrategy[Problem]:
    """Draws problems with at least two rows more than parameters."""
    return st.builds(
        lambda num_features, more, **others: problem(num_features + 2 + more, num_features, **others),
        num_features=st.integers(1, 3),
        more=st.integers(1, 5),
        num_targets=st.integers(1, 3),
        l2=st.just(0.0),
        seed=st.integers(0, 2**31),
    )


def statistics_of(x: Tensor, y: Tensor, l2: float = 0.0, fit_intercept: bool = True) -> Statistics:
    return statistics(optimum(triangle_of([(x, y)]), penalty_rows(x.shape[1], l2), fit_intercept))


def test_computed_once_and_not_kept() -> None:
    """Computing them takes O(D³), as the solution does, and a run asks for them several times."""
    x = torch.randn(20, 3, dtype=torch.float64)
    solution = optimum(triangle_of([(x, x[:, :1])]), penalty_rows(3, 0.0), True)
    assert statistics(solution) is statistics(solution)
    is_kept = weakref.ref(statistics(solution))
    del solution
    assert is_kept() is None


@given(overdetermined(), st.booleans())
@settings(max_examples=40)
def test_formulas_of_least_squares(given_problem: Problem, fit_intercept: bool) -> None:
    """Standard errors are √(RSS / (N - P)) · √diag((A'A)⁻¹), for each target."""
    x, y = given_problem.x, given_problem.y
    columns = with_ones(rational(x)) if fit_intercept else rational(x)
    degrees = len(columns) - len(columns[0])
    inverse = solve(product(transposed(columns), columns), identity(len(columns[0])))
    fit = statistics_of(x, y, fit_intercept=fit_intercept)
    assert fit.degrees_of_freedom == pytest.approx(degrees, abs=1e-10)
    for target in range(y.shape[1]):
        target_y = rational(y[:, target : target + 1])
        fitted = product(columns, Paraboloid(columns, target_y).minimum())
        rss = squares(add(target_y, fitted, factor=-1))
        mean = sum((value for (value,) in target_y), Fraction()) / len(y) if fit_intercept else Fraction()
        tss = squares([[value - mean] for (value,) in target_y])
        std = math.sqrt(rss / degrees)
        assert fit.residual_std[target].item() == pytest.approx(std, rel=1e-10)
        assert fit.r_squared[target].item() == pytest.approx(float(1 - rss / tss), abs=1e-10)
        errors = [std * math.sqrt(row[i]) for i, row in enumerate(inverse)]
        ours = fit.standard_errors[0 if fit_intercept else 1 :, target]
        assert ours.tolist() == pytest.approx(errors, rel=1e-10)


def test_line_equals_scipys() -> None:
    x, y, *_ = problem(20, 1, 1, 0.0, seed=6)
    peer = stats.linregress(x.flatten().numpy(), y.flatten().numpy())
    fit = statistics_of(x, y)
    assert fit.standard_errors.flatten().tolist() == pytest.approx([peer.intercept_stderr, peer.stderr], rel=1e-12)
    assert fit.r_squared.item() == pytest.approx(peer.rvalue**2, abs=1e-12)
    # The p-value at the end of the interval is 1 less its confidence.
    assert 2 * stats.t.sf(fit.t(0.95), 18) == pytest.approx(0.05, rel=1e-11)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("num_targets", [1, 2])
def test_ridge_equals_the_hat_matrix(num_targets: int, fit_intercept: bool) -> None:
    """The trace of H in prediction = H y counts the parameters; the estimates A⁺ y vary by σ √diag(A⁺ A⁺')."""
    x, y, *_ = problem(30, 4, num_targets, 0.0, seed=7)
    x = x + 2
    A = np.hstack([np.ones((30, 1)), x.numpy()])[:, 0 if fit_intercept else 1 :]
    penalized = np.eye(A.shape[1])
    penalized[0, 0] = 0 if fit_intercept else 1
    estimates = np.linalg.solve(A.T @ A + 30 * num_targets * 0.3 * penalized, A.T)
    hat = A @ estimates
    residuals = y.numpy() - hat @ y.numpy()
    degrees = 30 - np.trace(hat)
    std = np.sqrt((residuals**2).sum(axis=0) / degrees)
    errors = np.sqrt((estimates**2).sum(axis=1))[:, None] * std
    fit = statistics_of(x, y, l2=0.3, fit_intercept=fit_intercept)
    assert fit.degrees_of_freedom == pytest.approx(degrees, rel=1e-11)
    np.testing.assert_allclose(fit.residual_std.numpy(), std, rtol=1e-11)
    np.testing.assert_allclose(fit.standard_errors.numpy()[0 if fit_intercept else 1 :], errors, rtol=1e-11)


def test_standardizing_changes_nothing() -> None:
    x, y, *_ = problem(20, 3, 2, 0.0, seed=8)
    data = triangle_of([(1000 * x + 5, y)])
    scaled = statistics(optimum(data, penalty_rows(3, 0.0, scaling=standardization(data))))
    torch.testing.assert_close(
        scaled.standard_errors, statistics_of(1000 * x + 5, y).standard_errors, rtol=1e-11, atol=0
    )


@pytest.mark.parametrize("num_rows", [3, 4])
def test_too_few_rows_give_nan(num_rows: int) -> None:
    x, y, *_ = problem(num_rows, 3, 2, 0.0, seed=9)
    fit = statistics_of(x, y)
    assert fit.residual_std.isnan().all()
    assert fit.standard_errors.isnan().all()
    assert fit.t() == math.inf


def test_dependent_column_costs_no_freedom() -> None:
    x, y, *_ = problem(20, 3, 1, 0.0, seed=10)
    x[:, 2] = x[:, 0]
    assert statistics_of(x, y).degrees_of_freedom == pytest.approx(20 - 3, abs=1e-10)


def test_dependent_columns_have_nan_errors() -> None:
    """The weights of (a, 2a) are not identifiable; the other column's error is as without the duplicate."""
    x, y, *_ = problem(30, 2, 1, 0.0, seed=31)
    once = statistics(optimum(triangle_of([(x, y)]), penalty_rows(2, 0.0))).standard_errors
    doubled = torch.cat([x, 2 * x[:, :1]], dim=1)
    twice = statistics(optimum(triangle_of([(doubled, y)]), penalty_rows(3, 0.0))).standard_errors
    assert twice[[1, 3]].isnan().all()
    torch.testing.assert_close(twice[[0, 2]], once[[0, 2]])
    constant = torch.cat([x, torch.full_like(x[:, :1], 3.0)], dim=1)
    with_constant = statistics(optimum(triangle_of([(constant, y)]), penalty_rows(3, 0.0))).standard_errors
    assert with_constant[3].isnan().all(), "b explains it"
    torch.testing.assert_close(with_constant[:3], once)


def test_constant_target_has_no_r_squared() -> None:
    x, *_ = problem(30, 2, 1, 0.0, seed=32)
    y = torch.full((30, 1), 0.1, dtype=torch.float64)
    assert statistics(optimum(triangle_of([(x, y)]), penalty_rows(2, 0.0))).r_squared.isnan().all()
