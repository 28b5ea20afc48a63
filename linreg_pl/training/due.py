"""Finds the optimizer steps after which a run is validated or drawn, or ends."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from linreg_pl.errors import InputError

PARTS = 20
"""Of a run, after each of which something is done where no interval is given."""


class Interval:
    """So many epochs, or a twentieth of the run.

    Args:
        name: Of the setting.
        epochs: Its value; None for the twentieth.

    Raises:
        InputError: it is below 1.
    """

    def __init__(self, name: str, epochs: int | None) -> None:
        if epochs is not None and epochs < 1:
            raise InputError(f"{name} is {epochs}: give --{name} a whole number of epochs, 1 or more")
        self._epochs = epochs

    def epochs(self, trainer: Trainer) -> int:
        """Of this run."""
        return self._epochs or max(1, trainer.max_steps // int(trainer.num_training_batches) // PARTS)


def next_point(trainer: Trainer, step: int) -> int:
    """The curves' next point after `step`: every `log_every_n_steps`, and at the first epoch's end."""
    interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
    steps_per_epoch = int(trainer.num_training_batches)
    return steps_per_epoch if step < steps_per_epoch < interval else next_multiple(interval, step)


def has_point(trainer: Trainer) -> bool:
    """Whether the curves have a point at this step."""
    return trainer.global_step > 0 and next_point(trainer, trainer.global_step - 1) == trainer.global_step


class AtPoints(Callback):
    """A callback that looks at the run where the curves have a point, and nowhere between.

    Points may lie within an execution, which calls `on_point` itself. One at which a callback may stop the run is due,
    and its `next_due` says so.
    """

    def next_due(self, trainer: Trainer, step: int) -> float:
        """None: see the class."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Calls `on_point`, where a point falls on this step."""
        if has_point(trainer):
            self.on_point(trainer)

    def on_point(self, trainer: Trainer) -> None:
        """What is done there."""
        raise NotImplementedError


def next_validation(trainer: Trainer, step: int) -> float:
    """The step after `step` that the next validation follows."""
    interval = trainer.val_check_batch  # in steps: the command line sees to that
    return next_multiple(interval, step) if trainer.enable_validation and isinstance(interval, int) else math.inf


def is_validation_step(trainer: Trainer) -> bool:
    """Whether a validation is due after the step that has just ended."""
    return next_validation(trainer, trainer.global_step - 1) == trainer.global_step


def next_multiple(interval: int, step: int) -> int:
    """The first multiple of `interval` after `step`."""
    return (step // interval + 1) * interval


def next_due(trainer: Trainer, step: int) -> int:
    """The first step after `step` at whose end something has to happen: from there to here nobody needs to look.

    A callback says it with `next_due(trainer, step)`; one that says nothing and has a hook around steps gets each step,
    one with a hook around epochs each epoch's end. Lightning's `Timer` looks at the clock, whatever the step.
    """
    epoch_ends = next_multiple(int(trainer.num_training_batches), step)
    due = [math.inf if trainer.max_steps == -1 else trainer.max_steps, next_validation(trainer, step)]
    if trainer.max_epochs != -1:  # Lightning counts epochs too
        due.append(epoch_ends)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning sets it from afar
        if hasattr(callback, "next_due"):
            due.append(callback.next_due(trainer, step))
        elif has_hook(callback, "batch") and not isinstance(callback, Timer):
            due.append(step + 1)
        elif has_hook(callback, "epoch"):
            due.append(epoch_ends)
    return int(min(due))


def has_hook(callback: Callback, part: str) -> bool:
    """Whether a callback does something at each `part` of training: batch, or epoch."""
    names = {
        "batch": ("on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step", "on_before_zero_grad"),
        "epoch": ("on_train_epoch_start", "on_train_epoch_end"),
    }
    return any(getattr(type(callback), name) is not getattr(Callback, name) for name in names[part])


def validation_follows(trainer: Trainer) -> bool:
    """Whether the step that has just ended is followed by a validation: one is due, or the run was told to stop."""
    return trainer.enable_validation and (trainer.should_stop or is_validation_step(trainer))


def has_ended(trainer: Trainer) -> bool:
    """Whether the step that has just ended is the run's last: its length is reached, or a rule has stopped it."""
    return trainer.global_step == trainer.max_steps or stopped_by(trainer) is not None


def stopped_by(trainer: Trainer) -> str | None:
    """The rule that has stopped the run, and why; None while none has.

    A rule is a callback that sets `trainer.should_stop`, and says why in its `stopping_reason_message`, as Lightning's
    `EarlyStopping` does. `--trainer.max_time` is none: of the run that it stops, the rest is still to come.
    """
    if not trainer.should_stop:
        return None
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it from afar
    for callback in callbacks:
        reason = getattr(callback, "stopping_reason_message", None)
        if reason:
            rule = getattr(callback, "stopping_rule", type(callback).__name__)
            return f"{rule}: {reason.removesuffix(' Signaling Trainer to stop.')}"
    return None if any(isinstance(callback, Timer) for callback in callbacks) else "a callback"


def forget_stop(trainer: Trainer) -> None:
    """A run that goes on after a stop is not stopped, though its rule's state says so."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, "stopping_reason_message"):
            callback.stopping_reason_message = None
