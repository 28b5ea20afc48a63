"""Follows mean and covariance of the coefficients' error over a run that has the same batches at every epoch.

A step on a batch with the Hessian H and the gradient g at the exact solution, with the error z (Q, K), is

    velocity ← momentum · velocity + H z + g           z ← z - rate · velocity

An epoch is an affine map of the state, and so are many. Targets that get new noise of standard deviation σ at every
epoch add 2 σ² / (B·K) times H to the covariance of g, for each target.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np

from linreg_pl.core.expected_loss import Descent, Outcome, needed


@dataclass(frozen=True)
class FixedBatches:
    """The batches of an epoch, in the order in which SGD meets them."""

    hessians: np.ndarray  # of J on each batch, (n, Q, Q)
    gradients: np.ndarray  # of J on each batch at the exact solution, without new noise, (n, Q, K)
    noise: np.ndarray  # covariance of each batch's gradient, for each target, (n, Q, Q); 0 without new noise


@dataclass(frozen=True)
class Affine:
    """A map of the state: mean ← matrix · mean + shift, covariance ← matrix · covariance · matrix' + noise."""

    matrix: np.ndarray  # (Q·d, Q·d)
    shift: np.ndarray  # (Q·d, K)
    noise: np.ndarray  # (Q·d, Q·d)

    def then(self, later: "Affine") -> "Affine":
        """Returns this map, followed by a later one."""
        return Affine(
            later.matrix @ self.matrix,
            later.matrix @ self.shift + later.shift,
            later.matrix @ self.noise @ later.matrix.T + later.noise,
        )

    def repeated(self, times: int) -> "Affine":
        """Returns this map, `times` over, which is at least 1."""
        half = self.repeated(times // 2) if times > 1 else self
        return self if times == 1 else half.then(half) if times % 2 == 0 else half.then(half).then(self)


def outcome(batches: FixedBatches, start: np.ndarray, descent: Descent, most_epochs: int = 400) -> Outcome:
    """Computes mean and covariance of the error at the end of a run; infinite if it diverges.

    With a schedule, each epoch has its own learning rates. In runs of more than `most_epochs` epochs, groups of epochs
    have those of the group's middle.

    Args:
        batches: The batches.
        start: The error at the start, (Q, K).
        descent: The settings.
        most_epochs: Number of epochs that are followed one by one.
    """
    n, (Q, K), kept = len(batches.hessians), start.shape, needed(descent)
    state = Affine(
        np.zeros((Q * len(kept), 0)),
        np.concatenate([start, np.zeros((Q * (len(kept) - 1), K))]),
        np.zeros((Q * len(kept), Q * len(kept))),
    )
    every = 1 if descent.schedule != "constant" else descent.steps
    every = max(every, descent.steps // n // most_epochs) if descent.steps // n > most_epochs else every
    position = 0
    with np.errstate(over="ignore", invalid="ignore"):
        while position < descent.steps:
            averages = position >= descent.first_averaged
            end = descent.steps if averages else descent.first_averaged
            times = min(every, (end - position) // n) if position % n == 0 else 0
            count = n if times else min(end - position, n - position % n)
            middle = (max(1, times) - 1) // 2 * n + position
            steps = [step(batches, middle + number, descent, averages) for number in range(count)]
            state = state.then(reduce(Affine.then, steps).repeated(max(1, times)))
            position += count * max(1, times)
    last = slice(len(kept) * Q - Q, None) if descent.num_averaged else slice(0, Q)
    divisor = max(1, descent.num_averaged)
    covariance = np.kron(np.eye(K), state.noise[last, last] / divisor**2)
    mean = state.shift[last] / divisor
    is_finite = np.isfinite(mean).all() and np.abs(mean).max(initial=0.0) < 1e15 and np.isfinite(covariance).all()
    return Outcome(mean, covariance) if is_finite else Outcome.diverged(Q, K)


def step(batches: FixedBatches, number: int, descent: Descent, averages: bool) -> Affine:
    """Returns the map of one step of a run, on the state of errors, velocities and sums that the run needs."""
    hessian, gradient, noise = (
        part[number % len(batches.hessians)] for part in (batches.hessians, batches.gradients, batches.noise)
    )
    rate, momentum, same, none = descent.rate(number), descent.momentum, np.eye(len(hessian)), np.zeros_like(hessian)
    moved = np.hstack([same - rate * hessian, -rate * momentum * same, none])
    rows = [moved, np.hstack([hessian, momentum * same, none]), averages * moved + np.hstack([none, none, same])]
    effects, kept = np.vstack([-rate * same, same, -averages * rate * same]), needed(descent)
    index = np.concatenate([np.arange(len(hessian)) + part * len(hessian) for part in kept])
    effect = effects[index]
    return Affine(np.vstack(rows)[np.ix_(index, index)], effect @ gradient, effect @ noise @ effect.T)
