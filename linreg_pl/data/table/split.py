"""Which rows of a table are fitted, which validated, and which tested?

A row's part follows from the seed and its place in the table alone, whatever else is read, and in which order.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.errors import InputError

Part = Literal["all", "fit", "val", "test"]
HeldOut = Literal["val", "test"]

VERBS: dict[Part, str] = {"fit": "fit", "val": "validate", "test": "test"}


@dataclass(frozen=True)
class Split:
    """Parts of a table's rows. Each row draws a number from 0 up to below 1.

    Below `val_fraction` it is validated, from 1 - `test_fraction` on it is tested: a change of one fraction moves no
    row into or out of the other part.

    Raises:
        InputError: a fraction is none, or the two leave nothing to fit.
    """

    seed: int
    val_fraction: float = 0.0
    test_fraction: float = 0.0

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            fraction = getattr(self, name)
            if not 0 <= fraction < 1:
                raise InputError(f"{name} is {fraction}: give --data.{name} a number from 0 up to below 1")
        if self.val_fraction >= 1 - self.test_fraction:
            raise InputError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave no rows to fit: give"
                " --data.val_fraction and --data.test_fraction numbers whose sum is below 1"
            )

    def fraction(self, part: HeldOut) -> float:
        """The share of the rows that a part has."""
        return self.val_fraction if part == "val" else self.test_fraction

    def mask(self, part: Part, first: int, num_rows: int) -> np.ndarray | None:
        """Which of the rows from `first` on belong to `part`, (num_rows,); None where all do."""
        if part == "all" or not (self.val_fraction or self.test_fraction):
            return None
        generator = stream(self.seed, Purpose.SPLIT)
        generator.bit_generator.advance(first)  # type: ignore[attr-defined]  # a number a row
        drawn = generator.random(num_rows)
        val, test = drawn < self.val_fraction, drawn >= 1 - self.test_fraction
        return {"val": val, "test": test, "fit": ~(val | test)}[part]

    def count(self, part: Part, first: int, num_rows: int) -> int:
        """How many of these rows belong to `part`."""
        mask = self.mask(part, first, num_rows)
        return num_rows if mask is None else int(mask.sum())
