"""Takes the steps of one execution.

On a device, it looks for divergence once for many of them, as reading a number waits for all of the device's work. If
one of them has diverged, all are undone, and taken again with a look at each.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from linreg_pl.data.loaders import Batch
from linreg_pl.training.due import PointsWithin
from linreg_pl.training.executions import Execution
from linreg_pl.training.late_check import LateCheck
from linreg_pl.training.lightning_counters import count_batches, counted_step, uncount_steps


class Descending(Protocol):
    """The part of a model that takes steps."""

    W: Tensor
    b: Tensor
    tail_averaging: float
    mean_theta: Tensor
    num_averaged: Tensor
    late_check: LateCheck | None
    """Takes the steps of an execution on trust, until it looks at them; None where each step is looked at."""

    @property
    def trainer(self) -> Trainer:
        """Returns the trainer of the run."""

    def descend(self, batch: Batch, update: Callable[[], object], schedulers: Sequence[Any]) -> None:
        """Takes one step."""

    def are_in_range(self, dtype: torch.dtype, norm_of_W: Any, norm_of_b: Any, squares: Any) -> bool:
        """Tests the sizes of a step."""


def execute(module: Descending, execution: Execution, optimizer: LightningOptimizer, schedulers: Sequence[Any]) -> None:
    """Takes a step for each batch. Needs `torch.no_grad`.

    Raises:
        Diverged: a number exceeds float32; W and b keep their values from before that step.
    """
    trainer = module.trainer
    batches, first, points = iter(execution), trainer.global_step, PointsWithin(trainer)
    update = counted_step(trainer, optimizer.optimizer)
    if looks_late(module) and not schedulers:  # a scheduler's step can't be undone
        averages = [module.mean_theta, module.num_averaged] if module.tail_averaging else []
        module.late_check = LateCheck([module.W, module.b, *averages], optimizer.optimizer)
    try:
        module.descend(next(batches), optimizer.step, schedulers)  # with Lightning's hooks around the step
        for step, batch in enumerate(batches, first + 1):
            if step == points.next_step:
                if module.late_check is not None:
                    look_back(module, module.late_check, execution, update)
                points.draw(step)
            module.descend(batch, update, schedulers)
        if module.late_check is not None:
            look_back(module, module.late_check, execution, update)
    finally:
        module.late_check = None
    count_batches(trainer, trainer.global_step - first - 1)


def looks_late(module: Descending) -> bool:
    """Returns whether reading a number of the model waits for a device."""
    return not module.W.is_cpu


def look_back(module: Descending, check: LateCheck, execution: Execution, update: Callable[[], object]) -> None:
    """Checks the steps that were taken on trust; takes them again, with a look at each, if one has diverged.

    Raises:
        Diverged: one has.
    """
    if not module.are_in_range(module.W.dtype, *check.largest()):
        check.undo()
        uncount_steps(module.trainer, check.num_steps)
        module.late_check, first = None, module.trainer.global_step
        for step in range(first, first + check.num_steps):
            module.descend(execution.batch(step), update, [])
        module.late_check = check
    check.begin()
