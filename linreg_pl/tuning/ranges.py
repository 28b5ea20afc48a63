"""Lists the settings that a study varies, and all combinations of their values."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from linreg_pl.core.learning_rate_schedules import Schedule
from linreg_pl.errors import InputError


@dataclass(frozen=True)
class Varied:
    """A setting that a study can vary."""

    flag: str  # of `linreg fit`
    values: str  # that are possible, in words
    example: str  # of a list, as it is typed
    is_possible: Callable[[Any], bool]


VARIED = {
    "learning_rate": Varied(
        "--model.learning_rate", "finite numbers above 0", "'[1e-10, 1]'", lambda rate: 0 < rate < math.inf
    ),
    "l2": Varied("--model.l2", "finite numbers, 0 or more", "'[1e-4, 10]'", lambda l2: 0 <= l2 < math.inf),
    "momentum": Varied("--model.momentum", "numbers from 0 up to below 1", "'[0, 0.9]'", lambda m: 0 <= m < 1),
    "schedule": Varied("--model.schedule", "schedules", "'[constant, cosine]'", lambda _: True),
    "tail_averaging": Varied("--model.tail_averaging", "numbers from 0 to 1", "'[0, 0.5]'", lambda t: 0 <= t <= 1),
    "batch_size": Varied("--data.batch_size", "whole numbers from 1 on", "'[5, 10]'", lambda size: size >= 1),
    "max_epochs": Varied("--trainer.max_epochs", "whole numbers from 1 on", "'[5, 10]'", lambda epochs: epochs >= 1),
}
"""The settings by name, in the order of the tables' columns."""


class TuneSettings:
    """What a study varies, and how many trials it runs.

    Args:
        learning_rate: Three or more, or the ends of a range: five a power of ten.
        l2: Factors of the penalty, in the same way.
        momentum: List of momentum coefficients.
        schedule: List of schedules.
        tail_averaging: List of fractions to average over.
        batch_size: List of batch sizes.
        max_epochs: List of lengths, in epochs.
        trials: Trials to run, those predicted best.
        workers: Trials to run at the same time.
        diverging: Run those predicted to diverge, too.

    Raises:
        InputError: a setting can't be used.
    """

    most_combinations = 2000
    """More would take minutes to predict."""

    def __init__(
        self,
        learning_rate: list[float] | None = None,
        l2: list[float] | None = None,
        momentum: list[float] | None = None,
        schedule: list[Schedule] | None = None,
        tail_averaging: list[float] | None = None,
        batch_size: list[int] | None = None,
        max_epochs: list[int] | None = None,
        trials: int = 5,
        workers: int = 1,
        diverging: bool = False,
    ) -> None:
        for name, number in (("trials", trials), ("workers", workers)):
            if number < 1:
                raise InputError(f"{name} is {number}: give --tune.{name} a whole number from 1 on")
        lists: dict[str, Sequence[Any] | None] = {
            "learning_rate": spread("learning_rate", learning_rate),
            "l2": spread("l2", l2),
            "momentum": momentum,
            "schedule": schedule,
            "tail_averaging": tail_averaging,
            "batch_size": batch_size,
            "max_epochs": max_epochs,
        }
        self.values = {name: list(dict.fromkeys(values)) for name, values in lists.items() if values is not None}
        for name, values in self.values.items():
            varied = VARIED[name]
            if wrong := [value for value in values if not varied.is_possible(value)]:
                raise InputError(
                    f"--tune.{name}: {wrong[0]} is not possible: give {varied.values}, such as {varied.example}"
                )
        self.trials, self.workers, self.diverging = trials, workers, diverging

    def combinations(self) -> list[dict[str, Any]]:
        """Returns all combinations of the values, by the settings' names.

        Raises:
            InputError: there is nothing to vary, or too much.
        """
        if not all(self.values.values()) or not self.values:
            example = f"--tune.learning_rate {VARIED['learning_rate'].example}"
            raise InputError(f"there is nothing to vary: give a range or a list, such as {example}")
        count = math.prod(map(len, self.values.values()))
        if count > self.most_combinations:
            raise InputError(
                f"--tune has {count} combinations of values, and at most {self.most_combinations} are possible: give"
                " shorter ranges or lists"
            )
        return [dict(zip(self.values, chosen, strict=True)) for chosen in product(*self.values.values())]


def spread(name: str, values: list[float] | None, per_decade: int = 5) -> list[float] | None:
    """Returns the values between two bounds, `per_decade` in each power of ten, with three digits; a list as it is.

    Raises:
        InputError: a bound is not above 0, or is infinite.
    """
    if values is None or len(values) != 2:
        return values
    low, high = sorted(values)
    if not 0 < low <= high < math.inf:
        raise InputError(
            f"--tune.{name} {values}: two numbers are the ends of a range by powers of ten, finite and above 0; give"
            " three or more values, or one, to try these"
        )
    count = max(2, 1 + math.ceil(per_decade * (math.log10(high) - math.log10(low)) - 1e-9))
    return [float(f"{value:.3g}") for value in np.geomspace(low, high, count)]
