"""Serves a table's rows to training: batches in each epoch's order, standardized if asked, and the rows' summary."""

from collections.abc import Iterator

import torch

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.loaders import Batch
from linreg_pl.data.table.training_rows import TrainingRows, first_rows


class TrainingData(BatchDataModule):
    """The part of a table's data module that trains; a subclass reads the rows, and sets `_training` and `shuffle`."""

    shuffle: bool
    _training: TrainingRows  # known after `setup` for fit or solve

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes the rows of training batches; see `BatchDataModule`."""
        if self._is_prepared(scaling, dtype):
            return
        _ = self.triangle, self.fingerprint  # of the rows as they were read
        self._training.rows.prepare(scaling, dtype)
        self.preparation = scaling, dtype

    def _is_prepared(self, scaling: Scaling | None, dtype: torch.dtype) -> bool:
        if self.preparation is None or self.preparation[1] != dtype:
            return False
        known = self.preparation[0]
        return known is scaling or (known is not None and scaling is not None and known.equals(scaling))

    def restore(self) -> None:
        """Undoes `prepare`."""
        self._training.rows.restore()
        self.preparation = None

    @property
    def triangle(self) -> Triangle:
        """Returns the summary of the rows to fit; known after `setup` for fit or solve."""
        return self._training.triangle

    @property
    def held_out(self) -> Triangle | None:
        """Returns the summary of the rows to validate while fitting, if there are any; known after `setup`."""
        return self._training.held_out

    @property
    def fingerprint(self) -> str:
        """Returns a checksum of all values to fit and to validate; known after `setup("fit")`."""
        checksum = self._training.checksum
        return checksum if isinstance(checksum, str) else checksum.result()

    @property
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows that training draws from; known after `setup("fit")`."""
        return self._training.rows.num_rows

    @property
    def has_fixed_batches(self) -> bool:
        """Returns whether every epoch has the same batches: without shuffling, or with one batch of all rows."""
        return not self.shuffle or self.batch_size == self._training.rows.num_rows

    def rows(self) -> Iterator[Batch]:
        """Yields the rows to fit in the table's order; without shuffling, drops those after the last full batch."""
        return first_rows(self._training.rows.in_order(), self._training.num_drawn)

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns batch `index` of an epoch, in that epoch's order."""
        training = self._training
        batch = training.rows.batch(epoch, slice(index * self.batch_size, (index + 1) * self.batch_size))
        return (*batch[:2], batch[2] / training.mean_weight) if batch[2:] else batch
