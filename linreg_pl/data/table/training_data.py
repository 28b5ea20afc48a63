"""Serves a table's rows to training: batches in each epoch's order, standardized if asked, and the rows' summary."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from linreg_pl.core.folds import Folds, fold_triangles
from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.base import Rows
from linreg_pl.data.columns import Columns
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.loaders import Batch
from linreg_pl.data.table.description import Description, descriptions
from linreg_pl.data.table.fold_rows import grouped_in_folds, numbered_rows
from linreg_pl.data.table.gaps import MissingValues
from linreg_pl.data.table.groups import grouped_rows
from linreg_pl.data.table.held_out import SplitTable
from linreg_pl.data.table.training_rows import TrainingRows, drawn_rows
from linreg_pl.errors import InputError

Value = TypeVar("Value")


class TrainingData(Rows):
    """The part of a table that trains; a subclass reads the rows, and sets `_training`, `_given` and `shuffle`."""

    shuffle: bool
    shares_rows = True
    _training: TrainingRows  # known after `setup` for fit or solve
    _given: dict[str, Any]  # arguments

    @property
    @abstractmethod
    def _tables(self) -> SplitTable:
        """Returns the table, opened when rows are first needed."""

    @property
    def feature_names(self) -> list[str]:
        """Returns the names of the columns of x: `column=value` for a category.

        If there are text columns, the first call may take a pass over the rows to find the categories.
        """
        return self._tables.fitted.feature_names

    @property
    def remarks(self) -> list[str]:
        """Returns what the user should know of how the table is read; known after `setup`.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).remarks
        []
        """
        return self._tables.fitted.remarks

    def describe(self) -> list[Description]:
        """Returns what each column is taken for, its missing values, and its range or categories.

        A column that can't be used does not raise an error here.

        >>> [(column.name, column.kind) for column in linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).describe()]
        [('x0', 'number'), ('x1', 'number'), ('y', 'number')]
        """
        return list(descriptions(self._tables.fitted))

    @property
    def complete_categories(self) -> list[list[str]]:
        """Returns the categories of each text column, as features, where none is left out."""
        return self._tables.fitted.complete_categories

    @property
    def columns(self) -> Columns:
        """Returns what is needed to read further rows in the same way; known after `setup` for fit or solve.

        >>> linreg_pl.ArrayDataModule([[1, 5], [2, 7]], [3, 4]).columns.feature_names
        ['x0', 'x1']
        """
        return Columns.of_table(self.feature_names, self.target_names, self._given, self._tables.fitted.learnt)

    def grouped_rows(self, column: str) -> Iterator[tuple[Tensor, ...]]:
        """Yields the rows to fit, each with the number of its group; see `Rows`."""
        training = self._training
        return drawn_rows(training.rows, grouped_rows(self._tables.fitted, column), training.num_drawn)

    @abstractmethod
    def _set_up_training(self, stage: str) -> None:
        """Opens the rows for fit, solve or path."""

    def folds(self, plan: FoldPlan) -> Folds:
        """Returns the triangles of the rows of each fold; see `Rows`."""
        return self._complete(lambda: self._folds(plan), lambda: self._set_up_training("path"))

    def _complete(self, read: Callable[[], Value], begin_again: Callable[[], None]) -> Value:
        """Reads rows; if some lack values, and most do not, reads them again without those.

        Raises:
            MissingValues: rows that lack values are refused.
        """
        try:
            with self.world.together():
                return read()
        except MissingValues as error:
            fitted = self._tables.fitted
            refused = fitted.encoded(fitted.table, "fit").refused("fit") if error.gaps is None else error
            if not fitted.drops(refused.gaps):
                raise refused from error.__cause__
        begin_again()
        return read()

    def _folds(self, plan: FoldPlan) -> Folds:
        preparation, training = self.preparation, self._training
        if preparation is not None:
            self.restore()
        if plan.by in self.target_names:
            raise InputError(f"folds.by is {plan.by!r}, a target: give --folds.by another column")
        if plan.by is None:
            chunks = numbered_rows(self.watched_rows(), plan, training.num_drawn, training.rows.own_rows.start)
        else:
            chunks = grouped_in_folds(self._tables.fitted, plan, training.num_drawn - training.rows.own_rows.start)
        try:
            triangles = fold_triangles(chunks, plan.num_parts, training.center, self.world)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{error}: give --folds.count a smaller number") from error
        if preparation is not None:
            self.prepare(*preparation)
        return Folds(triangles, plan.in_order)

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes the rows of training batches; see `Rows`."""
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

    def hold_on(self, device: torch.device) -> None:
        """Makes batches on a device, if the rows have room there; see `Rows`."""
        self._training.rows.hold_on(device)

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
        """Returns a checksum of all values to fit and to validate; known after `setup("fit")`.

        Several processes have one each, with dashes between them.
        """
        return self._training.fingerprint

    @property
    def num_rows_to_fit(self) -> int:
        """Returns the number of rows that training draws from; known after `setup("fit")`."""
        return self._training.rows.num_rows

    @property
    def has_fixed_batches(self) -> bool:
        """Returns whether every epoch has the same batches: without shuffling, or with one batch of all rows."""
        return not self.shuffle or self.batch_size == self._training.rows.num_rows

    def rows(self) -> Iterator[Batch]:
        """Yields its own rows to fit in order; without shuffling, drops those after the last full batch of all."""
        return self._training.drawn()

    def watched_rows(self) -> Iterator[Batch]:
        """Yields the same rows, while `watch` observes the pass."""
        return self.watch(self.rows(), len(self._training.rows.own_rows), lambda batch: len(batch[0]))

    def curvature_rows(self) -> Iterator[Batch]:
        """Yields rows with the same sums over w²; see `FitRows`."""
        fitted = self._tables.fitted
        if fitted.collapsed is None:
            return self.watched_rows()
        return fitted.collapsed.squared_rows(fitted.feature_encoding)

    def batch(self, epoch: int, index: int) -> Batch:
        """Returns this process's rows of batch `index` of an epoch, in that epoch's order."""
        training = self._training
        batch = training.rows.batch(epoch, slice(index * self.batch_size, (index + 1) * self.batch_size))
        return (*batch[:2], batch[2] / training.mean_weight) if batch[2:] else batch
