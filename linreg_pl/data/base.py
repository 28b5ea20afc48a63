"""Where are batches cut, and which one comes next?

A batch is a pure function of (seed, epoch, index), and the next one follows from the optimizer step alone:

    epoch, index = divmod(global_step, steps_per_epoch)

So a resumed run needs nothing but its step to go on with the batch that comes next. Batches are slices of tensors:
collating rows one by one costs two hundred times as much.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule

from linreg_pl.core.triangle import Triangle, triangle_of
from linreg_pl.data.loaders import Batch, StepGroups, TrainingBatches
from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.errors import InputError, quoted

if TYPE_CHECKING:
    import pyarrow as pa  # which a fit without a table does not import


class BatchDataModule(LightningDataModule, ABC):
    """Rows with D named features and K named targets, cut into `steps_per_epoch` training batches an epoch."""

    target_names: list[str]
    batch_size: int  # known, as the rows are, after `setup("fit")`
    watch: Watch = staticmethod(unwatched)
    """Sees each pass that is taken over all rows; set before the first."""
    held_out: Triangle | None = None
    """What one pass over the rows to validate keeps, if there are any; known after `setup("fit")`."""
    _groups: StepGroups | None = None

    def __str__(self) -> str:
        """Its class: Lightning's own would ask the loaders, which may not be there yet."""
        return type(self).__name__

    @property
    @abstractmethod
    def feature_names(self) -> list[str]:
        """Of the columns of x."""

    @property
    def num_features(self) -> int:
        """D."""
        return len(self.feature_names)

    @property
    def num_targets(self) -> int:
        """K."""
        return len(self.target_names)

    @property
    @abstractmethod
    def num_rows_to_fit(self) -> int:
        """Rows that training draws from; known after `setup("fit")`."""

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; rows left over are dropped. Known after `setup("fit")`."""
        return self.num_rows_to_fit // self.batch_size

    @abstractmethod
    def batch(self, epoch: int, index: int) -> Batch:
        """Training batch `index` of `epoch`: the same whenever and wherever it is asked for."""

    @property
    @abstractmethod
    def has_fixed_batches(self) -> bool:
        """Whether every epoch has the same batches of x, in the same order."""

    @abstractmethod
    def rows(self) -> Iterator[Batch]:
        """All rows that training draws from, some at a time, without what each epoch draws anew.

        Weights are on whatever scale: the exact answer is the same on any.
        """

    @cached_property
    def triangle(self) -> Triangle:
        """What one pass over these rows keeps: all that the exact answer needs. Known after `setup`."""
        return triangle_of(self.watched_rows())

    def watched_rows(self) -> Iterator[Batch]:
        """The same rows; watched."""
        return self.watch(self.rows(), self.num_rows_to_fit, lambda batch: len(batch[0]))

    @property
    def holds_out_rows(self) -> bool:
        """Whether there are rows to validate on while fitting."""
        return False

    @property
    @abstractmethod
    def evaluated_rows(self) -> str:
        """How many rows validate or test, and which, in words; known after `setup` for it."""

    @property
    def paths(self) -> Sequence[Path]:
        """The files that the rows are read from, if any."""
        return ()

    @property
    def fingerprint(self) -> str:
        """Tells data of other contents apart; empty where the hyper-parameters say it all."""
        return ""

    def as_written(self, columns: Sequence[str] | None) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
        """Some columns of the rows to predict, or all, to be copied: their types, and all rows in order.

        Raises:
            InputError: they are not there.
        """
        raise InputError("the data has no columns to copy into the predictions: leave --keep_columns out")

    def group_steps(self, groups: StepGroups | None) -> None:
        """Lets the training loader yield all batches of an execution as one item; None: each batch on its own."""
        self._groups = groups

    def train_dataloader(self) -> TrainingBatches:
        """Returns the batches from the trainer's step on."""
        return TrainingBatches(self, self._groups)

    def state_dict(self) -> dict[str, Any]:
        """The columns' names and the contents' fingerprint, so that a checkpoint is never applied to others."""
        return {
            "feature_names": self.feature_names,
            "target_names": self.target_names,
            "fingerprint": self.fingerprint,
        }

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Takes over what the checkpoint's data has learnt from the rows it was fitted on; may precede `setup`."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Adopts the checkpoint's state, and compares the checkpoint's columns with the data's.

        Raises:
            InputError: they are others, or stand in another order.
        """
        self.adopt(state_dict)
        for key, flag in (("feature_names", "--data.features"), ("target_names", "--data.target")):
            fitted, found = list(state_dict[key]), list(getattr(self, key))
            differing = [pair for pair in zip_longest(fitted, found, fillvalue="") if len(set(pair)) > 1]
            if differing:
                then, now = (quoted(list(filter(None, names))) or "none" for names in zip(*differing, strict=True))
                raise InputError(
                    f"the checkpoint was fitted with {key} {then} where the data has {now}; choose them with {flag}"
                )


def checked_batch_size(batch_size: int, num_rows: int, rows: str) -> int:
    """`batch_size`, where a batch of `num_rows` rows can be cut; `rows` says what they are.

    Raises:
        InputError: it is not between 1 and `num_rows`.
    """
    if not 1 <= batch_size <= num_rows:
        raise InputError(
            f"batch_size is {batch_size}, but there are {num_rows} {rows}: give --data.batch_size a whole number"
            f" from 1 to {num_rows}"
        )
    return batch_size


def checked_seed(seed: int) -> int:
    """`seed`, where it can seed a stream.

    Raises:
        InputError: it is negative.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}: give --data.seed a whole number from 0 on")
    return seed
