"""Columns of a table, of whatever size: in memory where it fits, else streamed.

x (N, D) are the features, y (N, K) the targets, both float32, in the file's own units; a category is a column of
0 and 1. Weights, where rows have some, are scaled once, to be 1 on average over the rows that are trained on.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch

from linreg_pl.core.triangle import triangle_of, weight_of
from linreg_pl.data.base import BatchDataModule, checked_batch_size, checked_seed
from linreg_pl.data.loaders import Batch, Summary
from linreg_pl.data.prefetch import in_thread
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.encoding import require_columns
from linreg_pl.data.table.fingerprint import Digest
from linreg_pl.data.table.held_out import Parts
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.rows import RowsLoader, require_weight
from linreg_pl.data.table.sources import Source, name_of, of_files, open_source
from linreg_pl.data.table.split import HeldOut, Split
from linreg_pl.errors import InputError

LARGEST_BATCH = 4096
"""Rows of a batch whose size is not given: enough that Lightning's share of a step is small."""


class TableDataModule(BatchDataModule):
    """Features and targets from the columns of a table.

    `fit` and `solve` take the rows that are not held out. `validate` and `test` take those that are held out for them,
    by a fraction or in files of their own; without such, all rows. `predict` takes every row, and needs no target
    column. Columns, categories and means are those of the rows that were fitted; a checkpoint holds them.

    Args:
        path: A file of CSV (.csv, .tsv, also .gz, .bz2, .zst), Parquet or Feather / Arrow IPC; a list of files, a
            pattern such as data/*.parquet, or a folder. From Python also a pandas or polars frame, or an Arrow table.
        target: Name of the column to predict, or a list of them.
        features: Names of the columns to predict from. If not given, those that the checkpoint was fitted with;
            without one, all but the targets, the weight and pandas' index.
        weight: Name of the column that says how much each row counts in J, 0 or more. Standard errors take a weight for
            one by the variance of the row's noise. All rows count alike if not given. To predict, none is needed.
        batch_size: Rows in a mini-batch; if not given all rows up to 4096, and of more, equal parts of at most so many.
        shuffle: Draw a new order of the rows at every epoch, from the seed and the epoch.
        val_fraction: Share of the rows, picked by the seed, that is held out for validation.
        test_fraction: Share of the rows, picked by the seed, that is held out for the test.
        val_path: Rows to validate on, where they lie apart; see path.
        test_path: Rows to test on, where they lie apart; see path.
        seed: Of the order and the split; whole number from 0 on.
        missing: What becomes of a row with a missing value: error, drop, or mean, which puts the feature's mean there
            and drops a row without a target or weight. To predict, no row is dropped: its prediction is missing.
        drop_first: Leave out each text column's first category, which the intercept makes redundant.
        max_categories: Most categories that a text column may have.
        delimiter: What stands between the values of a CSV file; a comma if not given, in .tsv a tab.
        column_names: Of all columns, for CSV files without a header.
        memory_limit: GB up to which the table is held in memory; half of the machine's if not given. A larger one is
            read anew at every epoch, and shuffled in windows.

    Raises:
        InputError: the table or a choice of columns can't be used.
    """

    def __init__(
        self,
        path: str | list[str] | Any,
        target: list[str] | str,
        features: list[str] | None = None,
        weight: str | None = None,
        batch_size: int | None = None,
        shuffle: bool = True,
        val_fraction: float = 0.0,
        test_fraction: float = 0.0,
        val_path: str | list[str] | Any | None = None,
        test_path: str | list[str] | Any | None = None,
        seed: int = 0,
        missing: Literal["error", "drop", "mean"] = "error",
        drop_first: bool = False,
        max_categories: int = 100,
        delimiter: str | None = None,
        column_names: list[str] | None = None,
        memory_limit: float | None = None,
    ) -> None:
        super().__init__()
        split = Split(checked_seed(seed), val_fraction, test_fraction)
        if max_categories < 1:
            raise InputError(f"max_categories is {max_categories}: give --data.max_categories a whole number from 1 on")
        csv = Csv(delimiter, column_names)
        self._source = open_source(of_files(path), csv)
        self.target_names = [target] if isinstance(target, str) else list(target)
        if not self.target_names:
            raise InputError(f"{self._source.name}: no column is named as the target; give --data.target at least one")
        self._design = Design(
            source=self._source,
            opened=self._opened,
            given=features,
            targets=self.target_names,
            weight=[] if weight is None else [weight],
            split=split,
            missing=missing,
            drop_first=drop_first,
            max_categories=max_categories,
        )
        apart: dict[HeldOut, Any] = {"val": of_files(val_path), "test": of_files(test_path)}
        self._parts = Parts(self._design, apart, csv, memory_limit, shuffled_by=seed if shuffle else None)
        # A checkpoint holds plain types only.
        path, val_path, test_path = (name_of(of_files(of)) for of in (path, val_path, test_path))
        self.save_hyperparameters()
        self.shuffle, self._chosen_batch_size = shuffle, batch_size
        self._stage: str | None = None

    def _opened(self, source: Source, schema: pa.Schema) -> Table:
        source.watch = self.watch
        table = source.table(schema, self._parts.memory_limit)
        table.watch = self.watch
        return table

    @property
    def feature_names(self) -> list[str]:
        """Names of the features; `column=value` for a category, which a pass over the rows may have to find first."""
        return self._design.feature_names

    @property
    def paths(self) -> Sequence[Path]:
        """See `BatchDataModule`."""
        return self._source.paths

    def state_dict(self) -> dict[str, Any]:
        """Names and fingerprint, and what was learnt from the rows to fit."""
        return {**super().state_dict(), "design": self._design.state(), "streams": self._parts.streams}

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Takes columns, categories and means from the checkpoint, and streams the rows if it did."""
        streams = state_dict.get("streams", self._parts.streams)
        if not self._design.adopt(state_dict.get("design", {})) and streams == self._parts.streams:
            return
        self._parts.streams, stage, self._stage = streams, self._stage, None
        if stage is not None:
            self.setup(stage)

    def setup(self, stage: str) -> None:
        """Reads the table, once; `stage` is one of fit, validate, test, predict, solve.

        In float32, as training computes; `solve` has all digits of the file, in float64.

        Raises:
            InputError: the table's contents can't be used, or a batch is larger than the rows.
        """
        if self._stage == stage:
            return
        if stage in ("fit", "solve"):
            self._set_up_training(stage)
        elif stage == "predict":
            self._loader = self._parts.to_predict()
        else:
            self._loader = self._parts.held_out("val" if stage == "validate" else "test")
        self._stage = stage

    def _set_up_training(self, stage: str) -> None:
        for name in ("triangle", "fingerprint", "held_out"):
            self.__dict__.pop(name, None)  # of the rows before
        self._rows = self._parts.to_fit(torch.float64 if stage == "solve" else torch.float32)
        self._loader, self._digest = RowsLoader(self._rows, self._source.name), Digest()
        if stage == "fit":
            self._parts.require_rows_to_test()
            if self.holds_out_rows:
                self._loader = self._parts.held_out("val")
                self.held_out = triangle_of(self._digest.of(self._loader))
        self._check_batches()
        if stage == "fit" and not self._parts.streams:
            self._checksum = in_thread(self._digest.after, self._rows.in_order())

    def _check_batches(self) -> None:
        """Settles the batch size, and takes the pass that a streamed table gets before its first epoch."""
        num_rows, name = self._rows.num_rows, self._source.name
        parts = -(-num_rows // LARGEST_BATCH)
        chosen = num_rows // parts if self._chosen_batch_size is None else self._chosen_batch_size
        self.batch_size = checked_batch_size(chosen, num_rows, f"rows to fit in {name}")
        if self._parts.streams:
            self.triangle = triangle_of(self._drawn(self._digest.of(self._rows.in_order())))
            self.fingerprint = self._digest.hex
            total = self.triangle.total_weight
        else:
            total = weight_of(self.rows())
        require_weight(name, total)
        self._mean_weight = total / self._num_drawn

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of all values to fit and to validate; known after `setup("fit")`."""
        return self._checksum.result()

    @property
    def num_rows_to_fit(self) -> int:
        """Rows that training draws from; known after `setup("fit")`."""
        return self._rows.num_rows

    @property
    def holds_out_rows(self) -> bool:
        """Whether there are rows to validate on while fitting."""
        return self._parts.are_held_out("val")

    @property
    def has_fixed_batches(self) -> bool:
        """Whether rows keep their places; a batch of all rows has them all in any order."""
        return not self.shuffle or self.batch_size == self._rows.num_rows

    def rows(self) -> Iterator[Batch]:
        """The rows to fit; in a fixed order, without those left over that no batch ever has."""
        return self._drawn(self._rows.in_order())

    def _drawn(self, chunks: Iterator[Batch]) -> Iterator[Batch]:
        left = self._num_drawn
        for chunk in chunks:
            if left > 0:
                yield tuple(part[:left] for part in chunk)
            left -= len(chunk[0])

    @property
    def _num_drawn(self) -> int:
        return self._rows.num_rows if self.shuffle else self.steps_per_epoch * self.batch_size

    def batch(self, epoch: int, index: int) -> Batch:
        """Rows `index · batch_size` on, in the epoch's order."""
        batch = self._rows.batch(epoch, slice(index * self.batch_size, (index + 1) * self.batch_size))
        return (*batch[:2], batch[2] / self._mean_weight) if batch[2:] else batch

    @property
    def evaluated_rows(self) -> str:
        """See `BatchDataModule`."""
        held_out = self._parts.are_held_out("val" if self._stage == "validate" else "test")
        rows = f"{self._loader.num_rows} of {self._loader.name}"
        return f"{rows}, held out" if held_out else f"{rows}: all, as none is held out"

    def val_dataloader(self) -> Iterable[Any]:
        """The rows that are held out; while fitting, as their triangle. Without any, none then, and all to validate."""
        if self.trainer is not None and self.trainer.state.fn == "fit":
            return [] if self.held_out is None else Summary(self.held_out)
        return self._loader

    def test_dataloader(self) -> RowsLoader:
        """The rows that are held out to test, or all."""
        return self._loader

    def predict_dataloader(self) -> RowsLoader:
        """The features of all rows."""
        return self._loader

    def as_written(self, columns: Sequence[str] | None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `BatchDataModule`; those of a CSV file are text, as it stands there."""
        chosen = self._source.columns if columns is None else list(columns)
        require_columns(self._source.name, self._source.columns, chosen, "--keep_columns")
        return self._source.as_written(chosen)
