"""Computes the loss that a run of mini-batch descent ends with: its expected value, and bounds of 95%.

The error of the coefficients at the end is a mean m and a random part of covariance S, see `core/drawn_batches.py` and
`core/fixed_batches.py`. The loss is the sum of squares ‖F z + ρ‖² of the error z, so its expected value is

    ‖F m + ρ‖² + tr(F S F')

Many batches add up in z, which is close to normal. Then the loss is a sum of squares of normal numbers. The bounds are
quantiles of a sample of it, drawn with a fixed seed.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from linreg_pl.core.learning_rate_schedules import Schedule, ScheduledRate


@dataclass(frozen=True)
class Descent:
    """The settings of mini-batch descent, and its length."""

    learning_rate: float
    steps: int
    momentum: float = 0.0
    schedule: Schedule = "constant"
    num_averaged: int = 0  # steps at the end whose coefficients are averaged; 0 for none

    def rate(self, step: float) -> float:
        """Returns the learning rate of a step, counted from 0."""
        return ScheduledRate(self.learning_rate, self.schedule, self.steps).at(step)

    @property
    def first_averaged(self) -> int:
        """Returns the number of steps before the average begins; without an average, all."""
        return self.steps - self.num_averaged


@dataclass(frozen=True)
class Outcome:
    """The error z at the end of a run: its mean (Q, K), and its covariance (K·Q, K·Q), the targets outermost."""

    mean: np.ndarray
    covariance: np.ndarray

    @property
    def is_finite(self) -> bool:
        """Returns whether the run has not diverged."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.covariance).all())

    @classmethod
    def diverged(cls, num_directions: int, num_targets: int) -> Self:
        """Returns the outcome of a run that diverges: it is infinite."""
        size = num_directions * num_targets
        return cls(np.full((num_directions, num_targets), np.inf), np.full((size, size), np.inf))

    def turned(self, axes: np.ndarray) -> "Outcome":
        """Returns the outcome whose error is `axes @ z`."""
        if not self.is_finite:
            return self
        turned = np.kron(np.eye(self.mean.shape[1]), axes)
        return Outcome(axes @ self.mean, turned @ self.covariance @ turned.T)


@dataclass(frozen=True)
class Loss:
    """The loss as a function of the error z (Q, K): the sum of squares of `factor @ z + residual`."""

    factor: np.ndarray  # F (M, Q)
    residual: np.ndarray  # ρ (M, K)

    def at(self, error: np.ndarray) -> float:
        """Returns the loss at an error z (Q, K); infinity where it exceeds float64."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = float(np.square(self.factor @ error + self.residual).sum())
        return value if math.isfinite(value) else math.inf

    def expected(self, outcome: Outcome) -> float:
        """Returns the expected loss of a run's outcome; infinity where it exceeds float64."""
        if not outcome.is_finite:
            return math.inf
        factor = np.kron(np.eye(outcome.mean.shape[1]), self.factor)
        with np.errstate(over="ignore", invalid="ignore"):
            value = self.at(outcome.mean) + float(((factor @ outcome.covariance) * factor).sum())
        return value if math.isfinite(value) else math.inf


@dataclass(frozen=True)
class ExpectedLoss:
    """The expected loss at the end of a run, and bounds within which 95% of such runs end."""

    mean: float
    low: float
    high: float

    def contains(self, loss: float) -> bool:
        """Returns whether a loss is within the bounds."""
        return self.low <= loss <= self.high


def expected_loss(
    outcome: Outcome, loss: Loss, rounding: float = 1e-6, probability: float = 0.95, num_samples: int = 4000
) -> ExpectedLoss:
    """Computes the expected loss of a run's outcome, and its bounds.

    Args:
        outcome: The error at the end.
        loss: The loss as its function.
        rounding: Share of the loss by which the steps' rounding may move it; it widens the bounds.
        probability: With which the loss is within the bounds.
        num_samples: Number of draws for the quantiles.
    """
    if not outcome.is_finite:
        return ExpectedLoss(math.inf, math.inf, math.inf)
    num_targets = outcome.mean.shape[1]
    center = loss.factor @ outcome.mean + loss.residual  # (M, K)
    # In the axes of the random part of F z, the loss is Σ (c + √λ ε)² with ε of standard normal numbers.
    factor = np.kron(np.eye(num_targets), loss.factor)
    lengths, axes = np.linalg.eigh(factor @ outcome.covariance @ factor.T)
    lengths = np.maximum(lengths, 0.0)
    shifts, total = axes.T @ center.T.ravel(), float(np.square(center).sum())
    mean = total + float(lengths.sum())
    random = lengths > 1e-9 * lengths.max(initial=0.0)
    draws = np.random.default_rng(0).standard_normal((num_samples, int(random.sum())))
    roots = np.sqrt(lengths[random])
    losses = total + draws @ (2 * shifts[random] * roots) + np.square(draws) @ lengths[random]
    tail = (1 - probability) / 2
    low, high = np.quantile(losses, [tail, 1 - tail])
    slack = rounding * mean
    return ExpectedLoss(mean, float(low) - slack, float(high) + slack)


def blocks(
    eigenvalues: np.ndarray, rates: np.ndarray, momenta: np.ndarray, averages: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one step of S runs on each direction, (S, Q, 3, 3), and the effect (S, 3) of a gradient's random part.

    The state of a direction is its error, its velocity, and the sum of its errors, if they are averaged:

        velocity ← momentum · velocity + λ · error + noise     error ← error - rate · velocity     sum ← sum + error
    """
    rates, momenta = rates[:, None], momenta[:, None]
    step = np.zeros((len(rates), len(eigenvalues), 3, 3))
    step[..., 0, 0], step[..., 0, 1] = 1 - rates * eigenvalues, -rates * momenta
    step[..., 1, 0], step[..., 1, 1] = eigenvalues, momenta
    step[..., 2, :] = averages * step[..., 0, :]
    step[..., 2, 2] = 1
    return step, np.hstack([-rates, np.ones_like(rates), -rates * averages])


def needed(descent: Descent) -> tuple[int, ...]:
    """Returns which of the three parts of the state a run needs: the error, the velocity, the sum."""
    return (0, *((1,) if descent.momentum else ()), *((2,) if descent.num_averaged else ()))
