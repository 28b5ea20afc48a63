"""Checks the largest stable learning rate: real descent contracts just below it, and diverges just above."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linreg_pl import SyntheticDataModule
from linreg_pl.core.objective import objective, penalty
from linreg_pl.core.optimum import penalty_rows
from linreg_pl.core.scaling import Scaling, users_units
from linreg_pl.core.stability import (
    batch_hessian,
    curvature_noise,
    largest_in_mean_square,
    largest_stable_learning_rate,
    product,
    spectral_radius,
)
from linreg_pl.core.triangle import triangle_of
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.posed import posed_problem
from tests.descent import Descent, descents
from tests.problems import problem
from tests.rationals import Matrix, add, identity
from tests.rationals import product as rational_product


@given(descents(momenta=(0.0, 0.3, 0.9)), st.floats(0.05, 0.99))
@settings(max_examples=40)
def test_real_descent_turns_at_the_bound(descent: Descent, share: float) -> None:
    bound = largest_stable_learning_rate(descent.hessians, descent.momentum)
    assert descent.radius(0.99 * bound) < 1
    assert descent.radius(1.01 * bound) > 1
    assert descent.radius(share * bound) < 1, "no smaller rate may be unstable"


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_long_runs_converge_below_the_bound(momentum: float) -> None:
    x, y, *_ = problem(12, 3, 2, 0.0, seed=12)
    descent = Descent(list(zip(x.split(4), y.split(4), strict=True)), l2=0.1, momentum=momentum)
    bound = largest_stable_learning_rate(descent.hessians, momentum)
    zeros, ones = torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, 2, dtype=torch.float64)
    for factor, converges in ((0.95, True), (1.05, False)):
        ends = [descent.epochs(start, zeros, factor * bound, 200)[0] for start in (zeros, ones)]
        distance = float((ends[1] - ends[0]).norm())
        assert distance < 0.1 if converges else distance > 100


def test_momentum_resonates_with_batches() -> None:
    """Curvatures 0.02, 2, 2 and momentum 0.9: unstable from 0.48, stable again from 1.0 up to 1.43."""
    batches = [(torch.tensor([[x]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)) for x in (0.1, 1, 1)]
    descent = Descent(batches, fit_intercept=False, momentum=0.9)
    bound = largest_stable_learning_rate(descent.hessians, 0.9)
    rates = [0.01 * step for step in range(1, 190)]
    first_unstable = next(rate for rate in rates if descent.radius(rate) > 1)
    assert first_unstable - 0.01 <= bound <= first_unstable
    assert descent.radius(1.4) < 1, "a search from above would stop here"


def jury(cycle: Matrix) -> bool:
    """Tests whether both eigenvalues of a 2 × 2 matrix are inside the unit circle (Jury's criterion)."""
    trace, determinant = cycle[0][0] + cycle[1][1], cycle[0][0] * cycle[1][1] - cycle[0][1] * cycle[1][0]
    return abs(determinant) < 1 and abs(trace) < 1 + determinant


def rational_bound(hessians: list[Matrix]) -> float:
    """Returns the lowest rate at which one cycle does not contract, to a thousandth; above it may contract again."""
    rate = Fraction(1, 10**8)
    while True:
        cycle = identity(2)
        for hessian in hessians:
            cycle = rational_product(add(identity(2), hessian, -rate), cycle)
        if not jury(cycle):
            return float(rate)
        rate = Fraction(float(rate) * 1.001)


def test_tutorials_rates() -> None:
    """The rates derived from sums of integers agree with the rounded figures of the tutorial."""

    def hessian(numbers: range) -> Matrix:
        sums = [Fraction(sum(n**power for n in numbers), len(numbers)) for power in range(3)]
        return [[2 * sums[0], 2 * sums[1]], [2 * sums[1], 2 * sums[2]]]

    halves = [hessian(range(5000)), hessian(range(5000, 10_000))]
    derived = {
        "full_batch": rational_bound([hessian(range(10_000))]),
        "worst_batch": rational_bound(halves[1:]),
        "cycle": rational_bound(halves),
    }
    assert derived == pytest.approx({"full_batch": 3.0004e-8, "worst_batch": 1.7145e-8, "cycle": 2.2165e-8}, rel=2e-3)
    tutorial = posed_problem(SyntheticDataModule(), HyperParameters(precondition=False), users_units(1))
    assert tutorial.stable_learning_rates() == pytest.approx(derived, rel=1e-3)


@pytest.mark.parametrize("fold_bias", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_hessian_equals_autograds(fit_intercept: bool, fold_bias: bool) -> None:
    """For one of three targets, with its coefficients in standardized units."""
    x, y, W, *_ = problem(7, 2, 3, 0.0, seed=13)
    scaling = Scaling(W[:, 0] if fit_intercept else torch.zeros(2, dtype=torch.float64), 1 + W[:, 1].abs())

    def J(theta: torch.Tensor) -> torch.Tensor:
        W = torch.cat([theta[-2:].unsqueeze(1), torch.zeros(2, 2, dtype=torch.float64)], dim=1)
        b = torch.cat([theta[:-2] if fit_intercept else torch.zeros(1, dtype=torch.float64), torch.zeros(2)])
        loss = objective((x - scaling.means) / scaling.scales, y, W, b, 0.3)
        return loss + (penalty(b, 0.3) if fold_bias else 0)

    expected = torch.autograd.functional.hessian(J, torch.zeros(2 + fit_intercept, dtype=torch.float64))
    coordinates = scaling.matrix[:, 0 if fit_intercept else 1 :]
    hessian = batch_hessian(x, penalty_rows(2, 0.3, fold_bias, scaling).high, 3, coordinates)
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_spectral_radius_of_a_real_epoch(momentum: float) -> None:
    x, y, *_ = problem(10, 2, 1, 0.0, seed=14)
    descent = Descent(list(zip(x.split(2), y.split(2), strict=True)), momentum=momentum)
    for rate in (0.01, 0.3, 2.0):
        assert spectral_radius(descent.hessians, rate, momentum) == pytest.approx(descent.radius(rate), rel=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_product_keeps_the_order(count: int) -> None:
    steps = problem(count, 9, 1, 0.0, seed=15).x.view(count, 3, 3)
    expected = torch.eye(3, dtype=torch.float64)
    for step in steps:
        expected = step @ expected
    torch.testing.assert_close(product(steps), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_batches", [1, 3])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_flat_directions_set_no_bound(num_batches: int, momentum: float) -> None:
    """A column and its double have the bound of one column √5 times as long."""
    x, y, *_ = problem(12, 1, 1, 0.0, seed=16)
    both, one = (
        Descent(list(zip(z.split(12 // num_batches), y.split(12 // num_batches), strict=True)), fit_intercept=False)
        for z in (torch.cat([x, 2 * x], dim=1), math.sqrt(5) * x)
    )
    bounds = [largest_stable_learning_rate(descent.hessians, momentum) for descent in (both, one)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)


def test_cycle_beyond_float64() -> None:
    hessians = problem(3000, 1, 1, 0.0, seed=17).x.square().view(-1, 1, 1)
    bound = largest_stable_learning_rate(hessians)
    assert spectral_radius(hessians, 10 * bound) == math.inf
    # With one coefficient the cycle's factor is a product of numbers; its logarithm has the sign of the growth.
    growth = [float((1 - share * bound * hessians).abs().log().sum()) for share in (0.99, 1.01)]
    assert growth[0] < 0 < growth[1]


def test_zero_hessians_set_no_bound() -> None:
    assert largest_stable_learning_rate(torch.zeros(3, 2, 2, dtype=torch.float64)) == math.inf


def growth_of_mean_square(rate: float, mean: float, variance: float, momentum: float) -> float:
    """Returns the growth of (E x², E x x₋, E x₋²) in a step with random curvature."""
    a = 1 + momentum - rate * mean
    moments = [[a * a + rate**2 * variance, -2 * a * momentum, momentum**2], [a, -momentum, 0], [1, 0, 0]]
    return float(torch.linalg.eigvals(torch.tensor(moments, dtype=torch.float64)).abs().max())


@given(st.floats(0.01, 100), st.floats(0, 1000), st.floats(0, 0.99))
def test_second_moments_turn_at_the_bound(mean: float, variance: float, momentum: float) -> None:
    bound = largest_in_mean_square(mean, variance / mean, momentum)
    assert growth_of_mean_square(0.99 * bound, mean, variance, momentum) < 1
    assert growth_of_mean_square(1.01 * bound, mean, variance, momentum) > 1


Rows = list[tuple[torch.Tensor, ...]]


def noise(rows: Rows, batch_size: int, scaling: Scaling | None = None, fit_intercept: bool = True) -> float:
    scaling = scaling or users_units(rows[0][0].shape[1])
    coordinates, data = scaling.matrix[:, 0 if fit_intercept else 1 :], triangle_of(rows)
    return curvature_noise(rows, data, batch_size, coordinates, data.total_weight / data.num_rows)[0]


@pytest.mark.parametrize("weighted", [False, True])
def test_curvature_noise_of_random_batches(weighted: bool) -> None:
    """With one feature the bound is exact: 20 000 batches of 5 rows, drawn with replacement."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 1, generator=generator) ** 3
    weights = 3 * torch.rand(400, 1, generator=generator)
    w = weights / weights.mean() if weighted else torch.ones(400, 1)
    chosen = torch.randint(400, (20_000, 5), generator=generator)
    curvatures = 2 * (w * x.square())[chosen].squeeze(2).mean(dim=1)
    sampled = float(curvatures.square().mean() / curvatures.mean()) - float(curvatures.mean()) * 4 / 5
    rows = [(x[part], x[part], *([weights[part]] if weighted else [])) for part in (slice(0, 90), slice(90, 400))]
    assert noise(rows, 5, fit_intercept=False) == pytest.approx(sampled, rel=0.1)  # of 20 000 draws with heavy tails


@pytest.mark.parametrize("num_targets", [1, 3])
def test_curvature_noise_of_a_normal_sample(num_targets: int) -> None:
    """E[|z|² z zᵀ] is P + 2 for P standard normal features, and one more with the intercept's 1."""
    z = torch.randn(200_000, 6, generator=torch.Generator().manual_seed(1))
    means, scales = torch.arange(6.0, dtype=torch.float64), torch.arange(1.0, 7.0, dtype=torch.float64)
    rows: Rows = [(means.float() + scales.float() * z, z[:, :num_targets])]
    assert noise(rows, 100, Scaling(means, scales)) == pytest.approx(2 * 9 / 100 / num_targets, rel=0.05)


def test_curvature_noise_of_a_rare_difference() -> None:
    """Two columns differ in two rows only: the noise along their difference exceeds that of each column alone."""
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(2)).double()
    other = x.clone()
    other[:2] += 30
    z = torch.cat([x, other], dim=1)
    difference = torch.tensor([1.0, -1.0], dtype=torch.float64)
    along = (z @ difference).square()
    lowest = 2 * float((z.square().sum(dim=1) * along).sum() / along.sum()) / 50
    rows: Rows = [(z, x)]
    alone = [noise([(z[:, :1], x)], 50, fit_intercept=False), noise([(z[:, 1:], x)], 50, fit_intercept=False)]
    assert noise(rows, 50, fit_intercept=False) >= lowest * (1 - 1e-9) > 1.2 * max(alone)


def test_curvature_noise_has_no_units() -> None:
    """The units of a standardized x, and of the weights, do not matter, even where float32 squares overflow."""
    generator = torch.Generator().manual_seed(3)
    x, weights = torch.randn(500, 2, generator=generator), torch.rand(500, 1, generator=generator)
    zero = torch.zeros(2, dtype=torch.float64)
    plain = noise([(x, x[:, :1], weights)], 10, Scaling(zero, zero + 1))
    for size in (1e-12, 3e10):
        assert noise([(size * x, x[:, :1], weights)], 10, Scaling(zero, zero + size)) == pytest.approx(plain, rel=1e-5)
        assert noise([(x, x[:, :1], size * weights)], 10, Scaling(zero, zero + 1)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("l2", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_curvature_noise_of_dependent_columns(l2: float, offset: float) -> None:
    """Preconditioning enlarges a direction without data, in which both triangles hold rounding; no order matters."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(300, 5, generator=generator, dtype=torch.float64) * torch.logspace(0, 2, 5).double() + offset
    x[:, 3] = x[:, 1] + x[:, 2]
    rows = torch.cat([torch.ones(300, 1).double(), x], dim=1)
    sizes, directions = torch.linalg.eigh(rows.T @ rows / 300 + l2 * torch.eye(6).double())
    coordinates = directions / sizes.sqrt()

    q = (rows @ coordinates).numpy()
    left, lengths, _ = np.linalg.svd(q, full_matrices=False)
    left = left[:, lengths > 1e-9 * lengths[0]]
    expected = 2 * np.linalg.eigvalsh(left.T @ (left * (q**2).sum(axis=1, keepdims=True)))[-1] / 20

    for _ in range(8):
        columns, order = torch.randperm(5, generator=generator), torch.randperm(300, generator=generator)
        chunk = (x[order][:, columns], x[order, :1])
        rotated = torch.cat([coordinates[:1], coordinates[1:][columns]])
        measured, _ = curvature_noise([chunk], triangle_of([chunk]), 20, rotated)
        assert measured == pytest.approx(expected, rel=1e-6)
