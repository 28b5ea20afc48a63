"""Compares the course of descent on a schedule with a walk through all of its steps."""

import math

import numpy as np
import pytest
import torch

from linreg_pl.core.forecast import course
from linreg_pl.core.learning_rate_schedules import Schedule, ScheduledRate

EIGENVALUES = np.logspace(0, -8, 17)
FACTOR = torch.diag(torch.tensor(EIGENVALUES / 2).sqrt())  # the Hessian is twice its Gram matrix
START = torch.linspace(1, 2, 17, dtype=torch.float64).unsqueeze(1)


def walk(rate: ScheduledRate, momentum: float, every_n_steps: int) -> np.ndarray:
    """Takes each step of the run, and returns the errors after every so many, (n, 17)."""
    errors = START[:, 0].numpy()
    velocity, recorded = np.zeros_like(errors), [errors]
    for step in range(rate.total_steps):
        velocity = momentum * velocity + EIGENVALUES * errors
        errors = errors - rate.at(step) * velocity
        if (step + 1) % every_n_steps == 0:
            recorded.append(errors)
    return np.stack(recorded)


def computed(rate: ScheduledRate, momentum: float, every_n_steps: int) -> np.ndarray:
    count = rate.total_steps // every_n_steps
    return course(FACTOR, START, rate.at, momentum, every_n_steps, count)[:, :, 0].numpy()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize(("steps", "every"), [(7, 2), (1500, 2), (4000, 4)])
def test_short_course_is_the_walk(steps: int, every: int, schedule: Schedule, momentum: float) -> None:
    rate = ScheduledRate(1.9 * (1 + momentum), schedule, steps)
    np.testing.assert_allclose(computed(rate, momentum, every), walk(rate, momentum, every), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize(("steps", "allowed"), [(10_000, 1e-4), (60_000, 1e-5)])
def test_long_course_is_close_to_the_walk(steps: int, allowed: float, schedule: Schedule, momentum: float) -> None:
    """The start's errors are 1 to 2."""
    rate = ScheduledRate(1.9 * (1 + momentum), schedule, steps)
    difference = np.abs(computed(rate, momentum, steps // 1000) - walk(rate, momentum, steps // 1000)).max()
    assert difference < (1e-9 if schedule == "constant" else allowed)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_more_parts_bring_the_course_closer(momentum: float) -> None:
    rate = ScheduledRate(1 + momentum, "cosine", 40_000)
    expected = torch.from_numpy(walk(rate, momentum, 400))
    differences = [
        float((course(FACTOR, START, rate.at, momentum, 400, 100, parts)[:, :, 0] - expected).abs().max())
        for parts in (100, 400, 1600, 40_000)
    ]
    assert differences == sorted(differences, reverse=True)
    assert differences[-1] < 1e-10


@pytest.mark.parametrize("steps", [10**4, 8 * 10**6, 10**12])
def test_cost_does_not_depend_on_length(steps: int) -> None:
    asked = []

    def learning_rate_at(step: float) -> float:
        asked.append(step)
        return ScheduledRate(1.0, "cosine", steps).at(step)

    errors = course(FACTOR, START, learning_rate_at, 0.9, steps // 1000, 1000)
    assert errors.shape == (1001, 17, 1)
    assert errors.isfinite().all()
    assert len(asked) == 4000
    assert 0 < min(asked) < max(asked) < steps


def test_course_of_a_whole_rate_is_a_power() -> None:
    """At a constant rate of 1e-3, the error of the smallest eigenvalue, 1e-8, shrinks by exp(-10) in 1e12 steps."""
    errors = course(FACTOR, START, lambda step: 1e-3, 0.0, 10**9, 1000)
    assert errors[-1, -1].item() == pytest.approx(2 * math.exp(-10), rel=1e-3)


def test_diverging_direction_of_course_leaves_others_alone() -> None:
    factor = torch.diag(torch.tensor([1.0, 0.01], dtype=torch.float64))
    errors = course(factor, torch.ones(2, 1, dtype=torch.float64), lambda step: 1.5, 0.0, 1000, 1000)
    assert errors[-1, 0].abs() == 1e300
    assert errors[10, 1].item() == pytest.approx((1 - 1.5 * 2 * 0.01**2) ** 10_000, rel=1e-9)
