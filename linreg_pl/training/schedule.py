"""How long is a run, when is it validated, and when is a point drawn, in optimizer steps?

Lightning's count of epochs is off by one after some resumes: with `max_epochs=4` of 10 steps, two resumes at an epoch's
last batch train 50 steps. Its count of steps is right after any. So epochs are turned into steps before it sees them.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from linreg_pl.errors import InputError


def total_steps(trainer: Any, steps_per_epoch: int, done: int, run: Path | None) -> int:
    """The length under the `trainer` settings of a run that has `done` steps behind it.

    Raises:
        InputError: the run has no length, or nothing of it is left.
    """
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise InputError(f"max_epochs is {trainer.max_epochs}: give --trainer.max_epochs a whole number, 1 or more")
    total: int = trainer.max_epochs * steps_per_epoch
    limit = "--trainer.max_epochs"
    if trainer.max_steps != -1:
        if trainer.max_steps < 1:
            raise InputError(f"max_steps is {trainer.max_steps}: give --trainer.max_steps 1 or more, or -1 for none")
        if trainer.max_steps < total:
            total, limit = trainer.max_steps, "--trainer.max_steps"
    if done >= total:
        raise InputError(
            f"{run}: nothing is left to do, it has taken {done} of {total} steps ({done // steps_per_epoch} epochs);"
            f" to train on, give {limit} a larger number"
        )
    return total


def validation(trainer: Any, steps_per_epoch: int) -> dict[str, Any]:
    """Lightning's settings for a validation every so many steps, from those in epochs or parts of one."""
    interval = trainer.val_check_interval
    if interval is None or (isinstance(interval, float) and interval == 1):
        steps = steps_per_epoch * (trainer.check_val_every_n_epoch or 1)
    else:
        steps = max(1, int(interval * steps_per_epoch)) if isinstance(interval, float) else interval
    return {"val_check_interval": steps, "check_val_every_n_epoch": None}


def has_point(trainer: Trainer) -> bool:
    """Whether the curves have a point at this step: every `log_every_n_steps`, and at the first epoch's end."""
    step, interval = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
    return step > 0 and (step % interval == 0 or step == trainer.num_training_batches < interval)
