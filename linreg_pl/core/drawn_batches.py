"""Follows mean and covariance of the coefficients' error over a run whose batches are drawn anew at every epoch.

In coordinates in which the Hessian is diagonal, a step on a batch of B rows is, with the error z (Q, K),

    velocity ← momentum · velocity + λ z + ξ           z ← z - rate · velocity

ξ is the random part of the batch's gradient. A row q of weight w and residual ρ = q z + r has the gradient 2 w q ρ / K.
With z of mean m and covariance S, E[ρ ρ'] = (q m + r)(q m + r)' + q S q', and so the covariance of ξ is

    (4 E[w² ρ ρ' ⊗ q q'] / K² - that of the mean) / B

This is exact for rows drawn with replacement. The batches of an epoch have no row in common: a row's gradients of the
whole epoch, carried to its end, are one vector u, and the epoch's covariance is less by E[u u'] / N. So the noise of
small steps cancels at the end of each epoch. Likewise the random part of a batch's Hessian is correlated with what the
epoch's earlier batches have done: the mean of the gradient is less by E[(2 w q q' / K) u] / N.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from linreg_pl.core.expected_loss import Descent, Outcome, blocks, needed


@dataclass(frozen=True)
class DrawnBatches:
    """What descent on drawn batches needs to know of the rows."""

    eigenvalues: np.ndarray  # λ of the Hessian, (Q,)
    rows: np.ndarray  # q of a sample of the rows, (n, Q), along the eigenvectors
    residuals: np.ndarray  # r of these rows at the exact solution, (n, K)
    weights: np.ndarray  # w of these rows, (n, 1), of mean 1
    shares: np.ndarray  # of all rows, which each of these stands for, (n, 1), with a sum of 1
    batch_size: int
    num_rows: int  # N

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of batches in an epoch."""
        return self.num_rows // self.batch_size

    @property
    def num_targets(self) -> int:
        """Returns K."""
        return int(self.residuals.shape[1])

    def gradients(self, error: np.ndarray) -> np.ndarray:
        """Returns each row's gradient at an error (Q, K), less their mean: (n, K·Q)."""
        residuals = 2 / self.num_targets * self.weights * (self.rows @ error + self.residuals)
        gradients = (residuals[:, :, None] * self.rows[:, None, :]).reshape(len(self.rows), -1)
        centered: np.ndarray = gradients - (self.shares * gradients).sum(axis=0)
        return centered

    def mean_pull(self, carried: np.ndarray) -> np.ndarray:
        """Returns the mean of the gradient, (K·Q,), where earlier batches have moved the error by rows' u (n, K·Q)."""
        K, Q = self.num_targets, len(self.eigenvalues)
        along = (carried.reshape(-1, K, Q) * self.rows[:, None, :]).sum(axis=2) * self.weights  # (n, K)
        pull: np.ndarray = -2 / K * (self.shares * along).T @ self.rows / self.num_rows
        return pull.ravel()

    def curvature_noise(self, covariance: np.ndarray) -> np.ndarray:
        """Returns what a covariance of the error (K·Q, K·Q) adds to that of a row's gradient, likewise."""
        K, Q = self.num_targets, len(self.eigenvalues)
        added, squares = np.zeros_like(covariance), np.square(2 / K * self.weights)
        hessian = 2 / K * (self.rows * self.weights * self.shares).T @ self.rows
        for k in range(K):
            for other in range(K):
                block = slice(k * Q, (k + 1) * Q), slice(other * Q, (other + 1) * Q)
                spread = ((self.rows @ covariance[block]) * self.rows).sum(axis=1, keepdims=True)
                moments = (self.rows * squares * spread * self.shares).T @ self.rows
                added[block] = moments - hessian @ covariance[block] @ hessian
        return added


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

    def rates(self, descent: Descent) -> tuple[float, float, float]:
        """Returns the learning rate at the middle, and those at both ends of the `length` steps around it."""
        middle = self.first + (self.length * self.times - 1) / 2
        first, last = (middle + side * (self.length - 1) / 2 for side in (-1, 1))
        return descent.rate(middle), descent.rate(first), descent.rate(last)


@np.errstate(over="ignore", invalid="ignore")  # a run that diverges
def outcome(batches: DrawnBatches, start: np.ndarray, descent: Descent, limit: float = 1e15) -> Outcome:
    """Computes mean and covariance of the error at the end of a run.

    Args:
        batches: The batches.
        start: The error at the start, (Q, K).
        descent: The settings.
        limit: Size of an error above which a run diverges; both are infinite then.
    """
    parts = list(divided(descent, batches.steps_per_epoch))
    means, end = mean_path(batches.eigenvalues, start, descent, [part.middle for part in parts])
    size = end.size
    diverged = Outcome(np.full_like(end, np.inf), np.full((size, size), np.inf))
    if not max(np.abs(mean).max(initial=0.0) for mean in [*means, end]) < limit:
        return diverged
    if batches.batch_size == batches.num_rows:
        return Outcome(end, np.zeros((size, size)))
    kept, known = needed(descent), dict[tuple[tuple[float, float, float], int, bool], Spread]()
    errors = np.arange(size) * len(kept)  # the places of the errors in the state
    total, drift = np.zeros((size * len(kept), size * len(kept))), np.zeros(size * len(kept))
    carried = np.zeros((len(batches.rows), len(drift)))  # u of each row
    share = batches.batch_size / batches.num_rows
    for part, mean in zip(parts, means, strict=True):
        key = part.rates(descent), part.length, part.averages
        if key not in known:
            known[key] = Spread.of(batches, key[0], descent.momentum, part.length, part.averages, kept)
        spread, gradients = known[key], batches.gradients(mean)
        of_rows = gradients.T @ (batches.shares * gradients)
        noise = of_rows + batches.curvature_noise(total[np.ix_(errors, errors)])
        of_rows, noise = (
            np.repeat(np.repeat(each, len(kept), 0), len(kept), 1) / batches.batch_size for each in (of_rows, noise)
        )
        if part.is_epoch:
            cancelled = share * of_rows * np.outer(spread.sums, spread.sums)
            pull = spread.sums * np.repeat(batches.mean_pull(gradients * spread.middle), len(kept))
            total = spread.repeated(total, noise * spread.squares - cancelled, part.times)
            drift = spread.repeated(drift[:, None], pull[:, None], part.times, is_mean=True)[:, 0]
        else:
            before, gathered = carried, np.repeat(gradients, len(kept), 1) * spread.sums
            carried = spread.left(carried.T).T + gathered
            pull = np.repeat(batches.mean_pull((before + carried)[:, errors] / 2), len(kept))
            total = spread.left(spread.left(total).T) + noise * spread.squares
            drift = spread.left(drift[:, None])[:, 0] + spread.sums * pull
            if part.ends_epoch or part.first + part.length == descent.steps:
                total = total - carried.T @ (batches.shares * carried) / batches.num_rows
                carried = np.zeros_like(carried)
        if not np.abs(total).max(initial=0.0) < limit**2:
            return diverged
    last = errors + (len(kept) - 1 if descent.num_averaged else 0)
    covariance, moved = total[np.ix_(last, last)], drift[last].reshape(end.shape[::-1]).T
    if descent.num_averaged:
        count = sum(part.length * part.times for part in parts if part.averages)
        covariance, moved = covariance / count**2, moved / count
    return Outcome(end + moved, covariance)


@dataclass(frozen=True)
class Spread:
    """How the noise of each of some steps has spread at their end, in the state of K·Q directions."""

    power: np.ndarray  # of a step's matrix, (K·Q, d, d)
    squares: np.ndarray  # sum over the steps of the products of two effects, (K·Q·d, K·Q·d)
    sums: np.ndarray  # sum over the steps of the effects, (K·Q·d,)

    middle: np.ndarray  # half of the effects' sums on the errors, (K·Q,)

    @classmethod
    def of(
        cls,
        batches: DrawnBatches,
        rates: tuple[float, float, float],
        momentum: float,
        length: int,
        averages: bool,
        kept: list[int],
    ) -> "Spread":
        """Computes the spread of `length` steps.

        Args:
            batches: The batches.
            rates: The learning rate at the middle, which all steps have, and those of the noise at both ends.
            momentum: As in `torch.optim.SGD`.
            length: Number of steps.
            averages: Whether the steps are part of the average.
            kept: The parts of the state, see `needed`.
        """
        step, effect = blocks(batches.eigenvalues, rates[0], momentum, averages)
        step, effect = step[:, kept][:, :, kept], effect[kept]
        effects = np.broadcast_to(effect, (1, len(step), len(kept)))  # of a noise so many steps ago
        power = step
        while len(effects) < length:
            later = (power @ effects[: length - len(effects), :, :, None])[..., 0]
            effects, power = np.concatenate([effects, later]), power @ power
        shares = np.linspace(rates[2], rates[1], length) / max(rates[0], 1e-300)
        columns, K = (effects * shares[:, None, None]).reshape(length, -1), batches.num_targets
        squares, sums = columns.T @ columns, np.tile(columns.sum(axis=0), K)
        power = np.tile(np.linalg.matrix_power(step, length), (K, 1, 1))
        return cls(power, np.tile(squares, (K, K)), sums, sums[:: len(kept)] / 2)

    def left(self, values: np.ndarray) -> np.ndarray:
        """Multiplies values (K·Q·d, n) by the power."""
        directions, parts, _ = self.power.shape
        product: np.ndarray = (self.power @ values.reshape(directions, parts, -1)).reshape(values.shape)
        return product

    def repeated(self, values: np.ndarray, added: np.ndarray, times: int, is_mean: bool = False) -> np.ndarray:
        """Returns a covariance, or a column of means, after these steps, `times` over; `added` joins it each time."""
        step = self

        def carry(values: np.ndarray) -> np.ndarray:
            return step.left(values) if is_mean else step.left(step.left(values).T)

        while True:
            if times % 2:
                values = carry(values) + added
            times //= 2
            if not times:
                return values
            added = carry(added) + added
            step = replace(step, power=step.power @ step.power)


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


def mean_path(
    eigenvalues: np.ndarray, start: np.ndarray, descent: Descent, marks: list[int], most_steps: int = 4000
) -> tuple[list[np.ndarray], np.ndarray]:
    """Computes the mean of the error at some steps, and at the end, where it may be an average: (Q, K) each.

    A run of at most `most_steps` steps is followed step by step. A longer one goes from mark to mark, and in hundredths
    of the run, each at one learning rate; with a constant rate this is exact, too.
    """
    state = np.stack([start, np.zeros_like(start), np.zeros_like(start)], axis=1)  # (Q, 3, K)
    found = {0: start}
    stops = {*marks, descent.steps, descent.first_averaged, *(descent.steps * part // 400 for part in range(401))}
    stops = set(range(descent.steps + 1)) if descent.steps <= most_steps else stops
    position = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for stop in sorted(stops - {0}):
            count, averages = stop - position, position >= descent.first_averaged
            rate = descent.rate(position + (count - 1) / 2)
            if count == 1:
                state[:, 1] = descent.momentum * state[:, 1] + eigenvalues[:, None] * state[:, 0]
                state[:, 0] -= rate * state[:, 1]
                state[:, 2] += averages * state[:, 0]
            else:
                step, _ = blocks(eigenvalues, rate, descent.momentum, averages)
                state = np.linalg.matrix_power(step, count) @ state
            position = stop
            found[position] = state[:, 0].copy()
    end = state[:, 2] / descent.num_averaged if descent.num_averaged else state[:, 0]
    return [found[mark] for mark in marks], end
