"""Turns the length of a run, and the interval of its validations, from epochs into optimizer steps.

Lightning's count of epochs is off by one after some resumes: with `max_epochs=4` of 10 steps, two resumes at an epoch's
last batch train 50 steps. Its count of steps is right after every resume, so Lightning gets steps only.
"""

from pathlib import Path
from typing import Any

from linreg_pl.errors import InputError


def total_steps(trainer: Any, steps_per_epoch: int, done: int, run: Path | None) -> int:
    """Returns the run's length under the `trainer` settings; `done` steps are taken already.

    Raises:
        InputError: the settings give no length, or the run is complete.
    """
    limits: dict[str, int] = {}
    if trainer.max_steps != -1:
        if trainer.max_steps < 1:
            raise InputError(f"max_steps is {trainer.max_steps}: give --trainer.max_steps 1 or more, or -1 for none")
        limits["--trainer.max_steps"] = trainer.max_steps
    if trainer.max_epochs not in (None, -1) or not limits:
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise InputError(f"max_epochs is {trainer.max_epochs}: give --trainer.max_epochs a whole number, 1 or more")
        limits["--trainer.max_epochs"] = trainer.max_epochs * steps_per_epoch
    limit, total = min(limits.items(), key=lambda item: item[1])
    if done >= total:
        raise InputError(
            f"{run}: nothing is left to do: it has taken {done} steps ({done // steps_per_epoch} epochs), and {limit}"
            f" asks for {total}; to train on, give a larger number"
        )
    return total


def validation(trainer: Any, steps_per_epoch: int) -> dict[str, Any]:
    """Returns Lightning's settings for a validation every so many steps, from settings in epochs or parts of one."""
    interval = trainer.val_check_interval
    if interval is None or (isinstance(interval, float) and interval == 1):
        steps = steps_per_epoch * (trainer.check_val_every_n_epoch or 1)
    else:
        steps = max(1, int(interval * steps_per_epoch)) if isinstance(interval, float) else interval
    return {"val_check_interval": steps, "check_val_every_n_epoch": None}
