"""How many steps does mini-batch descent need until the objective is near enough to its smallest value?

Along an eigenvector of the Hessian with eigenvalue λ a slow step shrinks the error e to (1 - λη) e, where η is the
learning rate in force by 1 - momentum (Polyak 1964). Of batches of B rows each step also adds noise: where residuals
are alike in all rows its variance is η² · 2 mse λ / B. With `left(t)`, the sum of λη over the steps from t to the end,
the gap J - J* at the end is expected to be

    Σ λ/2 · e² · exp(-2 left(0))  +  mse/B · Σ Σ_t (λη)² · exp(-2 left(t))

over all directions. It overestimates the noise: batches of one epoch have no row in common.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from linreg_pl.core.learning_rate_schedules import Schedule, shares

NODES = 400
"""Points of the run at which the sums over its steps are taken."""


@dataclass(frozen=True)
class ExpectedDescent:
    """Descent of which all is settled but its length.

    Args:
        eigenvalues: λ of the Hessian, (P,).
        errors: θ - θ* at the start, along the eigenvectors: (P, K).
        learning_rate: Of SGD, before the schedule.
        momentum: As in `torch.optim.SGD`.
        schedule: Of the learning rate, over all steps.
        noise: Mean squared residual by the rows of a batch; 0 where every batch has all rows.
    """

    eigenvalues: Tensor
    errors: Tensor
    learning_rate: float
    momentum: float = 0.0
    schedule: Schedule = "constant"
    noise: float = 0.0

    def gap_after(self, steps: int) -> float:
        """J - J* at the end of a run of so many steps."""
        effective = self.learning_rate / (1 - self.momentum)
        pull = effective * self.eigenvalues.unsqueeze(1) * shares(self.schedule, NODES)  # λη, (P, NODES)
        # With momentum nothing shrinks faster than by its root at a step: from there on it swings.
        shrinks = pull.clamp(max=-math.log(self.momentum) / 2) if self.momentum else pull
        each = steps / NODES
        left = each * (shrinks.flip(1).cumsum(1).flip(1) - shrinks / 2)
        start = (self.eigenvalues.unsqueeze(1) / 2 * self.errors.square()).sum(dim=1)
        drift = start * (-2 * (left[:, 0] + each * shrinks[:, 0] / 2)).exp()
        spread = self.noise * each * (pull * shrinks * (-2 * left).exp()).sum(dim=1)
        return float((drift + spread).sum())

    def steps_to(self, gap: float, most: int) -> int:
        """The least number of steps after which J - J* is expected to be `gap` or below; `most` if it takes more."""
        above = 1
        while above < most and self.gap_after(above) > gap:
            above *= 2
        below, above = above // 2, min(above, most)
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (middle, above) if self.gap_after(middle) > gap else (below, middle)
        return above
