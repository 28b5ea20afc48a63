"""How many steps does mini-batch descent need until the objective is near enough to its smallest value?

Along an eigenvector of the Hessian with eigenvalue λ a slow step shrinks the error e to (1 - λη) e, where η is the
learning rate in force by 1 - momentum (Polyak 1964). Of batches of B rows each step also adds noise: where residuals
are alike in all rows its variance is η² · 2 mse λ / B. With `left(t)`, the sum of λη over the steps from t to the end,
the gap J - J* at the end is expected to be

    Σ λ/2 · e² · exp(-2 left(0))  +  mse/B · Σ Σ_t (λη)² · exp(-2 left(t))

over all directions. It overestimates the noise: batches of one epoch have no row in common.
"""

import math

from torch import Tensor

from linreg_pl.core.schedules import Schedule, shares

NODES = 400
"""Points of the run at which the sums over its steps are taken."""


def steps_to_gap(
    target: float,
    eigenvalues: Tensor,
    errors: Tensor,
    learning_rate: float,
    momentum: float = 0.0,
    schedule: Schedule = "constant",
    noise: float = 0.0,
    most: int = 1_000_000,
) -> int:
    """The least number of steps after which the gap is expected to be `target` or below; `most` if it takes more.

    Args:
        target: Of J - J*.
        eigenvalues: λ of the Hessian, (P,).
        errors: θ - θ* at the start, along the eigenvectors: (P, K).
        learning_rate: Of SGD, before the schedule.
        momentum: As in `torch.optim.SGD`.
        schedule: Of the learning rate, over the steps that are sought.
        noise: Mean squared residual by the rows of a batch; 0 where every batch has all rows.
        most: Steps at most.
    """
    above = 1
    while above < most and expected_gap(above, eigenvalues, errors, learning_rate, momentum, schedule, noise) > target:
        above *= 2
    below, above = above // 2, min(above, most)
    while above - below > 1:
        middle = (below + above) // 2
        far = expected_gap(middle, eigenvalues, errors, learning_rate, momentum, schedule, noise) > target
        below, above = (middle, above) if far else (below, middle)
    return above


def expected_gap(
    steps: int,
    eigenvalues: Tensor,
    errors: Tensor,
    learning_rate: float,
    momentum: float = 0.0,
    schedule: Schedule = "constant",
    noise: float = 0.0,
) -> float:
    """The gap at the end of a run of so many steps; see `steps_to_gap`."""
    pull = learning_rate / (1 - momentum) * eigenvalues.unsqueeze(1) * shares(schedule, NODES)  # λη, (P, NODES)
    # With momentum nothing shrinks faster than by its root at a step: from there on it swings.
    shrinks = pull.clamp(max=-math.log(momentum) / 2) if momentum else pull
    each = steps / NODES
    left = each * (shrinks.flip(1).cumsum(1).flip(1) - shrinks / 2)
    start = (eigenvalues.unsqueeze(1) / 2 * errors.square()).sum(dim=1)
    drift = start * (-2 * (left[:, 0] + each * shrinks[:, 0] / 2)).exp()
    spread = noise * each * (pull * shrinks * (-2 * left).exp()).sum(dim=1)
    return float((drift + spread).sum())
