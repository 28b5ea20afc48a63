"""Checks forecasts of descent against real descent."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from linreg_pl import SyntheticDataModule
from linreg_pl.core.forecast import Forecast, forecast, forecast_of_cycle, forecast_of_gap
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.scaling import users_units
from linreg_pl.core.stability import cycle, largest_stable_learning_rate
from linreg_pl.core.triangle import triangle_of
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.posed import posed_problem
from tests.descent import Descent, descents
from tests.problems import problem


def forecast_of(descent: Descent, learning_rate: float) -> Forecast:
    """Forecasts as the program does: of the cycle, or of all rows if they are one batch."""
    if len(descent.batches) > 1:
        return forecast_of_cycle(descent.hessians, learning_rate, descent.momentum)
    penalty = penalty_rows(descent.x.shape[1], descent.l2, descent.fold_bias)
    solution = optimum(triangle_of(descent.batches), penalty, descent.fit_intercept)
    factor = solution.factor_of(users_units(descent.x.shape[1]))
    return forecast(factor, learning_rate, momentum=descent.momentum)


def errors_of(descent: Descent, start: Tensor, learning_rate: float, most: int) -> list[Tensor]:
    """Returns the errors after 0 to `most` real epochs: the differences of two runs, from `start` and from 0."""
    zeros = torch.zeros_like(start)
    runs = [[(theta, zeros)] for theta in (start, zeros)]
    for run in runs:
        for _ in range(most):
            run.append(descent.epochs(*run[-1], learning_rate))
    return [one - other for (one, _), (other, _) in zip(*runs, strict=True)]


def start_of(descent: Descent, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(descent.hessians.shape[1], descent.y.shape[1], dtype=torch.float64, generator=generator)


@given(descents(momenta=(0.0, 0.5, 0.9)), st.floats(0.1, 0.9), st.integers(0, 2**31))
@settings(max_examples=40)
def test_halving_epochs_of_real_descent(descent: Descent, share: float, seed: int) -> None:
    """The factors of an epoch are the eigenvalues of the matrix that it applies to the error."""
    rate = share * largest_stable_learning_rate(descent.hessians, descent.momentum)
    predicted = forecast_of(descent, rate)
    factors = torch.linalg.eigvals(descent.cycle(rate)).abs().sort().values
    visible = factors > 1e-3  # eigenvalues are accurate relative to the largest; a double one has half the digits
    torch.testing.assert_close(torch.exp(-predicted.rates)[visible], factors[visible], rtol=2e-3, atol=0)
    torch.testing.assert_close(0.5 ** (1 / predicted.halving_epochs[visible]), factors[visible], rtol=2e-3, atol=0)


@given(descents(momenta=(0.0, 0.5, 0.9)), st.floats(0.1, 1.5), st.integers(0, 2**31))
@settings(max_examples=40)
def test_gap_of_real_epochs(descent: Descent, share: float, seed: int) -> None:
    """Below the largest stable learning rate, and above it, where the gap grows."""
    rate, start = share * largest_stable_learning_rate(descent.hessians, descent.momentum), start_of(descent, seed)
    hessian = descent.hessians.mean(dim=0)
    factor = torch.linalg.cholesky(hessian / 2, upper=True)
    gaps = forecast_of_gap(factor, cycle(descent.hessians, rate, descent.momentum), start, every_n_epochs=3, count=2)
    for gap, error in zip(gaps.tolist(), errors_of(descent, start, rate, 6)[::3], strict=True):
        # Each of the two real runs rounds to 1e-16 of the larger of its start and its end.
        assert gap == pytest.approx(float((error * (hessian @ error)).sum()) / 2, rel=1e-8, abs=1e-20)


@given(descents(momenta=(0.0, 0.5, 0.9)), st.floats(0.1, 0.9))
@settings(max_examples=40)
def test_shares_sum_to_the_error(descent: Descent, share: float) -> None:
    rate = share * largest_stable_learning_rate(descent.hessians, descent.momentum)
    predicted = forecast_of(descent, rate)
    whole = predicted.directions.to(torch.complex128) @ predicted.shares.to(torch.complex128)
    # The shares in two nearly equal directions cancel: the rounding is relative to their sizes.
    rounding = 1e-14 * float(predicted.directions.abs().max() * predicted.shares.abs().max())
    torch.testing.assert_close(whole, torch.eye(len(whole), dtype=torch.complex128), rtol=0, atol=1e-12 + rounding)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_epoch_of_random_batches_has_several_steps(momentum: float) -> None:
    factor = torch.diag(torch.tensor([1.0, 0.3], dtype=torch.float64))
    start = torch.ones(2, 1, dtype=torch.float64)
    one, four = (forecast(factor, 0.1, steps_per_epoch, momentum) for steps_per_epoch in (1, 4))
    torch.testing.assert_close(four.halving_epochs, one.halving_epochs / 4)
    torch.testing.assert_close(four.epochs_until(start), one.epochs_until(start) / 4)


@given(descents(momenta=(0.0, 0.5, 0.9), most_features=2), st.floats(0.2, 0.9), st.integers(0, 2**31))
@settings(max_examples=40)
def test_epochs_until_suffice(descent: Descent, share: float, seed: int) -> None:
    rate = share * largest_stable_learning_rate(descent.hessians, descent.momentum)
    start = start_of(descent, seed)
    epochs = forecast_of(descent, rate).epochs_until(start)
    counts = {math.ceil(value) for value in epochs.flatten().tolist() if value < 300}
    errors = errors_of(descent, start, rate, max(counts, default=0))
    for count in counts:
        converged = epochs <= count
        assert (errors[count].abs() <= 0.01 * start.abs() * (1 + 1e-6) + 1e-13)[converged].all()  # of numbers of size 1


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("num_batches", [1, 3])
def test_epochs_until_are_necessary(num_batches: int, share: float) -> None:
    x, y, *_ = problem(12, 1, 1, 0.0, seed=20)
    size = 12 // num_batches
    descent = Descent(list(zip(x.split(size), y.split(size), strict=True)), fit_intercept=False)
    rate = share * largest_stable_learning_rate(descent.hessians)
    start = torch.ones(1, 1, dtype=torch.float64)
    epochs = math.ceil(forecast_of(descent, rate).epochs_until(start).item())
    *_, before, after = errors_of(descent, start, rate, epochs)
    assert after.abs() <= 0.01 < before.abs()


@pytest.mark.parametrize("step", [0.05, 0.5, 1.5])
def test_epochs_until_with_momentum(step: float) -> None:
    """One direction, β = 0.5: its two modes coincide at a step of (1 - √β)² = 0.086, and oscillate above."""
    descent = Descent([(torch.ones(1, 1).double(), torch.zeros(1, 1).double())], fit_intercept=False, momentum=0.5)
    start = torch.ones(1, 1, dtype=torch.float64)
    rate = step / 2  # the Hessian is 2
    epochs = math.ceil(forecast_of(descent, rate).epochs_until(start).item())
    errors = [float(error.abs()) for error in errors_of(descent, start, rate, epochs + 19)]
    assert max(errors[epochs:]) <= 0.01
    needed = max(count for count, error in enumerate(errors) if error > 0.01) + 1
    assert needed <= epochs <= needed + 3, "the amplitude of the oscillation counts, whatever its phase"


def test_coinciding_modes_of_momentum() -> None:
    descent = Descent([(torch.ones(1, 1).double(), torch.zeros(1, 1).double())], fit_intercept=False, momentum=0.81)
    start, rate = torch.ones(1, 1, dtype=torch.float64), (1 - 0.9) ** 2 / 2
    epochs = math.ceil(forecast_of(descent, rate).epochs_until(start).item())
    errors = [float(error.abs()) for error in errors_of(descent, start, rate, 199)]
    needed = next(index for index, error in enumerate(errors) if error <= 0.01)
    assert needed <= epochs <= 1.6 * needed, "the modes are kept slightly apart, and their shares are added"


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("num_batches", [1, 3])
def test_diverging_rate_never_converges(num_batches: int, momentum: float) -> None:
    x, y, *_ = problem(12, 2, 1, 0.0, seed=21)
    size = 12 // num_batches
    descent = Descent(list(zip(x.split(size), y.split(size), strict=True)), momentum=momentum)
    rate = 1.02 * largest_stable_learning_rate(descent.hessians, momentum)
    predicted = forecast_of(descent, rate)
    assert predicted.epochs_until(start_of(descent)).isinf().all()
    assert predicted.halving_epochs[-1] == math.inf


def test_diverging_direction_leaves_others_alone() -> None:
    """Two orthogonal columns: the first diverges, the second converges slowly."""
    factor = torch.diag(torch.tensor([1.0, 0.01], dtype=torch.float64))
    predicted = forecast(factor, learning_rate=1.5)
    epochs = predicted.epochs_until(torch.ones(2, 1, dtype=torch.float64))
    assert epochs[0].item() == math.inf
    assert epochs[1].item() == pytest.approx(math.log(0.01) / math.log(1 - 1.5 * 2 * 0.01**2), rel=1e-9)


def test_instant_direction_leaves_others_alone() -> None:
    """At half the largest stable rate, as `auto` chooses, the steepest direction converges in one step."""
    hessians = torch.diag(torch.tensor([2.0, 0.02], dtype=torch.float64)).expand(2, 2, 2)
    predicted = forecast_of_cycle(hessians, learning_rate=0.5)
    assert predicted.halving_epochs[0] == 0
    assert predicted.halving_epochs[1].item() == pytest.approx(math.log(0.5) / (2 * math.log(0.99)), rel=1e-12)
    assert predicted.epochs_until(torch.tensor([[0.0], [1.0]]).double())[0].item() == 0, "no error, no epochs"


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("num_batches", [1, 3])
def test_flat_direction_never_converges(num_batches: int, momentum: float) -> None:
    x, y, *_ = problem(12, 2, 1, 0.0, seed=22)
    x, size = torch.cat([x, x @ torch.tensor([[0.3], [-1.7]]).double()], dim=1), 12 // num_batches
    descent = Descent(list(zip(x.split(size), y.split(size), strict=True)), fit_intercept=False, momentum=momentum)
    rate = 0.5 * largest_stable_learning_rate(descent.hessians, momentum)
    predicted = forecast_of(descent, rate)
    assert predicted.halving_epochs[-1] > 1e25, "0, or the square of float64's rounding"
    one = torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)
    assert predicted.epochs_until(one)[0].item() == math.inf, "its flat part remains"
    common = x.T @ y  # in the row space of x
    assert (predicted.epochs_until(common) < 1e4).all()


def cycle_by_hand(learning_rate: Fraction) -> list[Decimal]:
    """Computes 1 less the factors of the tutorial's epoch of two batches, to 40 digits, from sums of integers."""
    change = [[Fraction(), Fraction()], [Fraction(), Fraction()]]
    for numbers in (range(5000), range(5000, 10_000)):
        one, s1, s2 = (2 * Fraction(sum(n**power for n in numbers), 5000) * learning_rate for power in range(3))
        (p, q), (r, s) = ((1 + change[0][0], change[0][1]), (change[1][0], 1 + change[1][1]))
        change = [
            [change[0][0] - one * p - s1 * r, change[0][1] - one * q - s1 * s],
            [change[1][0] - s1 * p - s2 * r, change[1][1] - s1 * q - s2 * s],
        ]
    trace, determinant = -(change[0][0] + change[1][1]), change[0][0] * change[1][1] - change[0][1] * change[1][0]
    with localcontext(prec=60):
        t, d = (Decimal(value.numerator) / Decimal(value.denominator) for value in (trace, determinant))
        root = (t * t / 4 - d).sqrt()
        return [t / 2 + root, t / 2 - root]


@pytest.mark.parametrize("learning_rate", [1e-10, 1e-9, 2.2e-8])
def test_halving_epochs_of_the_tutorial(learning_rate: float) -> None:
    """The slow factor is 1 - 1e-10: a plain float64 difference from 1 would have six digits, or none."""
    predicted = posed_problem(SyntheticDataModule(), HyperParameters(precondition=False), users_units(1)).forecast(
        learning_rate
    )
    with localcontext(prec=60):
        expected = [float(Decimal(2).ln() / -abs(1 - w).ln()) for w in cycle_by_hand(Fraction(learning_rate))]
    assert predicted.halving_epochs.tolist() == pytest.approx(expected, rel=1e-6)
    if learning_rate == 1e-10:
        assert expected == pytest.approx([51.72, 6.93e9], rel=1e-2), "the tutorial's known values"


def test_weight_of_the_tutorial() -> None:
    """All epochs in float64; the weight's initial error is 1, and the bias starts without one."""
    data = SyntheticDataModule()
    ((x, y),) = data.rows()
    x, y = x.double(), y.double()
    descent = Descent(list(zip(x.split(5000), y.split(5000), strict=True)))
    start = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    predicted = posed_problem(data, HyperParameters(precondition=False), users_units(1)).forecast(1e-10)
    epochs = math.ceil(predicted.epochs_until(start)[1].item())
    errors = [float(error[1]) for error in errors_of(descent, start, 1e-10, epochs)]
    for before, after in ((errors[0], errors[100]), (errors[100], errors[200])):
        assert 100 * math.log(0.5) / math.log(after / before) == pytest.approx(51.72, rel=0.01)
        assert 100 * math.log(0.5) / math.log(after / before) == pytest.approx(
            predicted.halving_epochs[0].item(), rel=1e-3
        )
    # One epoch less than the weight's 344 leaves more than a hundredth of its error.
    assert abs(errors[epochs]) <= 0.01 < abs(errors[epochs - 1])
