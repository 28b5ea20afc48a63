"""The hyper-parameters of a linear regression, and the checks of their values."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from linreg_pl.core.learning_rate_schedules import Schedule
from linreg_pl.data.argument_types import check_types
from linreg_pl.errors import InputError


@dataclass(frozen=True)
class HyperParameters:
    """The arguments of `LinearRegression`, which documents them, as plain types: NumPy's numbers are converted.

    Raises:
        InputError: a value that cannot be used for training.
    """

    num_features: int = 1
    num_targets: int = 1
    learning_rate: float | Literal["auto"] = "auto"
    l2: float | Literal["auto"] = 0.0
    l1: float = 0.0
    momentum: float = 0.0
    schedule: Schedule = "cosine"
    tail_averaging: float = 0.0
    fit_intercept: bool = True
    fold_bias: bool = False
    standardize: bool = True
    precondition: bool = True
    start_at_mean: bool = True
    init_std: float = 0.01
    init_seed: int = 0

    def __post_init__(self) -> None:
        check_types(HyperParameters.__init__, vars(self))
        for each in fields(self):  # a checkpoint holds plain types only: NumPy's numbers would need code to load
            value = getattr(self, each.name)
            kind: type = int if each.type is int else bool if each.type is bool else float
            object.__setattr__(self, each.name, value if isinstance(value, str) else kind(value))
        for name, size in (("num_features", self.num_features), ("num_targets", self.num_targets)):
            if size < 1:
                raise InputError(f"{name} is {size}: give a whole number from 1 on")
        if self.learning_rate != "auto" and not 0 < self.learning_rate < math.inf:
            raise InputError(
                f"learning_rate is {self.learning_rate}: give --model.learning_rate a finite number above 0, or auto"
            )
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}: give --model.momentum a number from 0 up to below 1")
        if not 0 <= self.tail_averaging <= 1:
            raise InputError(
                f"tail_averaging is {self.tail_averaging}: give --model.tail_averaging a number from 0 to 1"
            )
        for name, value in (("l1", self.l1), ("l2", self.l2), ("init_std", self.init_std)):
            if value != "auto" and not 0 <= value < math.inf:
                instead = ", or auto" if name == "l2" else ""
                raise InputError(f"{name} is {value}: give --model.{name} a finite number, 0 or more{instead}")
        if self.l1 and self.fold_bias:
            raise InputError(
                f"fold_bias is true and l1 is {self.l1:g}: l1 penalises W alone, so leave out --model.fold_bias"
            )
        if not 0 <= self.init_seed < 2**63:
            raise InputError(f"init_seed is {self.init_seed}: give --model.init_seed a whole number from 0 to 2^63 - 1")

    @property
    def preconditions(self) -> bool:
        """Returns whether gradients are preconditioned.

        For more features the products would outlast the gradient. With l1, a soft threshold of each coefficient is the
        right step only if its own gradient moves it.
        """
        return self.precondition and self.num_features < 2048 and not self.l1

    @property
    def known_l2(self) -> float:
        """Returns l2, once it is chosen.

        Raises:
            InputError: it is still `auto`.
        """
        if self.l2 == "auto":
            raise InputError("l2 is auto, which needs the rows of a data module: give l2 a number")
        return self.l2

    @property
    def needs_of_data(self) -> list[str]:
        """Returns the settings whose values follow from the data."""
        needs = {
            "standardize": self.standardize,
            "precondition": self.preconditions,
            "start_at_mean": self.start_at_mean,
            "learning_rate auto": self.learning_rate == "auto",
            "l2 auto": self.l2 == "auto",
        }
        return [name for name, needed in needs.items() if needed]
