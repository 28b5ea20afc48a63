"""How many steps of SGD does one `training_step` take?

Between two steps of a run there is most often nothing to show, to save or to look at, and Lightning's way from one
batch to the next costs more than the step. So one `training_step` takes all steps up to the next at which something is
due: Keras's `steps_per_execution`. Where the curves have a point between, it lets them draw it. The arithmetic is that
of one step at a time, to the bit.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from typing import Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.loaders import Batch
from linreg_pl.errors import InputError
from linreg_pl.training.due import AtPoints, next_due, next_point

SECONDS_AT_MOST = 0.1
"""From one execution to the next: so often the bar moves, and `--trainer.max_time` is looked at."""


class Executions:
    """Gives a `training_step` the batches that follow its own, up to the next step at which something is due.

    Args:
        steps_per_execution: Steps in one training_step of Lightning at most; auto takes as many as there are before
            something is to be printed, validated or saved. A callback that looks at each step gets each.

    Raises:
        InputError: it is a number below 1.
    """

    def __init__(self, steps_per_execution: int | Literal["auto"] = "auto") -> None:
        if steps_per_execution != "auto" and steps_per_execution < 1:
            raise InputError(
                f"steps_per_execution is {steps_per_execution}: give --steps_per_execution a whole number from 1 on,"
                " or auto"
            )
        self.steps_per_execution = steps_per_execution
        self._is_over = False

    def end(self) -> None:
        """Lets the step under way be the execution's last, and each from here on an execution."""
        self._is_over = True

    def further_batches(self, module: LightningModule, like: Tensor) -> Iterator[Batch]:
        """The batches after the one that has just been trained on, on the device and of the type of `like`.

        Counts each as an optimizer step when the next one is asked for, and as a batch of Lightning's at the end.
        """
        trainer = module.trainer
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it from afar
        assert isinstance(data, BatchDataModule)
        first, end = trainer.global_step, next_due(trainer, trainer.global_step - 1)
        if self.steps_per_execution != "auto":
            end = min(end, first - 1 + self.steps_per_execution)
        moved, steps_per_epoch = methodcaller("to", like), data.steps_per_epoch
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it from afar
        looking = [callback for callback in callbacks if isinstance(callback, AtPoints)]
        point = next_point(trainer, first - 1) if looking else math.inf
        until = time.monotonic() + SECONDS_AT_MOST
        steps_taken = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress  # behind `global_step`
        for step in range(first, end):
            if self._is_over or time.monotonic() > until:
                break
            if step == point:
                for callback in looking:
                    callback.on_point(trainer)
                point = next_point(trainer, step)
            yield tuple(map(moved, data.batch(*divmod(step, steps_per_epoch))))
            steps_taken.increment_by(1)
        count_batches(trainer, trainer.global_step - first)


def count_batches(trainer: Trainer, steps: int) -> None:
    """Moves Lightning's counters to where they would be if it had handed out the batches of the last `steps` steps."""
    fit, batches_an_epoch = trainer.fit_loop, int(trainer.num_training_batches)
    loop, fetcher = fit.epoch_loop, fit._data_fetcher
    assert fetcher is not None
    newest = trainer.global_step - 1
    epochs = newest // batches_an_epoch - (newest - steps) // batches_an_epoch  # that have begun since
    loop._batches_that_stepped += steps
    loop.batch_progress.total.increment_by(steps)
    loop.batch_progress.current.increment_by(steps - epochs * batches_an_epoch)
    loop.batch_progress.is_last_batch = fetcher.done = (newest + 1) % batches_an_epoch == 0
    fetcher.fetched = loop.batch_progress.current.ready
    if epochs > 0:
        fit.epoch_progress.increment_by(epochs)
        loop.val_loop.batch_progress.total.reset()


def bare_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """The optimizer's step without what torch wraps around it: hooks, and the profiler's record that costs as much."""
    return partial(inspect.unwrap(type(optimizer).step), optimizer)
