"""Finds the optimizer steps after which a run is validated or drawn, or ends."""

import math
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer

from linreg_pl.errors import InputError


@runtime_checkable
class ActsWhenDue(Protocol):
    """A callback that acts only after certain steps, or whenever an execution happens to end.

    Other callbacks get control after every step if they override a step hook. With an epoch hook, they get it after
    every epoch.
    """

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns the first step after `step` at which the callback needs control; infinity if it can wait."""


def has_end(trainer: Trainer) -> bool:
    """Returns whether the run has a number of steps or epochs at which it ends."""
    return trainer.max_steps != -1 or trainer.max_epochs != -1


def may_be_stopped(trainer: Trainer) -> bool:
    """Returns whether a callback may end the run: the timer of `max_time`, or a rule, which gives its reason."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets the attribute from elsewhere
    rules = [callback for callback in callbacks if hasattr(callback, "stopping_reason_message")]
    return any(isinstance(callback, Timer) for callback in callbacks) or any(
        getattr(rule, "may_stop", True) for rule in rules
    )


class Interval:
    """A number of epochs, by default a twentieth of the run.

    In a run without an end, something is due after 1, 2, 3 … 10, 20, 30 … 100, 200 … epochs by default.

    Args:
        name: Name of the setting.
        epochs: Its value; None for the default.

    Raises:
        InputError: `epochs` is below 1.
    """

    num_intervals = 20
    """Number of intervals in a run by default."""

    def __init__(self, name: str, epochs: int | None) -> None:
        if epochs is not None and epochs < 1:
            raise InputError(f"{name} is {epochs}: give --{name} a whole number of epochs, 1 or more")
        self._epochs = epochs

    def next_due(self, trainer: Trainer, epochs: int) -> int:
        """Returns the first number of epochs after `epochs` at which something is due."""
        if self._epochs is not None:
            interval = self._epochs
        elif has_end(trainer):
            interval = max(1, trainer.max_steps // int(trainer.num_training_batches) // self.num_intervals)
        else:
            interval = 10 ** (len(str(max(1, epochs))) - 1)
        return next_multiple(interval, epochs)


class AtPoints(Callback):
    """A callback that acts at the points of the curves only.

    A point may fall within an execution, which then calls `on_point` itself. A subclass that may stop the run at a
    point overrides `next_due`, so that executions end at points.
    """

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns infinity: no execution has to end for this callback."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Calls `on_point` where a point falls on the step that has just ended."""
        if has_point(trainer):
            self.on_point(trainer)

    def on_point(self, trainer: Trainer) -> None:
        """Acts at the point after the newest step."""
        raise NotImplementedError


class PointsWithin:
    """Draws the points of the curves that fall within one execution, after any step but its last.

    `next_step` is the step of the next point; infinity if no callback draws points.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets the attribute from elsewhere
        self._drawing = [callback for callback in callbacks if isinstance(callback, AtPoints)]
        self.next_step: float = next_point(trainer, trainer.global_step) if self._drawing else math.inf

    def draw(self, step: int) -> None:
        """Lets every callback act at `step`, the newest, and finds the next point."""
        for callback in self._drawing:
            callback.on_point(self._trainer)
        self.next_step = next_point(self._trainer, step)


def next_point(trainer: Trainer, step: int) -> float:
    """Returns the step of the next point after `step`: every `log_every_n_steps`, and the first epoch's end.

    It is infinite if the interval is 0, which turns the curves off.
    """
    interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
    if interval == 0:
        return math.inf
    steps_per_epoch = trainer.num_training_batches  # infinite if the loader has no length
    return int(steps_per_epoch) if step < steps_per_epoch < interval else next_multiple(interval, step)


def has_point(trainer: Trainer) -> bool:
    """Returns whether the curves have a point at the newest step."""
    return trainer.global_step > 0 and next_point(trainer, trainer.global_step - 1) == trainer.global_step


def next_validation(trainer: Trainer, step: int) -> float:
    """Returns the first step after `step` that a validation follows; infinity if there is none."""
    interval = trainer.val_check_batch  # in steps: the command line converts the settings
    return next_multiple(interval, step) if trainer.enable_validation and isinstance(interval, int) else math.inf


def is_validation_step(trainer: Trainer) -> bool:
    """Returns whether a validation is due after the newest step."""
    return next_validation(trainer, trainer.global_step - 1) == trainer.global_step


def next_multiple(interval: int, step: int) -> int:
    """Returns the first multiple of `interval` after `step`."""
    return (step // interval + 1) * interval


def next_due(trainer: Trainer, step: int) -> int:
    """Returns the first step after `step` at whose end Lightning or a callback needs control.

    Ignores the step hook of Lightning's `Timer`, which only reads the clock, at whatever step.
    """
    step_hooks = ("on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step", "on_before_zero_grad")
    epoch_end = next_multiple(int(trainer.num_training_batches), step)
    due = [math.inf if trainer.max_steps == -1 else trainer.max_steps, next_validation(trainer, step)]
    if trainer.max_epochs != -1:  # Lightning counts epochs too
        due.append(epoch_end)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ActsWhenDue):
            due.append(callback.next_due(trainer, step))
        elif overrides(callback, *step_hooks) and not isinstance(callback, Timer):
            due.append(step + 1)
        elif overrides(callback, "on_train_epoch_start", "on_train_epoch_end"):
            due.append(epoch_end)
    return int(min(due))


def overrides(callback: Callback, *hooks: str) -> bool:
    """Returns whether a callback overrides one of these hooks."""
    return any(getattr(type(callback), hook) is not getattr(Callback, hook) for hook in hooks)


def validation_follows(trainer: Trainer) -> bool:
    """Returns whether Lightning validates after the newest step: a validation is due, or the run is asked to stop."""
    return trainer.enable_validation and (trainer.should_stop or is_validation_step(trainer))
