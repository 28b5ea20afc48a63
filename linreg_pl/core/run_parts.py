"""Divides a run into parts that are followed together, and follows the mean of the error through them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from linreg_pl.core.expected_loss import Descent, blocks
from linreg_pl.core.learning_rate_schedules import share


@dataclass(frozen=True)
class Part:
    """Some steps of a run that are followed together: `length` steps, `times` over, at one learning rate."""

    first: int
    length: int
    times: int
    averages: bool  # whether these steps are part of the average
    is_epoch: bool  # whether the steps are those of a whole epoch
    ends_epoch: bool

    @property
    def middle(self) -> int:
        """Returns the step at the part's middle."""
        return self.first + self.length * self.times // 2

    @property
    def steps(self) -> list[float]:
        """Returns the step at the middle, and those at both ends of the `length` steps around it."""
        middle = self.first + (self.length * self.times - 1) / 2
        return [middle, middle - (self.length - 1) / 2, middle + (self.length - 1) / 2]

    def pairs(self, share: float) -> float:
        """Returns how many steps of the part before a step add to that step's noise, by its curvature, on average.

        Step t has the noise ξ(t), and its curvature differs from the mean by Δ(t). A batch is a share f of an epoch's
        rows, and batches have no row in common. So the variance of the sum of Δ(t) ξ(s) over s < t is the sum of
        (1[t=t'] - f) (1[s=s'] - f) over all s < t and s' < t'.
        """
        n, f = self.length, share
        return (n - 1) / 2 - f * (n - 1) * (2 * n - 1) / 3 + f**2 * n * (n - 1) ** 2 / 4


def rates(descents: Sequence[Descent], steps: Sequence[float]) -> np.ndarray:
    """Returns the learning rates of runs of equal length at some steps, (steps, runs)."""
    schedules = {each.schedule for each in descents}
    shares = {each: np.array([share(each, step / descents[0].steps) for step in steps]) for each in schedules}
    return np.stack([each.learning_rate * shares[each.schedule] for each in descents], axis=1)


def divided(descent: Descent, steps_per_epoch: int, most_parts: int = 40) -> Iterator[Part]:
    """Yields the parts in which a run is followed.

    The parts of the first epoch double in length, as the error may shrink fast. The other epochs are about `most_parts`
    parts: some epochs each, or some steps of one epoch. An average begins with the epoch that is nearest to its first
    step, if parts have several.
    """
    steps, first_averaged, n = descent.steps, descent.first_averaged, steps_per_epoch
    num_epochs = max(0, steps // n - 1)
    times = max(1, num_epochs // most_parts)
    if times > 1:
        first_averaged = max(n, round(first_averaged / n) * n) if descent.num_averaged else steps
    position, length = 0, 1
    while position < steps:
        is_first, epoch_end = position < n, (position // n + 1) * n
        is_whole = not is_first and position % n == 0 and times > 1 and position + n <= steps
        if is_whole:
            ends = [position + times * n, steps // n * n, *([first_averaged] if position < first_averaged else [])]
            count = (min(ends) - position) // n
            yield Part(position, n, count, position >= first_averaged, True, True)
            position += count * n
            continue
        length = 2 * length if is_first and position else 1 if is_first else max(1, n * num_epochs // most_parts)
        ends = [position + length, epoch_end, steps, *([first_averaged] if position < first_averaged else [])]
        end = min(ends)
        yield Part(position, end - position, 1, position >= first_averaged, False, end == epoch_end)
        position = end


def mean_paths(
    eigenvalues: np.ndarray, starts: np.ndarray, descents: Sequence[Descent], marks: list[int], most_steps: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the means of the errors of S runs at some steps, and at the end, where they may be averages.

    A run of at most `most_steps` steps is followed step by step. A longer one goes from mark to mark, and in hundredths
    of the run, each at one learning rate; with a constant rate this is exact, too.

    Args:
        eigenvalues: Of the Hessian, (Q,).
        starts: The errors at the start, (S, Q, K).
        descents: The settings, which differ neither in length nor in the steps that are averaged.
        marks: The steps.
        most_steps: See above.

    Returns:
        The means at the marks, (marks, S, Q, K), and those at the end, (S, Q, K).
    """
    steps, first_averaged = descents[0].steps, descents[0].first_averaged
    stops = {*marks, steps, first_averaged, *(steps * part // 400 for part in range(401))}
    stops = set(range(steps + 1)) if steps <= most_steps else stops
    bounds = sorted(stops | {0})
    all_rates = rates(descents, [(first + last - 1) / 2 for first, last in pairwise(bounds)])
    momentum, slopes = np.array([each.momentum for each in descents])[:, None, None], eigenvalues[:, None]
    error, wanted = starts.copy(), set(marks)
    velocity, total = np.zeros_like(error), np.zeros_like(error)
    found = {0: starts}
    with np.errstate(over="ignore", invalid="ignore"):
        for (first, last), rate in zip(pairwise(bounds), all_rates, strict=True):
            averages = first >= first_averaged
            if last - first == 1:
                velocity = momentum * velocity + slopes * error
                error = error - rate[:, None, None] * velocity
                total = total + error if averages else total
            else:
                step, _ = blocks(eigenvalues, rate, momentum[:, 0, 0], averages)
                state = np.linalg.matrix_power(step, last - first) @ np.stack([error, velocity, total], axis=2)
                error, velocity, total = state[:, :, 0], state[:, :, 1], state[:, :, 2]
            if last in wanted:
                found[last] = error
    end = total / descents[0].num_averaged if descents[0].num_averaged else error
    return np.stack([found[mark] for mark in marks]), end
