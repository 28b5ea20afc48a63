"""Splits a table's rows into those to fit, to validate and to test.

A row's part depends only on the seed and on the row's number in the table, in whatever order rows are read.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.errors import InputError

Part = Literal["all", "fit", "val", "test"]
HeldOutPart = Literal["val", "test"]


@dataclass(frozen=True)
class Split:
    """A random split. Each row draws a number u, uniform in [0, 1).

    Rows with u < `val_fraction` are for validation, rows with u >= 1 - `test_fraction` for the test. So changing one
    fraction moves no row into or out of the other part.

    Raises:
        InputError: a fraction is outside [0, 1), or the two leave nothing to fit.
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

    def fraction(self, part: HeldOutPart) -> float:
        """Returns the fraction of the rows that a part gets."""
        return self.val_fraction if part == "val" else self.test_fraction

    def mask(self, part: Part, first: int, num_rows: int) -> np.ndarray | None:
        """Returns which of `num_rows` rows, from row `first` on, belong to `part`: (num_rows,), or None for all."""
        if part == "all" or not (self.val_fraction or self.test_fraction):
            return None
        generator = stream(self.seed, Purpose.SPLIT)
        generator.bit_generator.advance(first)  # type: ignore[attr-defined]  # one number a row
        u = generator.random(num_rows)
        val, test = u < self.val_fraction, u >= 1 - self.test_fraction
        return {"val": val, "test": test, "fit": ~(val | test)}[part]

    def count(self, part: Part, first: int, num_rows: int) -> int:
        """Returns how many of these rows belong to `part`."""
        mask = self.mask(part, first, num_rows)
        return num_rows if mask is None else int(mask.sum())
