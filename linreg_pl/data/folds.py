"""Divides rows into folds for cross-validation: at random, by the values of a column, or in their order.

A row's fold depends only on the settings and on the row's number among the rows to fit, or on that of its group.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from linreg_pl.data.columns import Column
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.errors import InputError


@dataclass(frozen=True)
class FoldPlan:
    """How rows are divided into folds.

    Args:
        count: Number of folds to hold out, each once.
        by: Column whose values group the rows: rows with the same value are held out together.
        in_order: Hold out consecutive blocks of rows, and predict each from the rows before it, as for time series.
        seed: Seed of the folds, a whole number from 0 on.

    Raises:
        InputError: a setting is out of range, or two exclude each other.
    """

    count: int = 5
    by: Column | None = None
    in_order: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.count <= 1000:
            raise InputError(f"folds.count is {self.count}: give --folds.count a whole number from 2 to 1000")
        if self.seed < 0:
            raise InputError(f"folds.seed is {self.seed}: give --folds.seed a whole number from 0 on")
        if self.in_order and self.by is not None:
            raise InputError("folds of groups have no order: give --folds.by or --folds.in_order, not both")

    @property
    def in_words(self) -> str:
        """Returns the folds in words."""
        if self.in_order:
            return f"{self.count} blocks of rows, each predicted from the rows before it"
        of_groups = {None: "", "by": " of groups"}.get(self.by, f" of groups by {self.by}")  # an array is named by
        return f"{self.count} folds{of_groups}"

    @property
    def num_parts(self) -> int:
        """Returns the number of folds with the one that is only trained on, the first block of rows in order."""
        return self.count + int(self.in_order)

    def of_rows(self, first: int, size: int, total: int) -> Tensor:
        """Returns the folds of `size` of the `total` rows, from row `first` on: (size,), int16, from 0.

        In order, the blocks are those of scikit-learn's `TimeSeriesSplit`.

        Raises:
            InputError: there are fewer rows than folds.
        """
        if total < self.num_parts:
            raise InputError(f"there are {total} rows for {self.num_parts} folds: give --folds.count a smaller number")
        if not self.in_order:
            return self.at_random(first, size)
        from_last = total - 1 - np.arange(first, first + size)
        return torch.from_numpy(np.maximum(0, self.count - from_last // (total // self.num_parts)).astype(np.int16))

    def at_random(self, first: int, size: int) -> Tensor:
        """Returns the folds of rows, or of groups, from number `first` on: (size,), int16.

        Of each `count` consecutive numbers every fold gets one, in an order that is rotated at random. So the sizes of
        folds differ by at most 1.
        """
        first_block, offset = divmod(first, self.count)
        generator = stream(self.seed, Purpose.FOLDS)
        generator.bit_generator.advance(first_block)  # type: ignore[attr-defined]  # one number a block
        turns = (self.count * generator.random(size // self.count + 2)).astype(np.int16)
        twice = np.tile(np.arange(self.count, dtype=np.int16), 2)
        rotated = sliding_window_view(twice, self.count)  # row t begins with fold t
        blocks = np.take(rotated, turns, axis=0, mode="clip")  # an index takes three times as long
        return torch.from_numpy(blocks.reshape(-1)[offset : offset + size])
