"""Predicts how many steps mini-batch descent needs until the objective is close enough to its minimum.

Along an eigenvector of the Hessian with eigenvalue λ, a step shrinks the error e to (1 - λη) e, where η is the learning
rate in force divided by 1 - momentum (Polyak 1964). With batches of B rows each step also adds noise, of variance
η² · 2 mse λ / B if residuals have the same variance in all rows. With `left(t)`, the sum of λη over the steps from t to
the end, the expected gap J - J* at the end is

    Σ λ/2 · e² · exp(-2 left(0))  +  mse/B · Σ Σ_t (λη)² · exp(-2 left(t))

summed over all directions. It overestimates the noise: batches of one epoch have no row in common.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from linreg_pl.core.learning_rate_schedules import Schedule, shares


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
