"""Follows gradient descent with l1 on all rows: its soft thresholds leave no formula for many steps at once.

    v ← momentum · v + dJ/dV      V ← soft(V - learning_rate · v, learning_rate · l1)

With momentum, v also takes what the threshold takes away, divided by the learning rate: it stays the last change of V.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.elastic_net import L1Term


def proximal_course(
    factor: Tensor,
    term: L1Term,
    errors: Tensor,
    learning_rate_at: Callable[[float], float],
    momentum: float,
    every_n_steps: int,
    count: int,
    most_work: float = 1e10,
) -> Tensor:
    """Computes the errors θ - θ* at the start, and `count` times after `every_n_steps` steps each.

    Args:
        factor: T (M, P) for θ; its last D columns are those of V.
        term: The l1 term, of V (D, K).
        errors: θ - θ* at the start, (P, K).
        learning_rate_at: Returns the learning rate after so many steps.
        momentum: As in `torch.optim.SGD`.
        every_n_steps: Steps from one value to the next.
        count: Number of values after the first.
        most_work: Limit of the number of steps times P (P K + 1000); the last values are left out beyond it.

    Returns:
        (1 + count, P, K) or fewer; an error too large for float64 is 1e300.
    """
    hessian, num_free = (2 * factor.T @ factor).numpy(), errors.shape[0] - len(term.minimum)
    minimum, gradient = np.zeros(errors.shape), np.zeros(errors.shape)
    minimum[num_free:], gradient[num_free:] = term.minimum.numpy(), -term.pulls.numpy()
    theta, velocity = minimum + errors.numpy(), np.zeros(errors.shape)
    count = min(count, int(most_work / (errors.numel() * len(errors) + 1000 * len(errors)) / every_n_steps))
    recorded = [theta]
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(count * every_n_steps):
            rate = learning_rate_at(step)
            velocity = momentum * velocity + (hessian @ (theta - minimum) + gradient)
            theta = theta - rate * velocity
            taken = np.clip(theta[num_free:], -rate * term.l1, rate * term.l1)
            theta[num_free:] -= taken
            velocity[num_free:] += taken / rate
            if (step + 1) % every_n_steps == 0:
                recorded.append(theta)
    finite = np.nan_to_num(np.stack(recorded) - minimum, nan=1e300, posinf=1e300, neginf=-1e300)
    return torch.from_numpy(finite)
