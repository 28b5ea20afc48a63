"""Plans how many steps mini-batch descent needs until its coefficients are close enough to the exact ones.

Distances are measured in standard errors: the gap J - J* beside mse / N, what chance alone explains for a coefficient.

Preconditioned descent shrinks the error in all P directions by 1 - η a step, where η is the learning rate in force. The
noise of a batch adds up with weights w_t = η_t · (1 - η_{t+1}) · …, and the batches of an epoch, which have no row in
common, cancel: the variance in a direction is n · Σ over epochs Σ_t (w_t - mean of w over the epoch)² squared standard
errors, with n batches an epoch. It is more where residuals are larger in rows far from the mean (`noise_ratio`). Where
steep batches also have residuals of one sign, the mean of θ is off too, by a distance proportional to η (`noise_bias`).

Plain descent shrinks the error e along an eigenvector of the Hessian with eigenvalue λ to (1 - λη) e, where η is the
learning rate in force divided by 1 - momentum (Polyak 1964). With batches of B rows each step also adds noise, of
variance η² · 2 mse λ / B if residuals have the same variance in all rows. With `left(t)`, the sum of λη over the steps
from t to the end, the expected gap J - J* at the end is

    Σ λ/2 · e² · exp(-2 left(0))  +  mse/B · Σ Σ_t (λη)² · exp(-2 left(t))

summed over all directions. It overestimates the noise: batches of one epoch have no row in common.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import Schedule, shares

CLOSE = 0.3
"""Standard errors within which a run of automatic length brings its coefficients to the exact ones."""


@dataclass(frozen=True)
class Plan:
    """The length of a run, its learning rate, and where it is expected to end."""

    epochs: int
    learning_rate: float
    distance: float  # of the worst coefficient from its exact value, in standard errors


@dataclass(frozen=True)
class PreconditionedDescent:
    """Expected progress of preconditioned descent without momentum, on a cosine schedule.

    Args:
        batches: Number of batches in an epoch.
        largest: Highest learning rate to take.
        distance: √((J₀ - J*) N / mse), the distance of the start in standard errors.
        noise_bias: Standard errors by which the worst coefficient is off at a constant learning rate of 1.
        noise_ratio: Variance of the worst coefficient's noise, divided by what residuals of equal variance give.
        rounding: Of the number type that is trained in, relative.
    """

    batches: int
    largest: float
    distance: float
    noise_bias: float = 0.0
    noise_ratio: float = 1.0
    rounding: float = 0.0

    full_batch_epochs: ClassVar[int] = 10
    """Least epochs where a batch has all rows: a step of rate 1 arrives, and the others reduce the rounding."""

    def planned(self, most: int, close: float = CLOSE) -> Plan:
        """Returns the shortest plan that ends within `close` standard errors, or that of `most` epochs."""
        if self.batches == 1:
            # The first of n steps leaves the rounding of the start; all others multiply it by n / 4^(n-1).
            needed = math.log(max(4.0, 100 * self.rounding * self.distance), 4)
            needed += math.log(4 * needed, 4)
            epochs = max(self.full_batch_epochs, math.ceil(min(most, needed)))
            return self.of_length(min(epochs if self.distance else 1, most))
        above = min(4, most)
        while above < most and self.of_length(above).distance > close:
            above = min(2 * above, most)
        below = above // 2 if self.of_length(above).distance <= close else above - 1
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.of_length(middle).distance > close else (below, middle)
        return self.of_length(above)

    def of_length(self, epochs: int) -> Plan:
        """Returns the plan of a run of so many epochs: the lowest learning rate that still covers the distance."""
        if self.batches == 1:
            return Plan(epochs, self.largest, self.distance * max(0.0, 1 - self.largest) ** epochs)
        parts = max(1, min(self.batches, 64, 20_000 // epochs))  # of an epoch; a step may be longer than the forecast's
        rate = min(self.largest, 2 * math.log(max(self.distance, 1) / 0.05 + 2) / (epochs * self.batches))
        share = (1 + np.cos(np.pi * np.arange(epochs * parts) / (epochs * parts))) / 2
        pull = -np.log1p(-np.minimum(rate * share, 1 - 1e-9)) * self.batches / parts
        left = np.cumsum(pull[::-1])[::-1]
        weights = (-np.expm1(-pull) * np.exp(pull - left)).reshape(epochs, parts)
        noise = parts * float(np.square(weights - weights.mean(axis=1, keepdims=True)).sum())
        bias = self.noise_bias * rate * float((weights.ravel() * share).sum())
        drift = self.distance * math.exp(-float(left[0]))
        worst = 3  # standard deviations of the noise that the worst coefficient may have
        return Plan(epochs, rate, math.sqrt(drift**2 + bias**2 + worst**2 * self.noise_ratio * noise))


@dataclass(frozen=True)
class ExpectedDescent:
    """Expected progress of a descent whose settings are fixed, but not its length.

    Args:
        eigenvalues: λ of the Hessian, (P,).
        errors: θ - θ* at the start, along the eigenvectors: (P, K).
        learning_rate: Of SGD, before the schedule.
        momentum: As in `torch.optim.SGD`.
        schedule: Of the learning rate, over all steps.
        noise: Mean squared residual divided by the rows of a batch; 0 where every batch has all rows.
    """

    eigenvalues: Tensor
    errors: Tensor
    learning_rate: float
    momentum: float = 0.0
    schedule: Schedule = "constant"
    noise: float = 0.0

    def gap_after(self, steps: int) -> float:
        """Computes the expected J - J* at the end of a run of so many steps."""
        nodes = 400  # points of the run at which the sums over its steps are evaluated
        effective = self.learning_rate / (1 - self.momentum)
        pull = effective * self.eigenvalues.unsqueeze(1) * shares(self.schedule, nodes)  # λη, (P, nodes)
        # With momentum no error shrinks faster than by √momentum a step: beyond that it oscillates.
        shrinks = pull.clamp(max=-math.log(self.momentum) / 2) if self.momentum else pull
        steps_per_node = steps / nodes
        left = steps_per_node * (shrinks.flip(1).cumsum(1).flip(1) - shrinks / 2)
        start = (self.eigenvalues.unsqueeze(1) / 2 * self.errors.square()).sum(dim=1)
        drift = start * (-2 * (left[:, 0] + steps_per_node * shrinks[:, 0] / 2)).exp()
        spread = self.noise * steps_per_node * (pull * shrinks * (-2 * left).exp()).sum(dim=1)
        return float((drift + spread).sum())

    def steps_to(self, gap: float, most: int) -> int:
        """Returns the least number of steps after which J - J* is expected to be at most `gap`; at most `most`."""
        above = 1
        while above < most and self.gap_after(above) > gap:
            above *= 2
        below, above = above // 2, min(above, most)
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.gap_after(middle) > gap else (below, middle)
        return above
