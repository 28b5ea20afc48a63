"""Numeric columns of a CSV or Parquet file, held in memory.

x (N, D) are the features, y (N, K) the targets, both float32, in the file's own units.
"""

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from linreg_pl.data.batches import Batch, BatchDataModule, ConsecutiveSlices, checked_batch_size, checked_seed
from linreg_pl.data.streams import Purpose, stream
from linreg_pl.errors import InputError


class TableDataModule(BatchDataModule):
    """Features and targets from the columns of one file.

    `fit` and `validate` share the rows as `val_fraction` says (`validate` takes all where it is 0). `test` and
    `predict` take every row, and `predict` needs no target column.

    Args:
        path: A .csv file with a header, or a .parquet file.
        target: Name of the column to predict, or a list of them.
        features: Names of the columns to predict from; all but the targets if not given.
        batch_size: Rows in a mini-batch; all rows if not given, which is plain gradient descent.
        shuffle: Draw a new order of the rows at every epoch, from the seed and the epoch.
        val_fraction: Share of the rows, picked by the seed, that is held out for validation.
        seed: Of the order and the split; whole number from 0 on.

    Raises:
        InputError: the file or a choice of columns can't be used.
    """

    def __init__(
        self,
        path: str,
        target: list[str] | str,
        features: list[str] | None = None,
        batch_size: int | None = None,
        shuffle: bool = True,
        val_fraction: float = 0.0,
        seed: int = 0,
    ) -> None:
        from linreg_pl.data.columns import column_names, require_columns  # here: pyarrow, for who has a table

        super().__init__()
        if not 0 <= val_fraction < 1:
            raise InputError(f"val_fraction is {val_fraction}: give --data.val_fraction a number from 0 up to below 1")
        path = str(path)  # a checkpoint holds plain types only
        self.path = Path(path)
        self.shuffle = shuffle
        self.val_fraction = val_fraction
        self.seed = checked_seed(seed)
        self.save_hyperparameters()
        self._columns = column_names(self.path)
        self.target_names = [target] if isinstance(target, str) else list(target)
        if not self.target_names:
            raise InputError(f"{self.path}: no column is named as the target; give --data.target at least one")
        others = [name for name in self._columns if name not in self.target_names]
        self.feature_names = others if features is None else list(features)
        require_columns(self.path, self._columns, self.feature_names, "--data.features")
        both = [name for name in self.feature_names if name in self.target_names]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        self._chosen_batch_size = batch_size
        self._all: tuple[Tensor, ...] | None = None

    def setup(self, stage: str) -> None:
        """Reads the file, once; `stage` is one of fit, validate, test, predict, solve.

        In float32, as training computes; `solve` has all digits of the file, in float64.

        Raises:
            InputError: the file's contents can't be used, or a batch is larger than the rows.
        """
        from linreg_pl.data.columns import read_columns, require_columns

        if self._all is not None:
            return
        if stage == "predict":
            self._all = (torch.from_numpy(read_columns(self.path, self.feature_names)),)
            return
        require_columns(self.path, self._columns, self.target_names, "--data.target")
        dtype = np.float64 if stage == "solve" else np.float32
        values = torch.from_numpy(read_columns(self.path, [*self.feature_names, *self.target_names], dtype))
        x, y = values[:, : self.num_features].contiguous(), values[:, self.num_features :].contiguous()
        self._all = (x, y)
        held_out = torch.from_numpy(stream(self.seed, Purpose.SPLIT).random(len(x)) < self.val_fraction)
        self._held_out = (x[held_out], y[held_out])
        self._x, self._y = (x, y) if self.val_fraction == 0 else (x[~held_out], y[~held_out])
        if self.val_fraction > 0 and not 0 < held_out.sum() < len(x):
            raise InputError(
                f"{self.path}: --data.val_fraction {self.val_fraction} of {len(x)} rows leaves {len(self._x)} to fit"
                f" and {int(held_out.sum())} to validate; both need at least one"
            )
        self.batch_size = checked_batch_size(
            len(self._x) if self._chosen_batch_size is None else self._chosen_batch_size,
            len(self._x),
            f"rows to fit in {self.path}",
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all values; known after `setup`."""
        assert self._all is not None, "setup comes first"
        digest = hashlib.blake2b(digest_size=8)
        for tensor in self._all:
            digest.update(tensor.numpy().data)
        return digest.hexdigest()

    @property
    def holds_out_rows(self) -> bool:
        """Whether there are rows to validate on while fitting."""
        return self.val_fraction > 0

    @property
    def has_fixed_batches(self) -> bool:
        """Whether rows keep their places; a batch of all rows has them all in any order."""
        return not self.shuffle or self.batch_size == len(self._x)

    def rows(self) -> Batch:
        """The rows to fit; in a fixed order, without those left over that no batch ever has."""
        used = len(self._x) if self.shuffle else self.steps_per_epoch * self.batch_size
        return self._x[:used], self._y[:used]

    def batch(self, epoch: int, index: int) -> Batch:
        """Rows `index · batch_size` on, in the epoch's order."""
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if not self.shuffle:
            return self._x[rows], self._y[rows]
        chosen = row_order(self.seed, epoch, len(self._x))[rows]
        return self._x[chosen], self._y[chosen]

    def val_dataloader(self) -> ConsecutiveSlices | list[Batch]:
        """The rows that are held out; without any, none while fitting, and all for `validate`."""
        if self.holds_out_rows:
            return ConsecutiveSlices(*self._held_out)
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        return [] if fitting else self.test_dataloader()

    def test_dataloader(self) -> ConsecutiveSlices:
        """All rows."""
        assert self._all is not None, "setup comes first"
        return ConsecutiveSlices(*self._all)

    def predict_dataloader(self) -> ConsecutiveSlices:
        """The features of all rows."""
        assert self._all is not None, "setup comes first"
        return ConsecutiveSlices(self._all[0])


@lru_cache(maxsize=1)  # every batch of an epoch asks for it
def row_order(seed: int, epoch: int, num_rows: int) -> Tensor:
    """The order of the rows in an epoch, shape (num_rows,): a pure function of its arguments."""
    order: np.ndarray = stream(seed, Purpose.ROW_ORDER, epoch).permutation(num_rows)
    return torch.from_numpy(order)
