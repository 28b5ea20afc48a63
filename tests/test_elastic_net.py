"""The minimum with l1: scikit-learn's, the optimality conditions on the rows, and J around it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import ElasticNet, Lasso, enet_path
from torch import Tensor

from linreg_pl.core import objective
from linreg_pl.core.elastic_net import L1Problem
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import Scaling, standardization, users_units
from linreg_pl.core.statistics import statistics, unexplained_gaps
from linreg_pl.core.triangle import Triangle, center_of, triangle_of
from tests.problems import problem
from tests.rationals import product, rational, solve, transposed


def rows_of(num_rows: int, num_features: int, num_targets: int = 1, mixing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Draws x and y, whose signal is in a third of the columns; `mixing` near 1 makes these almost collinear."""
    x, noise, W, *_ = problem(num_rows, num_features, num_targets, 0.0, seed=0)
    x = (1 - mixing) * x + mixing * x[:, :1] * torch.linspace(0.5, 2, num_features)
    W[num_features // 3 + 1 :] = 0
    return x, x @ W + noise + 3


def solved(
    rows: Sequence[Tensor], l1: float, l2: float = 0.0, scaling: Scaling | None = None, **options: bool
) -> Optimum:
    """Solves from the rows' triangle."""
    data = triangle_of([tuple(rows)], center_of(*rows))
    scaling = scaling or users_units(data.num_features)
    penalty = penalty_rows(data.num_features, l2, False, scaling.centered)
    return optimum(data, penalty, options.get("fit_intercept", True), scaling.scales, l1)


def cost(rows: tuple[Tensor, Tensor], W: Tensor, b: Tensor, l1: float, l2: float) -> float:
    """Computes J from the rows."""
    return float(objective.objective(*rows, W, b, l2, l1=l1))


@pytest.mark.parametrize(
    ("shape", "mixing", "share", "ratio"),
    [
        ((60, 8, 1), 0.0, 0.1, 1.0),
        ((60, 8, 1), 0.99, 0.01, 1.0),
        ((60, 8, 3), 0.9, 0.05, 0.5),
        ((20, 40, 1), 0.5, 0.1, 1.0),
        ((20, 40, 1), 0.5, 0.01, 0.9),
    ],
)
def test_minimum_is_scikit_learns(shape: tuple[int, int, int], mixing: float, share: float, ratio: float) -> None:
    rows, K = rows_of(*shape, mixing), shape[2]
    x, y = (part.numpy() for part in rows)
    largest = 2 * np.abs((x - x.mean(0)).T @ (y - y.mean(0))).max() / y.size
    l1 = share * largest
    alpha = l1 * K / 2 / ratio
    solution = solved(rows, l1, alpha * (1 - ratio) / K)
    for k in range(K):
        theirs = ElasticNet(alpha=alpha, l1_ratio=ratio, tol=1e-13, max_iter=1_000_000).fit(x, y[:, k])
        np.testing.assert_allclose(solution.W[:, k], theirs.coef_, rtol=0, atol=1e-8)
        np.testing.assert_allclose(solution.b[k], theirs.intercept_, rtol=0, atol=1e-8)
        assert ((solution.W[:, k] == 0) == torch.from_numpy(theirs.coef_ == 0)).all()


def polished(x: np.ndarray, y: np.ndarray, W: np.ndarray, l1: float, l2: float) -> np.ndarray:
    """Solves for the coefficients that are not 0, with their signs: scikit-learn stops at a gap whose root is 3e-7."""
    chosen = W != 0
    gram = x[:, chosen].T @ x[:, chosen] / len(x) + l2 * np.eye(chosen.sum())
    W = W.copy()
    W[chosen] = np.linalg.solve(gram, x[:, chosen].T @ y / len(x) - l1 / 2 * np.sign(W[chosen]))
    return W


@pytest.mark.parametrize("ratio", [1.0, 0.3])
def test_path_is_scikit_learns(ratio: float) -> None:
    x, y = rows_of(200, 12, mixing=0.9)
    data = triangle_of([(x, y)], center_of(x, y))
    centered = data.R[1:] / data.num_rows**0.5
    lasso = L1Problem(centered[:, 1:13], centered[:, 13:])
    deviations = (x - x.mean(0)).numpy(), (y[:, 0] - y.mean()).numpy()
    alphas, theirs, _ = enet_path(*deviations, l1_ratio=ratio, alphas=30, tol=1e-13, max_iter=1_000_000)
    assert lasso.largest_l1 == pytest.approx(2 * alphas[0] * ratio)
    penalties = [(2 * alpha * ratio, alpha * (1 - ratio)) for alpha in alphas]
    for (l1, l2), W, expected in zip(penalties, lasso.path(penalties), theirs.T, strict=True):
        np.testing.assert_allclose(W[:, 0], polished(*deviations, expected, l1, l2), rtol=0, atol=1e-8)
        assert lasso.duality_gap(W, l1, l2) <= 1e-10 * float(deviations[1].var())


def test_weights_repeat_rows() -> None:
    x, y = rows_of(40, 5, 2)
    counts = torch.arange(40) % 4
    weighted = solved([x, y, counts.double().unsqueeze(1)], 0.3, 0.01)
    repeated = solved([x.repeat_interleave(counts, 0), y.repeat_interleave(counts, 0)], 0.3, 0.01)
    torch.testing.assert_close(weighted.W, repeated.W, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(weighted.b, repeated.b, atol=1e-12, rtol=1e-12)


def test_standardized_columns_are_penalised() -> None:
    x, y = rows_of(50, 4)
    x = x * torch.tensor([1.0, 100.0, 0.01, 1e4]) + torch.tensor([0.0, 1e4, 0.0, 1e6])
    scaling = standardization(triangle_of([(x, y)], center_of(x, y)))
    z, _ = scaling.standardized(x, y)
    theirs = Lasso(alpha=0.15, tol=1e-13, max_iter=1_000_000).fit(z, y[:, 0])
    W = solved([x, y], 0.3, 0.0, scaling).W * scaling.scales.unsqueeze(1)
    np.testing.assert_allclose(W[:, 0], theirs.coef_, rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    num_rows=st.integers(2, 12),
    num_features=st.integers(1, 8),
    num_targets=st.integers(1, 2),
    l1=st.sampled_from([1e-6, 0.01, 0.3, 2.0]),
    l2=st.sampled_from([0.0, 0.1]),
    fit_intercept=st.booleans(),
    is_repeated=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_optimality_on_the_rows(
    num_rows: int,
    num_features: int,
    num_targets: int,
    l1: float,
    l2: float,
    fit_intercept: bool,
    is_repeated: bool,
    seed: int,
) -> None:
    """The subgradient contains 0; also for columns that are repeated, and more columns than rows."""
    x, y, *_ = problem(num_rows, num_features, num_targets, 0.0, seed)
    x = torch.cat([x, x, x[:, :1] + x[:, -1:]], dim=1) if is_repeated else x
    solution = solved([x, y], l1, l2, fit_intercept=fit_intercept)
    W, b = solution.W, solution.b
    step = objective.value_and_gradient(x, y, W, b, l2, l1=l1)
    rest = objective.subgradient(step.grad_W, W, l1)
    scale = float(y.square().mean()) ** 0.5 * float(x.square().mean()) ** 0.5
    assert float(rest.abs().max()) <= 1e-11 * scale
    assert not fit_intercept or float(step.grad_b.abs().max()) <= 1e-12 * scale
    assert solution.objective == pytest.approx(cost((x, y), W, b, l1, l2), rel=1e-12)


def test_all_zero_above_the_largest() -> None:
    x, y = rows_of(30, 6, 2)
    deviations = (x - x.mean(0)), (y - y.mean(0))
    largest = float(2 * (deviations[0].T @ deviations[1]).abs().max() / y.numel())
    solution = solved([x, y], largest * (1 + 1e-12))
    assert not solution.W.any()
    torch.testing.assert_close(solution.b, y.mean(dim=0))
    assert int((solved([x, y], largest * 0.999).W != 0).sum()) == 1


@pytest.mark.parametrize("l2", [0.0, 0.05])
def test_gap_and_subgradient_around_the_minimum(l2: float) -> None:
    rows = rows_of(50, 6, 2, mixing=0.5)
    solution, l1 = solved(rows, 0.4, l2), 0.4
    assert 0 < int((solution.W == 0).sum()) < solution.W.numel()
    generator = torch.Generator().manual_seed(1)
    center = solution.data.center.unsqueeze(1)
    for size in (1e-3, 0.1, 3.0):
        for share in (0.0, 0.5):
            W = solution.W + size * torch.randn(6, 2, dtype=torch.float64, generator=generator)
            W[torch.rand(6, 2, generator=generator) < share] = 0
            b = solution.b + size * torch.randn(2, dtype=torch.float64, generator=generator)
            gap = cost(rows, W, b, l1, l2) - solution.objective
            error = torch.cat([(b - solution.b + (center[:6] * (W - solution.W)).sum(0)).unsqueeze(0), W - solution.W])
            assert solution.gap_of(error) == pytest.approx(gap, rel=1e-9, abs=1e-13)
            step = objective.value_and_gradient(*rows, W, b, l2, l1=l1)
            assert solution.l1_term is not None
            ours = solution.l1_term.subgradient(solution.gradient_of(error)[1:], W - solution.W)
            theirs = objective.subgradient(step.grad_W - center[:6] * step.grad_b, W, l1)
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    assert solution.gap_of(torch.zeros(7, 2, dtype=torch.float64)) == 0
    nothing = torch.zeros(6, 2, dtype=torch.float64)
    assert solution.l1_term is not None
    assert not solution.l1_term.subgradient(nothing, nothing).any()


def test_refined_has_all_digits() -> None:
    """The coefficients that are not 0 are those of rational arithmetic, for columns of condition number 1e8."""
    x, y, *_ = problem(30, 3, 1, 0.0, seed=5)
    x[:, 1] = x[:, 0] + 1e-4 * x[:, 1]
    y = y + x[:, :1] + 1e5 * (x[:, 1:2] - x[:, :1])
    l1 = 1e-3
    rough = solved([x, y], l1)
    fine = refined(rough, [(x, y)])
    signs = fine.W.sign()
    assert signs.abs().sum() == 3
    columns = rational(torch.cat([torch.ones(30, 1, dtype=torch.float64), x], dim=1))
    gram = product(transposed(columns), columns)
    right = product(transposed(columns), rational(y))
    balance = rational(torch.cat([torch.zeros(1, 1), signs]).double() * (l1 / 2))
    exact = solve(gram, [[r[0] - 30 * s[0]] for r, s in zip(right, balance, strict=True)])
    for row in range(3):
        assert float(fine.W[row, 0]) == pytest.approx(float(exact[1 + row][0]), rel=1e-14)
    assert abs(float(rough.W[0, 0]) / float(exact[1][0]) - 1) < 1e-7


def test_small_weight_that_should_be_zero_is_far() -> None:
    """The loss grows linearly from a W of 0, so that a square would miss how far it is."""
    rows = rows_of(4000, 6)
    solution = solved(rows, 0.5)
    assert solution.l1_term is not None
    zero = int((solution.W[:, 0] == 0).nonzero()[0])
    error = torch.zeros(7, 1, dtype=torch.float64)
    error[1 + zero] = 0.01
    without = replace(solution, l1_term=None)
    assert unexplained_gaps(solution, error).all()
    assert not unexplained_gaps(without, error).any()


def test_statistics_count_nonzero_coefficients() -> None:
    rows = rows_of(40, 6)
    solution = solved(rows, 0.5)
    fit, num_nonzero = statistics(solution), int((solution.W != 0).sum())
    assert 0 < num_nonzero < 6
    assert fit.degrees_of_freedom == pytest.approx(40 - 1 - num_nonzero)
    assert fit.standard_errors.isnan().all()
    residuals = rows[1] - rows[0] @ solution.W - solution.b
    assert float(fit.residual_squares) == pytest.approx(float(residuals.square().sum()))


def test_merged_triangles_have_the_same_minimum() -> None:
    x, y = rows_of(60, 5)
    parts: list[Triangle] = [triangle_of([(x[half], y[half])], center_of(x, y)) for half in (slice(30), slice(30, 60))]
    penalty = penalty_rows(5, 0.0)
    merged = optimum(parts[0].merge(parts[1]), penalty, l1=0.2)
    torch.testing.assert_close(merged.W, solved([x, y], 0.2).W, rtol=1e-11, atol=1e-12)
