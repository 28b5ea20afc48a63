"""Turns the settings of a run's length, in epochs or steps, into the number of steps that Lightning is given.

Lightning's count of epochs is off by one after some resumes: with `max_epochs=4` of 10 steps, two resumes at an epoch's
last batch train 50 steps. Its count of steps is right after every resume, so Lightning gets steps only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linreg_pl.callbacks.exact_answer import StopRule
from linreg_pl.core.run_length import CLOSE
from linreg_pl.core.statistics import statistics
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.exact.epochs_in_words import counted
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.planning import most_epochs


@dataclass(frozen=True)
class PlannedRun:
    """A planned length, the trainer's settings that it gives, and the distance at which the run is expected to end."""

    settings: dict[str, int]  # max_epochs and log_every_n_steps
    distance: float  # of the coefficients from the exact ones, in standard errors; infinite above the stable rates
    is_cut: bool  # by the limit on the length of a run
    has_standard_errors: bool  # for at least one coefficient
    has_l1: bool = False  # so that the loss is planned, as there are no standard errors

    def lines(self) -> list[str]:
        """Returns what the heading says about the length and why it is chosen."""
        length = counted(self.settings["max_epochs"], "epoch")
        if math.isinf(self.distance):
            return [f"length    {length}, a guess, as the learning rate is above the largest stable one"]
        if self.is_cut:
            missing = f"some coefficients may end {self.distance:.2g} standard errors from their exact values"
            missing = missing if self.has_standard_errors else "the run may end before it reaches the exact solution"
            return [
                f"length    {length}, the most that are chosen automatically",
                f"WARNING   {missing}; to end closer, give a larger --trainer.max_epochs",
            ]
        if self.has_standard_errors:
            return [
                f"length    {length}, so that coefficients end within {CLOSE:g} standard errors of their exact values"
            ]
        if self.has_l1:
            return [f"length    {length}, so that the loss ends close to the exact one"]
        return [f"length    {length}, so that the run ends at the exact solution, up to rounding"]


def planned_length(model: LinearRegression, data: BatchDataModule, trainer: Any) -> PlannedRun | None:
    """Plans the length from the exact solution and the forecast; None where `trainer` has a length."""
    if trainer.max_epochs is not None or trainer.max_steps != -1:
        return None
    if str(trainer.precision) in ("64", "64-true"):
        model.double()  # as in the run itself: W and b must start with the bits that a resumed run computes
    plan, problem = model.planned(data), model.problem(data)
    points = trainer.log_every_n_steps or max(1, min(50, plan.epochs * problem.steps_per_epoch // 100))
    settings = {"max_epochs": plan.epochs, "log_every_n_steps": points}
    is_cut = plan.epochs >= most_epochs(problem) and plan.distance > CLOSE
    known = statistics(problem.optimum).known_errors[problem.optimum.free]
    return PlannedRun(settings, plan.distance, is_cut, not bool(known.isnan().all()), model.l1 > 0)


def other_limits(trainer: Any, stop: StopRule) -> list[str]:
    """Returns the settings that may end a run, apart from its number of steps or epochs, as they are typed."""
    limits = [] if trainer.max_time is None else [f"--trainer.max_time {trainer.max_time}"]
    return limits + [f"{flag} {limit:g}" for flag, limit in stop.limits.values()]


def total_steps(trainer: Any, steps_per_epoch: int, done: int, run: Path | None, others: Sequence[str] = ()) -> int:
    """Returns the length of a run that has already taken `done` steps, under the `trainer` settings.

    Only with `others`, from `other_limits`, it may be -1, for a run without an end.

    Raises:
        InputError: nothing ends the run, or it is complete.
    """
    limits: dict[str, int] = {}
    if trainer.max_steps != -1:
        if trainer.max_steps < 1:
            raise InputError(f"max_steps is {trainer.max_steps}: give --trainer.max_steps 1 or more, or -1 for none")
        limits["max_steps"] = trainer.max_steps
    if trainer.max_epochs == -1 and not limits:
        if others:
            return -1
        raise InputError(
            "max_epochs is -1, and nothing else ends the run: give --trainer.max_time DD:HH:MM:SS, --stop.gap or"
            " --stop.grad_norm, or give --trainer.max_epochs 1 or more"
        )
    if trainer.max_epochs not in (None, -1) or not limits:
        if trainer.max_epochs is None or trainer.max_epochs < 1:
            raise InputError(f"max_epochs is {trainer.max_epochs}: give --trainer.max_epochs a whole number, 1 or more")
        limits["max_epochs"] = trainer.max_epochs * steps_per_epoch
    limit, total = min(limits.items(), key=lambda item: item[1])
    if done < total:
        return total
    taken, least = counted(done, "step"), done
    if limit == "max_epochs":
        least = done // steps_per_epoch
        taken = counted(least, "epoch") if done % steps_per_epoch == 0 else taken
    state = "is complete" if done == total else "is already longer"
    raise InputError(f"{run}: this run {state} ({taken}); to continue, pass --trainer.{limit} above {least}")


def validation_settings(trainer: Any, data: BatchDataModule) -> dict[str, Any]:
    """Returns Lightning's settings for a validation every so many steps, from those in epochs or parts of one."""
    if not data.holds_out_rows:
        return {"limit_val_batches": 0}
    interval = trainer.val_check_interval
    if interval is None or (isinstance(interval, float) and interval == 1):
        steps = data.steps_per_epoch * (trainer.check_val_every_n_epoch or 1)
    else:
        steps = max(1, int(interval * data.steps_per_epoch)) if isinstance(interval, float) else interval
    return {"val_check_interval": steps, "check_val_every_n_epoch": None}
