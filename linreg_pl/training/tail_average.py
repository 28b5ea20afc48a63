"""Averages W and b over the last steps of a run (Polyak-Ruppert averaging of its tail).

The mean after n steps follows from the one before: mean ← mean + (θ - mean) / n, with θ (1+D, K): b above W.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TailAverage:
    """The rule of an average over the last `share` of `total_steps` steps; the tensors belong to the module."""

    share: float
    total_steps: int
    started_at: int = 0
    """The step of a run that goes on without the average of its tail so far."""

    @property
    def first_step(self) -> int:
        """Returns the number of steps before the tail."""
        return self.total_steps - round(self.share * self.total_steps)

    def num_averaged(self, step: int) -> int:
        """Returns the number of steps in the average after `step`."""
        return max(0, step - self.first_step)

    def include(self, step: int, W: Tensor, b: Tensor, mean_theta: Tensor, num_averaged: Tensor) -> None:
        """Adds W (D, K) and b (K,) after `step` to the mean, once the tail has begun; the last step sets both to it.

        Changes all four tensors in place, so it needs `torch.no_grad`.
        """
        before = max(self.first_step, self.started_at)
        if step <= before:
            return
        num_averaged += 1
        mean_theta.lerp_(torch.cat([b.unsqueeze(0), W]), 1 / (step - before))  # reading a tensor waits for its device
        if step == self.total_steps:
            b.copy_(mean_theta[0])
            W.copy_(mean_theta[1:])
