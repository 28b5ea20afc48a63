"""Gives the share of the learning rate that is in force at each step.

    constant    1
    cosine      (1 + cos πu) / 2, from 1 down to 0 (Loshchilov and Hutter, "SGDR", 2017, without restarts)
    one_cycle   half a cosine up from 1/25 to 1 until u = 0.3, another down to 1/250000 (Smith and Topin, "Super-
                convergence", 2019, in the shape of `torch.optim.lr_scheduler.OneCycleLR`)

u is the progress: the share of the run's steps taken so far. A schedule depends on nothing else, so it has no state to
save.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch

Schedule = Literal["constant", "cosine", "one_cycle"]


def share(schedule: Schedule, progress: float) -> float:
    """Returns the share of the learning rate in force at a progress from 0 to 1."""
    if schedule == "cosine":
        return _half_cosine(1.0, 0.0, progress)
    if schedule == "one_cycle":
        warm_up, start, end = 0.3, 1 / 25, 1 / 250_000
        if progress < warm_up:
            return _half_cosine(start, 1.0, progress / warm_up)
        return _half_cosine(1.0, end, (progress - warm_up) / (1 - warm_up))
    return 1.0


def shares(schedule: Schedule, count: int) -> torch.Tensor:
    """Returns the shares in the middle of `count` equal parts of a run, (count,), float64."""
    return torch.tensor([share(schedule, (part + 0.5) / count) for part in range(count)], dtype=torch.float64)


@dataclass(frozen=True)
class ScheduledRate:
    """The learning rate at every step of a run of `total_steps` steps."""

    learning_rate: float
    schedule: Schedule
    total_steps: int

    def at(self, step: float) -> float:
        """Returns the learning rate after `step` steps, which need not be whole."""
        return self.learning_rate * share(self.schedule, step / self.total_steps)


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
