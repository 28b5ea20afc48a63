"""Follows mean and covariance of the coefficients' error over a run whose batches are drawn anew at every epoch.

In coordinates in which the Hessian is diagonal, a step on a batch of B rows is, with the error z (Q, K),

    velocity ← momentum · velocity + λ z + ξ           z ← z - rate · velocity

ξ is the random part of the batch's gradient. A row q of weight w and residual ρ = q z + r has the gradient 2 w q ρ / K.
With z of mean m and covariance S, E[ρ ρ'] = (q m + r)(q m + r)' + q S q', and so the covariance of ξ is

    (4 E[w² ρ ρ' ⊗ q q'] / K² - that of the mean) / B

This is exact for rows drawn with replacement. The batches of an epoch have no row in common: a row's gradients of the
whole epoch, carried to its end, are one vector u, and the epoch's covariance is less by E[u u'] / N. So the noise of
small steps cancels at the end of each epoch. The random parts of the Hessians, times what is left of the error at the
epoch's start, cancel likewise. They are also correlated with what the epoch's earlier batches have done: the mean of
the gradient is less by E[(2 w q q' / K) u] / N.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from linreg_pl.core.expected_loss import Descent, Outcome, blocks, needed
from linreg_pl.core.row_moments import RowMoments
from linreg_pl.core.run_parts import Part, divided, mean_paths, rates


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

    @cached_property
    def moments(self) -> RowMoments:
        """Returns the moments of the rows."""
        return RowMoments(self.rows, self.residuals, self.weights, self.shares)

    def gradient_noise(self, means: np.ndarray) -> np.ndarray:
        """Returns the covariance of the rows' gradients at errors m̃ (S, K, P): (S, K, Q, K, Q)."""
        gradients = means @ self.moments.second.T
        products = self.moments.quadratic(means[:, :, None, :, None] * means[:, None, :, None, :])
        noise: np.ndarray = products - gradients[:, :, None, :, None] * gradients[:, None, :, None, :]
        return noise.swapaxes(2, 3)

    def curvature_noise(self, covariance: np.ndarray) -> np.ndarray:
        """Returns what covariances of the errors (S, K, Q, K, Q) add to those of the rows' gradients, likewise."""
        K, Q = covariance.shape[1:3]
        hessian = self.moments.second[:, :Q]
        blocks = covariance.swapaxes(2, 3)  # (S, K, K, Q, Q)
        moments = self.moments.quadratic(np.pad(blocks, 3 * [(0, 0)] + 2 * [(0, K)]))
        noise: np.ndarray = moments - hessian @ blocks @ hessian
        return noise.swapaxes(2, 3)


def outcome(batches: DrawnBatches, start: np.ndarray, descent: Descent) -> Outcome:
    """Computes mean and covariance of the error at the end of a run, from the error at its start, (Q, K)."""
    [(_, end)] = outcomes(batches, [start], [descent])
    return end


def outcomes(
    batches: DrawnBatches, starts: Sequence[np.ndarray], descents: Sequence[Descent], most_numbers: int = 4_000_000
) -> Iterator[tuple[int, Outcome]]:
    """Yields the number and the outcome of each of some runs on the same batches, in any order.

    Args:
        batches: The batches.
        starts: The error at the start of each, (Q, K).
        descents: The settings of each.
        most_numbers: About how many numbers to keep; runs are followed together as far as these allow.
    """
    alike = dict[tuple[int, int, tuple[int, ...]], list[int]]()
    for number, descent in enumerate(descents):
        alike.setdefault((descent.steps, descent.num_averaged, needed(descent)), []).append(number)
    for (_, _, kept), numbers in alike.items():
        size = starts[0].size * len(kept)  # of a run's state
        count = max(1, most_numbers // (size * max(size, batches.moments.size)))
        for first in range(0, len(numbers), count):
            chosen = numbers[first : first + count]
            ends = followed_together(batches, np.stack([starts[k] for k in chosen]), [descents[k] for k in chosen])
            yield from zip(chosen, ends, strict=True)


@np.errstate(over="ignore", invalid="ignore")  # runs that diverge
def followed_together(
    batches: DrawnBatches, starts: np.ndarray, descents: Sequence[Descent], limit: float = 1e15
) -> list[Outcome]:
    """Computes the outcomes of S runs of equal length, whose states have the same parts.

    Args:
        batches: The batches.
        starts: The errors at the start, (S, Q, K).
        descents: The settings.
        limit: Size of an error above which a run diverges; its outcome is infinite then.
    """
    (_, Q, K), descent = starts.shape, descents[0]
    parts = list(divided(descent, batches.steps_per_epoch))
    means, end = mean_paths(batches.eigenvalues, starts, descents, [part.middle for part in parts])
    largest = np.abs(np.concatenate([means, end[None]])).max(axis=(0, 2, 3), initial=0.0)
    numbers = np.flatnonzero(largest < limit)  # of the runs that are still followed
    state = State.at_start(len(numbers), K, Q, len(needed(descent)))
    known = dict[tuple[bytes, int, bool], Spread]()
    for part, mean in zip(parts, means, strict=True):
        if not len(numbers) or batches.batch_size == batches.num_rows:
            break
        followed = [descents[int(number)] for number in numbers]
        at = rates(followed, part.steps)
        key = at.tobytes(), part.length, part.averages
        if key not in known:
            known[key] = Spread.of(batches.eigenvalues, at, followed, part)
        units = np.broadcast_to(np.eye(K), (len(numbers), K, K))
        errors = np.concatenate([mean[numbers].swapaxes(1, 2), units], axis=2)  # m̃ (S, K, P)
        state = state.after(batches, part, known[key], errors)
        if part.first + part.length == descent.steps:
            state = state.at_end_of_epoch(batches)
        is_small = state.largest < limit**2
        if not is_small.all():
            numbers, state = numbers[is_small], state.of(is_small)
            known.clear()
    last = -1 if descent.num_averaged else 0
    count = sum(part.length * part.times for part in parts if part.averages) or 1
    covariances = state.total[:, :, :, last, :, :, last].reshape(-1, K * Q, K * Q) / count**2
    ends = end[numbers] + state.drift[..., last].swapaxes(1, 2) / count
    found = dict(zip(numbers.tolist(), map(Outcome, ends, covariances), strict=True))
    return [found.get(number, Outcome.diverged(Q, K)) for number in range(len(descents))]


@dataclass(frozen=True)
class State:
    """The random part of S runs' states, and what the epoch's batches have done to each row."""

    total: np.ndarray  # covariance, (S, K, Q, d, K, Q, d), as if rows were drawn with replacement within this epoch
    drift: np.ndarray  # mean, less that of descent on all rows, (S, K, Q, d)
    carried: np.ndarray  # T of the rows' u, see `RowMoments`, (S, K, Q, d, P)
    before: np.ndarray  # covariance of the errors at the epoch's start, (S, K, Q, K, Q)
    effects: np.ndarray  # of a gradient that all steps of the epoch have had, (S, Q, d)
    held: np.ndarray  # sum over these steps of what was left of the error at the epoch's start, (S, Q)

    @classmethod
    def at_start(cls, S: int, K: int, Q: int, d: int) -> "State":
        """Returns the state before the first step."""
        shapes = (S, K, Q, d, K, Q, d), (S, K, Q, d), (S, K, Q, d, Q + K), (S, K, Q, K, Q), (S, Q, d), (S, Q)
        return cls(*map(np.zeros, shapes))

    @property
    def largest(self) -> np.ndarray:
        """Returns each run's largest covariance, (S,)."""
        largest: np.ndarray = np.abs(self.total).max(axis=(1, 2, 3, 4, 5, 6), initial=0.0)
        return largest

    def of(self, chosen: np.ndarray) -> "State":
        """Returns the state of some runs."""
        return State(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def after(self, batches: DrawnBatches, part: Part, spread: "Spread", errors: np.ndarray) -> "State":
        """Returns the state after a part, during which the mean error is m̃ (S, K, P)."""
        N, B, moments = batches.num_rows, batches.batch_size, batches.moments
        of_rows, total = batches.gradient_noise(errors), self.total[:, :, :, 0, :, :, 0]
        within = of_rows * scaled(spread.sums[:, :, 0]) * (part.pairs(B / N) / part.length**2 / B)
        if part.is_epoch:
            halves = spread.sums[:, None, :, :1] / 2  # the mean effect of an epoch's steps on its later ones
            pull = moments.pull(halves * errors[:, :, None]) / -N
            noise = of_rows + batches.curvature_noise(total + within)
            left = 1 + batches.eigenvalues * spread.before / part.length
            common = of_rows + batches.curvature_noise(total * scaled(left))
            added = spread.spread(noise / B) - common[:, :, :, None, :, :, None] / N * squared(spread.sums)
            return replace(
                self,
                total=spread.repeated(self.total, added, part.times),
                drift=spread.repeated(self.drift, spread.effect(pull), part.times, is_mean=True),
            )
        gathered = spread.effect(np.ones(self.drift.shape[:3]))[..., None] * errors[:, :, None, None]
        carried = spread.left(self.carried) + gathered
        pull = moments.pull((self.carried[:, :, :, 0] + carried[:, :, :, 0]) / 2) / -N
        noise, left = of_rows + batches.curvature_noise(total + within), 1 + batches.eigenvalues * self.effects[:, :, 0]
        state = State(
            total=spread.both(self.total) + spread.spread(noise / B),
            drift=spread.left(self.drift) + spread.effect(pull),
            carried=carried,
            before=self.before,
            effects=spread.left(self.effects[:, None])[:, 0] + spread.sums,
            held=self.held + left * (part.length + batches.eigenvalues * spread.before),
        )
        return state.at_end_of_epoch(batches) if part.ends_epoch else state

    def at_end_of_epoch(self, batches: DrawnBatches) -> "State":
        """Returns the state after an epoch, whose batches had no row in common."""
        common = batches.moments.covariance(self.carried).reshape(self.total.shape)
        left = self.before * scaled(self.held / batches.steps_per_epoch)
        common = common + batches.curvature_noise(left)[:, :, :, None, :, :, None] * squared(self.effects)
        total = self.total - common / batches.num_rows
        same, before = np.zeros_like, total[:, :, :, 0, :, :, 0]
        return State(total, self.drift, same(self.carried), before, same(self.effects), same(self.held))


def scaled(factors: np.ndarray) -> np.ndarray:
    """Returns the products of two factors (S, Q) that scale errors, as of their covariances (S, 1, Q, 1, Q)."""
    products: np.ndarray = factors[:, None, :, None, None] * factors[:, None, None, None]
    return products


def squared(effects: np.ndarray) -> np.ndarray:
    """Returns the products of two effects (S, Q, d), as a covariance of all targets: (S, 1, Q, d, 1, Q, d)."""
    products: np.ndarray = effects[:, None, :, :, None, None, None] * effects[:, None, None, None, None]
    return products


@dataclass(frozen=True)
class Spread:
    """How the noise of each of some steps has spread at their end, in the state of Q directions of S runs."""

    power: np.ndarray  # of a step's matrix, (S, Q, d, d)
    squares: np.ndarray  # sum over the steps of the products of two effects, (S, Q, d, Q, d)
    sums: np.ndarray  # sum over the steps of the effects, (S, Q, d)
    before: np.ndarray  # sum over the steps of the effects on the error that the steps before have had, (S, Q)

    @classmethod
    def of(cls, eigenvalues: np.ndarray, rates: np.ndarray, descents: Sequence[Descent], part: Part) -> "Spread":
        """Computes the spread of the `length` steps of a part.

        Args:
            eigenvalues: Of the Hessian, (Q,).
            rates: The learning rates at the middle, which all steps have, and those of the noise at both ends, (3, S).
            descents: The settings of the S runs.
            part: The part.
        """
        kept = list(needed(descents[0]))
        step, effect = blocks(eigenvalues, rates[0], np.array([each.momentum for each in descents]), part.averages)
        step, effect = step[..., kept, :][..., kept], effect[:, None, None, kept]
        effects = np.broadcast_to(effect, (len(step), 1, len(eigenvalues), len(kept)))  # of a noise so many steps ago
        power = step
        while effects.shape[1] < part.length:
            later = (power[:, None] @ effects[:, : part.length - effects.shape[1], ..., None])[..., 0]
            effects, power = np.concatenate([effects, later], axis=1), power @ power
        shares = np.linspace(rates[2], rates[1], part.length, axis=1) / np.maximum(rates[0], 1e-300)[:, None]
        columns = effects * shares[:, :, None, None]
        flat = columns.reshape(len(step), part.length, -1)
        before = (columns[..., 0] * (part.length - 1 - np.arange(part.length))[:, None]).sum(axis=1)
        squares = (flat.swapaxes(1, 2) @ flat).reshape(len(step), *2 * columns.shape[2:])
        return cls(np.linalg.matrix_power(step, part.length), squares, columns.sum(axis=1), before)

    def spread(self, noise: np.ndarray) -> np.ndarray:
        """Returns the covariance of the state that noise of each step leaves, from the noise's (S, K, Q, K, Q)."""
        covariance: np.ndarray = noise[:, :, :, None, :, :, None] * self.squares[:, None, :, :, None]
        return covariance

    def effect(self, values: np.ndarray) -> np.ndarray:
        """Returns the effect (S, K, Q, d) of a gradient (S, K, Q) that all steps have."""
        effect: np.ndarray = values[..., None] * self.sums[:, None]
        return effect

    def left(self, values: np.ndarray) -> np.ndarray:
        """Multiplies values (S, K, Q, d, …) by the power."""
        flat = values.reshape(*values.shape[:4], -1)
        product: np.ndarray = (self.power[:, None] @ flat).reshape(values.shape)
        return product

    def both(self, covariance: np.ndarray) -> np.ndarray:
        """Multiplies a covariance (S, K, Q, d, K, Q, d) by the power from both sides."""
        return self.left(self.left(covariance).transpose(0, 4, 5, 6, 1, 2, 3))

    def repeated(self, values: np.ndarray, added: np.ndarray, times: int, is_mean: bool = False) -> np.ndarray:
        """Returns covariances, or means, after these steps, `times` over; `added` joins them each time."""
        step = self
        while True:
            carry = step.left if is_mean else step.both
            if times % 2:
                values = carry(values) + added
            times //= 2
            if not times:
                return values
            added = carry(added) + added
            step = replace(step, power=step.power @ step.power)
