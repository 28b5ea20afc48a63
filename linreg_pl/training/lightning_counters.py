"""Keeps Lightning's counters right when one `training_step` takes several optimizer steps.

Lightning counts one step and one batch for each `training_step`. This file counts the further ones, and no other file
uses the private counters of Lightning's loops. A run leaves the same counters as with one step a `training_step`.
"""

import inspect
from collections.abc import Callable
from functools import partial

import torch
from lightning.pytorch import Trainer


def counted_step(trainer: Trainer, optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """Returns a function that takes the optimizer's step and adds 1 to `trainer.global_step`.

    It skips what torch wraps around a step: hooks, and the profiler's record, which costs as much as the step.
    """
    step = partial(inspect.unwrap(type(optimizer).step), optimizer)
    steps_taken = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress  # behind `global_step`
    count_in_total, count_in_epoch = steps_taken.total.increment_by, steps_taken.current.increment_by

    def step_and_count() -> None:
        step()
        count_in_total(1)
        count_in_epoch(1)

    return step_and_count


def uncount_steps(trainer: Trainer, steps: int) -> None:
    """Takes the last `steps` back from `trainer.global_step`."""
    trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.increment_by(-steps)


def count_batches(trainer: Trainer, steps: int) -> None:
    """Moves Lightning's other counters on, as if it had drawn a batch from the loader for each of the last `steps`."""
    fit, batches_per_epoch = trainer.fit_loop, int(trainer.num_training_batches)
    loop, fetcher = fit.epoch_loop, fit._data_fetcher
    assert fetcher is not None
    newest = trainer.global_step - 1
    begun_epochs = newest // batches_per_epoch - (newest - steps) // batches_per_epoch
    loop._batches_that_stepped += steps
    loop.batch_progress.total.increment_by(steps)
    loop.batch_progress.current.increment_by(steps - begun_epochs * batches_per_epoch)
    loop.batch_progress.is_last_batch = fetcher.done = (newest + 1) % batches_per_epoch == 0
    fetcher.fetched = loop.batch_progress.current.ready
    if begun_epochs > 0:
        fit.epoch_progress.increment_by(begun_epochs)
        loop.val_loop.batch_progress.total.reset()
