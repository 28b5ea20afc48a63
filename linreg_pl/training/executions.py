"""Groups optimizer steps into executions, each taken by a single `training_step` of Lightning.

Lightning's work around a `training_step` costs more than an optimizer step. So an execution ends only where
something is shown, saved or validated, as with Keras's `steps_per_execution`. The results have the same bits as with
one step at a time.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.data.loaders import Batch, BatchSource
from linreg_pl.errors import InputError
from linreg_pl.training.due import next_due


class Executions:
    """Decides which steps make up an execution; `BatchDataModule.group_steps` hands it to the training loader.

    Args:
        steps_per_execution: Most steps in one training_step; auto continues until something is printed,
            validated or saved. A callback that looks at each step gets each.

    Raises:
        InputError: `steps_per_execution` is below 1.
    """

    max_seconds = 0.1
    """After this time an execution ends: the progress bar moves, and Lightning checks `--trainer.max_time`."""

    def __init__(self, steps_per_execution: int | Literal["auto"] = "auto") -> None:
        if steps_per_execution != "auto" and steps_per_execution < 1:
            raise InputError(
                f"steps_per_execution is {steps_per_execution}: give --steps_per_execution a whole number from 1 on,"
                " or auto"
            )
        self.steps_per_execution = steps_per_execution
        self.is_over = False

    def end(self) -> None:
        """Ends the execution under way after its current step; all later ones have one step."""
        self.is_over = True

    def execution(self, trainer: Trainer, data: BatchSource) -> "Execution | None":
        """Returns the execution that starts at the trainer's step; None if it has one step."""
        first = trainer.global_step
        end = next_due(trainer, first)
        if self.steps_per_execution != "auto":
            end = min(end, first + self.steps_per_execution)
        if self.is_over or end <= first + 1:
            return None
        return Execution(self, data, range(first, end), trainer.lightning_module.dtype)


class Execution:
    """Yields the batches of one execution, and fetches each only when the previous step is done.

    Iteration stops early when `Executions.end` is called, and when its time is up.
    """

    def __init__(self, executions: Executions, data: BatchSource, steps: range, dtype: torch.dtype | str) -> None:
        self._executions = executions
        self._data = data
        self._steps = steps
        self._dtype = dtype
        self._device: torch.device | None = None
        self.batch_size = data.batch_size

    def to(self, device: torch.device) -> "Execution":
        """Sets the device that batches are moved to as they are fetched.

        Lightning's `transfer_batch_to_device` calls `to` of whatever object a loader yields.
        """
        self._device = device
        return self

    @property
    def _move(self) -> Callable[[Tensor], Tensor]:
        if self._device is not None and self._device.type == "cuda":
            return partial(sent, device=self._device, dtype=self._dtype)
        return methodcaller("to", device=self._device, dtype=self._dtype)

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step once more."""
        return tuple(map(self._move, self._data.batch(*divmod(step, self._data.steps_per_epoch))))

    def __iter__(self) -> Iterator[Batch]:
        executions, batch, steps_per_epoch = self._executions, self._data.batch, self._data.steps_per_epoch
        move, end_time = self._move, time.monotonic() + executions.max_seconds
        for step in self._steps:
            yield tuple(map(move, batch(*divmod(step, steps_per_epoch))))
            if executions.is_over or time.monotonic() > end_time:
                return


def sent(tensor: Tensor, device: torch.device, dtype: Any) -> Tensor:
    """Returns a tensor on a device. The copy is made from pinned memory while the program goes on."""
    return (tensor.pin_memory() if tensor.is_cpu else tensor).to(device, dtype, non_blocking=True)
