"""The interface of rows with named columns, cut into batches; `data/module.py` gives them to Lightning.

A batch is a pure function of (seed, epoch, index), and the optimizer step alone gives the next one:

    epoch, index = divmod(global_step, steps_per_epoch)

So a resumed run needs only its step to continue with the right batch. Batches are slices of tensors: collating rows one
by one takes two hundred times as long.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from linreg_pl.core.folds import Folds
from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.columns import Columns
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.loaders import Batch
from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.errors import InputError, quoted

if TYPE_CHECKING:
    import pyarrow as pa  # only tables import it


class Rows(ABC):
    """Rows with D named features and K named targets, cut into `steps_per_epoch` training batches an epoch."""

    target_names: list[str]
    batch_size: int  # known after `setup("fit")`, like the rows
    watch: Watch = staticmethod(unwatched)
    """Observes each pass over all rows; set it before the first one."""
    world: World = ALONE
    """The processes that share the rows; set it before the first pass, where `shares_rows`."""
    shares_rows = streams = False
    """Whether each process of a world reads its own part of the rows; and whether every pass reads them from disk."""
    draws_noise = False
    """Whether every epoch draws the noise of y anew; `rows` are without it."""
    new_noise = 0.0
    """Standard deviation of the noise that every epoch adds to y anew; `rows` are without it."""

    data_module: ClassVar[str]
    """Name of the data module that gives such rows to Lightning; flags, config files and checkpoints have it."""

    @classmethod
    def module_name(cls) -> str:
        """Returns the name of the data module that has these rows: of itself, if the class is one."""
        return str(vars(cls).get("data_module", cls.__qualname__))

    def __str__(self) -> str:
        """Returns the same name."""
        return self.module_name()

    def save_hyperparameters(self, ignore: Sequence[str] = ()) -> None:
        """Does nothing; a data module keeps the arguments of `__init__`, as Lightning does, for its checkpoints."""

    @property
    @abstractmethod
    def feature_names(self) -> list[str]:
        """Returns the names of x's columns."""

    @property
    def complete_categories(self) -> list[list[str]]:
        """Returns groups of features that add up to 1 in every row: all categories of a text column."""
        return []

    @property
    def remarks(self) -> list[str]:
        """Returns what the user should know of how the data is read; known after `setup`.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).remarks
        []
        """
        return []

    @property
    def columns(self) -> Columns:
        """Returns what is needed to read further rows in the same way; known after `setup` for fit or solve.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).columns.feature_names
        ['x0', 'x1']
        """
        return Columns(self.feature_names, self.target_names)

    def setup(self, stage: str) -> None:
        """Opens the rows for a stage: fit, validate, test, predict, solve or path."""

    def set_aside(self, names: Sequence[str]) -> None:
        """Leaves columns out of the features, unless the user names them as such; call it before `setup`.

        Raises:
            InputError: the data has no columns beside the features.
        """
        raise InputError(f"{self} has no column {quoted(list(names))}: only tables have further columns")

    def grouped_rows(self, column: str) -> Iterator[Batch]:
        """Yields all rows that training draws from, and last the number of each row's group (n,), int64, from 0 on.

        Rows with the same value of `column` are a group.

        Raises:
            InputError: there is no such column, or it lacks a value.
        """
        raise InputError(f"{self} has no column {column!r}: only tables have further columns")

    def folds(self, plan: FoldPlan) -> Folds:
        """Returns the triangles of the rows of each fold; takes a pass over the rows that training draws from.

        Call it after `setup` for fit, solve or path; of a streamed table, path alone takes no pass of its own.

        Raises:
            InputError: the rows can't be divided into these folds.
        """
        raise InputError(
            f"{self} draws new noise at every epoch, so no row can be held out: give --data TableDataModule"
        )

    @property
    def num_features(self) -> int:
        """Returns D.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).num_features
        2
        """
        return len(self.feature_names)

    @property
    def num_targets(self) -> int:
        """Returns K.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).num_targets
        1
        """
        return len(self.target_names)

    @property
    @abstractmethod
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows that training draws from; known after `setup("fit")`."""

    @property
    def steps_per_epoch(self) -> int:
        """Returns the number of full batches in an epoch; known after `setup("fit")`. Drops the rows left over."""
        return self.num_rows_to_fit // self.batch_size

    preparation: tuple[Scaling | None, torch.dtype] | None = None
    """The arguments of the last `prepare`; None for rows as they were read."""

    @abstractmethod
    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes the rows of training batches in float64, and rounds them to `dtype`. Call it after `setup`."""

    def hold_on(self, device: torch.device) -> None:
        """Lets batches be made on a device, if prepared rows in memory have room there; the CPU takes them back."""

    @abstractmethod
    def restore(self) -> None:
        """Undoes `prepare`: batches and rows are in the user's units again, with all their digits."""

    @abstractmethod
    def batch(self, epoch: int, index: int) -> Batch:
        """Returns training batch `index` of `epoch`: always the same for these two numbers."""

    def batches(self, indices: Iterable[int]) -> Iterator[Batch]:
        """Yields these training batches of the first epoch."""
        return (self.batch(0, index) for index in indices)

    @property
    @abstractmethod
    def has_fixed_batches(self) -> bool:
        """Returns whether every epoch has the same batches of x, in the same order."""

    @abstractmethod
    def rows(self) -> Iterator[Batch]:
        """Yields all rows that training draws from, in chunks, without the noise that each epoch draws anew.

        They are in the user's units; call `restore` before, if `prepare` was called. Weights may have any scale.
        """

    @property
    @abstractmethod
    def triangle(self) -> Triangle:
        """Returns the triangle of these rows, all that the exact solution needs; known after `setup`."""

    @property
    def held_out(self) -> Triangle | None:
        """Returns the triangle of the rows to validate, if there are any; known after `setup("fit")`."""
        return None

    def watched_rows(self) -> Iterator[Batch]:
        """Yields the same rows, while `watch` observes the pass."""
        return self.watch(self.rows(), self.num_rows_to_fit, lambda batch: len(batch[0]))

    def curvature_rows(self) -> Iterator[Batch]:
        """Yields the same rows, or fewer that sum up to them; see `FitRows`."""
        return self.watched_rows()

    @property
    def holds_out_rows(self) -> bool:
        """Returns whether there are rows to validate on while fitting."""
        return False

    @property
    @abstractmethod
    def evaluated_rows(self) -> str:
        """Describes the rows to validate or test, with their number; known after `setup` for that stage."""

    @property
    def part_not_held_out(self) -> str:
        """Returns val or test where all rows are validated or tested, as the data holds out none for it; else ""."""
        return ""

    @property
    def paths(self) -> Sequence[Path]:
        """Returns the files that the rows are read from, if any."""
        return ()

    @property
    def fingerprint(self) -> str:
        """Returns a checksum of the contents; empty if the hyper-parameters determine them."""
        return ""

    def as_written(self, columns: Sequence[str] | None) -> "tuple[pa.Schema, Iterator[pa.RecordBatch]]":
        """Returns columns to copy beside the predictions, all if None: their types, and all rows in order.

        Raises:
            InputError: the data does not have these columns.
        """
        raise InputError("the data has no columns to copy into the predictions: leave --keep_columns out")

    def state_dict(self) -> dict[str, Any]:
        """Returns the columns' names and the fingerprint, so that a checkpoint is never applied to other data."""
        names = {"feature_names": self.feature_names, "target_names": self.target_names}
        return {**names, "fingerprint": self.fingerprint}

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Adopts what the checkpoint's data learnt from its rows; may be called before `setup`."""


def checked_batch_size(batch_size: int, num_rows: int, rows: str) -> int:
    """Returns `batch_size` after a check; `rows` describes the rows that batches are cut from.

    Raises:
        InputError: it is not between 1 and `num_rows`.
    """
    if not 1 <= batch_size <= num_rows:
        raise InputError(
            f"batch_size is {batch_size}, but there are {num_rows} {rows}: give --data.batch_size a whole number"
            f" from 1 to {num_rows}"
        )
    return batch_size


def equal_batch_size(num_rows: int, largest: int = 4096) -> int:
    """Returns the size of equal batches: at most `largest` rows, which amortises Lightning's overhead."""
    return num_rows // -(-num_rows // largest)


def checked_seed(seed: int) -> int:
    """Returns `seed` after a check.

    Raises:
        InputError: it is negative.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}: give --data.seed a whole number from 0 on")
    return seed
