"""Decides whether a run has ended, and which rule stopped it."""

from typing import Protocol, runtime_checkable

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer

from linreg_pl.training.due import has_end
from linreg_pl.training.progress import Progress


@runtime_checkable
class StoppingRule(Protocol):
    """A callback that sets `trainer.should_stop` and gives its reason, as Lightning's `EarlyStopping` does."""

    stopping_reason_message: str | None


@runtime_checkable
class NamedStoppingRule(StoppingRule, Protocol):
    """A rule that is not known by its class, but by the flag that sets it."""

    stopping_rule: str


def has_ended(trainer: Trainer) -> bool:
    """Returns whether the newest step is the run's last: the run has its full length, or a rule stopped it."""
    return trainer.global_step == trainer.max_steps or stopped_by(trainer) is not None


def stopped_by(trainer: Trainer) -> str | None:
    """Returns the rule that stopped the run, and why; None while no rule has.

    `--trainer.max_time` is a rule only for a run without an end. Otherwise the rest of the run is still to come.
    """
    if not trainer.should_stop:
        return None
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it with setattr
    for callback in callbacks:
        if isinstance(callback, StoppingRule) and callback.stopping_reason_message:
            name = callback.stopping_rule if isinstance(callback, NamedStoppingRule) else type(callback).__name__
            return f"{name}: {callback.stopping_reason_message.removesuffix(' Signaling Trainer to stop.')}"
    if not any(isinstance(callback, Timer) for callback in callbacks):
        return "a callback"
    return None if has_end(trainer) else Progress.out_of_time


def forget_stop(trainer: Trainer) -> None:
    """Clears the reasons that rules have from an earlier stop, since the run goes on."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StoppingRule):
            callback.stopping_reason_message = None
