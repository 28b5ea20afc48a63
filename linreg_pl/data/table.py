"""Columns of a table, of whatever size: in memory where it fits, else streamed.

x (N, D) are the features, y (N, K) the targets, both float32, in the file's own units; a category is a column of
0 and 1. Weights, where rows have some, are scaled once, to be 1 on average over the rows that are trained on.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from linreg_pl.core.triangle import triangle_of, weight_of
from linreg_pl.data import chunks
from linreg_pl.data.batches import Batch, BatchDataModule, checked_batch_size, checked_seed
from linreg_pl.data.chunks import Chunks, Part, Split
from linreg_pl.data.columns import Encoding, is_text, require_columns, require_kinds
from linreg_pl.data.csv_files import Csv, no_rows
from linreg_pl.data.rows import MemoryRows, Rows, RowsLoader, StreamedRows, blocks, require_weight
from linreg_pl.data.sources import ArrowStream, open_source
from linreg_pl.data.tables import Table
from linreg_pl.errors import InputError, quoted

SHARE_OF_MEMORY = 0.5
"""Of the machine's, for a table that is held; a copy is made where rows are held out."""

LARGEST_BATCH = 4096
"""Rows of a batch whose size is not given: enough that Lightning's share of a step is small."""


class TableDataModule(BatchDataModule):
    """Features and targets from the columns of a table.

    `fit` and `validate` share the rows as `val_fraction` says (`validate` takes all where it is 0). `test` and
    `predict` take every row, and `predict` needs no target column. Categories and means are those of the rows that were
    fitted; a checkpoint holds them.

    Args:
        path: A file of CSV (.csv, .tsv, also .gz, .bz2, .zst), Parquet or Feather / Arrow IPC; a list of files, a
            pattern such as data/*.parquet, or a folder. From Python also a pandas or polars frame, or an Arrow table.
        target: Name of the column to predict, or a list of them.
        features: Names of the columns to predict from; all but the targets and the weight if not given.
        weight: Name of the column that says how much each row counts, 0 or more: a weight of 2 is a row that stands
            there twice. All count alike if not given. To predict, none is needed.
        batch_size: Rows in a mini-batch; if not given all rows up to 4096, and of more, equal parts of at most so many.
        shuffle: Draw a new order of the rows at every epoch, from the seed and the epoch.
        val_fraction: Share of the rows, picked by the seed, that is held out for validation.
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
        seed: int = 0,
        missing: Literal["error", "drop", "mean"] = "error",
        drop_first: bool = False,
        max_categories: int = 100,
        delimiter: str | None = None,
        column_names: list[str] | None = None,
        memory_limit: float | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= val_fraction < 1:
            raise InputError(f"val_fraction is {val_fraction}: give --data.val_fraction a number from 0 up to below 1")
        if memory_limit is not None and not memory_limit >= 0:
            raise InputError(f"memory_limit is {memory_limit}: give --data.memory_limit a number of GB, 0 or more")
        path = (
            path if isinstance(path, ArrowStream) else [str(p) for p in path] if isinstance(path, list) else str(path)
        )
        if max_categories < 1:
            raise InputError(f"max_categories is {max_categories}: give --data.max_categories a whole number from 1 on")
        self._source = open_source(path, Csv(delimiter, column_names))
        path = self._source.name if isinstance(path, ArrowStream) else path  # a checkpoint holds plain types only
        self._split = Split(checked_seed(seed), val_fraction)
        self.val_fraction, self.shuffle, self.missing, self.drop_first = val_fraction, shuffle, missing, drop_first
        self.save_hyperparameters()
        self._limit = 1e9 * memory_limit if memory_limit is not None else SHARE_OF_MEMORY * physical_memory()
        self._max_categories = max_categories
        self.target_names = [target] if isinstance(target, str) else list(target)
        if not self.target_names:
            raise InputError(f"{self._source.name}: no column is named as the target; give --data.target at least one")
        self._weight = [] if weight is None else [weight]
        self._features = self._chosen(features)
        self._text = [field.name for field in self._source.schema(self._features) if is_text(field.type)]
        self._chosen_batch_size = batch_size
        self._stage: str | None = None
        self._fitted: dict[str, Any] = {}  # categories and means; whether the rows were streamed

    def _chosen(self, features: list[str] | None) -> list[str]:
        name, columns = self._source.name, self._source.columns
        if features is None:
            self._source.require_same_columns()
        others = [*self.target_names, *self._weight]
        chosen = [each for each in columns if each not in others] if features is None else list(features)
        require_columns(name, columns, chosen, "--data.features")
        both = [each for each in chosen if each in self.target_names]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        require_kinds(name, self._source.schema(chosen))
        return chosen

    # ---- what is learnt from the rows to fit ----

    @property
    def feature_names(self) -> list[str]:
        """Names of the features; `column=value` for a category, which a pass over the rows may have to find first."""
        return self._encoding([]).feature_names if self._text else self._features

    @property
    def _others(self) -> list[str]:
        """The targets and the weight, those that the table has."""
        return [name for name in (*self.target_names, *self._weight) if name in self._source.columns]

    @cached_property
    def _table(self) -> Table:
        columns = list(dict.fromkeys([*self._features, *self._others]))
        schema = self._source.schema(columns)
        require_kinds(self._source.name, schema)
        self._source.watch = self.watch
        table = self._source.table(columns, self._limit)
        table.watch = self.watch
        if table.num_rows == 0:
            raise InputError(no_rows(table.name))
        for name in self._others:
            if is_text(schema.field(name).type):
                chunks.refuse_text(table, name)
        return table

    def _encoding(self, others: list[str]) -> Encoding:
        if "categories" not in self._fitted:
            found = chunks.categories(self._table, self._text, self._split, self._max_categories)
            self._fitted["categories"] = found
        encoding = Encoding(self._features, others, self._fitted["categories"], self.drop_first)
        names = encoding.feature_names
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise InputError(
                f"{self._source.name}: {quoted(doubled)} stands more than once, as column and as category; rename one"
            )
        return encoding

    def _chunks(self, targets: list[str], weight: list[str]) -> Chunks:
        encoding = self._encoding([*targets, *weight])
        widths = (len(encoding.feature_names), len(targets), *[1 for _ in weight])
        reader = Chunks(self._table, encoding, self._split, widths, self.missing)
        if self.missing != "mean":
            return reader
        if "means" not in self._fitted:
            fitted = reader if targets else self._chunks(self.target_names, self._weight)
            self._fitted["means"] = chunks.means(fitted).tolist()
        return replace(reader, means=np.array(self._fitted["means"]))

    def state_dict(self) -> dict[str, Any]:
        """Names and fingerprint, and what was learnt from the rows to fit."""
        return {**super().state_dict(), "fitted": self._fitted}

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Takes categories and means from the checkpoint, and streams the rows if it did."""
        fitted = dict(state_dict.get("fitted", {}))
        if any(self._fitted.get(name) != value for name, value in fitted.items()):
            self._fitted, stage, self._stage = fitted, self._stage, None
            if stage is not None:
                self.setup(stage)

    # ---- rows ----

    def setup(self, stage: str) -> None:
        """Reads the table, once; `stage` is one of fit, validate, test, predict, solve.

        In float32, as training computes; `solve` has all digits of the file, in float64.

        Raises:
            InputError: the table's contents can't be used, or a batch is larger than the rows.
        """
        if self._stage == stage:
            return
        targets, weight = ([], []) if stage == "predict" else (self.target_names, self._weight)
        for names, flag in ((targets or self._features, "--data.target"), (weight or self._features, "--data.weight")):
            require_columns(self._source.name, self._source.columns, names, flag)
        fits = stage in ("fit", "solve")
        part: Part = "fit" if fits else "held_out" if stage == "validate" and self.holds_out_rows else "all"
        keeps_missing = stage == "predict" and self.missing == "drop"
        reader, dtype = self._chunks(targets, weight), torch.float64 if stage == "solve" else torch.float32
        for name in ("triangle", "fingerprint"):
            self.__dict__.pop(name, None)  # of the rows before
        self._rows = self._read(reader, part, dtype, keeps_missing)
        self._held_out = self._read(reader, "held_out", dtype) if fits and self.holds_out_rows else self._rows
        if fits:
            self._require_some_rows()
            self._check_batches(stage)
        self._fitted.setdefault("streamed", isinstance(self._rows, StreamedRows))
        self._stage = stage

    def _read(self, reader: Chunks, part: Part, dtype: torch.dtype, keeps_missing: bool = False) -> Rows:
        """The rows of a part: held, or streamed where they are too many."""
        needed = reader.table.num_rows * sum(reader.widths) * dtype.itemsize
        shuffled_by = self._split.seed if self.shuffle else None
        if part == "fit" and needed > self._limit and self._fitted.get("streamed") is False:
            raise InputError(
                f"{self._source.name}: the run began with the table in memory, which takes {needed / 1e9:.2g} GB; raise"
                " --data.memory_limit, or start a new run"
            )
        if needed <= self._limit and not self._fitted.get("streamed"):
            nothing = tuple(torch.empty(0, width, dtype=dtype) for width in reader.widths)
            read = blocks(reader.of(part, None, keeps_missing), reader.table.num_rows, reader.widths, dtype)
            return MemoryRows(next(read, nothing), shuffled_by)
        counts = reader.table.group_rows if keeps_missing else reader.counts(part)
        return StreamedRows(
            lambda groups: reader.of(part, groups, keeps_missing), counts, reader.widths, dtype, shuffled_by
        )

    def _require_some_rows(self) -> None:
        fit, held_out = self._rows.num_rows, self._held_out.num_rows if self.holds_out_rows else 1
        if fit and held_out:
            return
        name, total = self._source.name, self._table.num_rows
        if self.holds_out_rows and fit + held_out:
            raise InputError(
                f"{name}: --data.val_fraction {self.val_fraction} of {total} rows leaves {fit} to fit and {held_out} to"
                " validate; both need at least one"
            )
        raise InputError(
            f"{name}: each of the {total} rows lacks a value, and --data.missing {self.missing} drops them; leave the"
            " emptiest columns out of --data.features"
        )

    def _check_batches(self, stage: str) -> None:
        """Settles the batch size, and takes the pass that a streamed table gets before its first epoch."""
        num_rows, name = self._rows.num_rows, self._source.name
        parts = -(-num_rows // LARGEST_BATCH)
        chosen = num_rows // parts if self._chosen_batch_size is None else self._chosen_batch_size
        self.batch_size = checked_batch_size(chosen, num_rows, f"rows to fit in {name}")
        held_out = self._held_out if self.holds_out_rows else None
        if isinstance(self._rows, StreamedRows):
            digest = Digest()
            self.triangle = triangle_of(self._drawn(digest.of(self._rows)))
            total = self.triangle.total_weight
            of_held_out = weight_of(digest.of(held_out)) if held_out else 1.0
            self.fingerprint = digest.hex
        else:
            total = weight_of(self.rows())
            of_held_out = weight_of(held_out.in_order()) if held_out else 1.0
        require_weight(name, min(total, of_held_out))
        self._mean_weight = total / self._num_drawn

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of all values; known after `setup`."""
        digest = Digest()
        for rows in (self._rows, self._held_out)[: 1 + self.holds_out_rows]:
            for _ in digest.of(rows):
                pass
        return digest.hex

    @property
    def num_rows_to_fit(self) -> int:
        """Rows that training draws from; known after `setup("fit")`."""
        return self._rows.num_rows

    @property
    def holds_out_rows(self) -> bool:
        """Whether there are rows to validate on while fitting."""
        return self.val_fraction > 0

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
        return (*batch[:2], batch[2] / self._mean_weight) if self._weight else batch

    def val_dataloader(self) -> RowsLoader | list[Batch]:
        """The rows that are held out; without any, none while fitting, and all for `validate`."""
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        return [] if fitting and not self.holds_out_rows else RowsLoader(self._held_out, self._source.name)

    def test_dataloader(self) -> RowsLoader:
        """All rows."""
        return RowsLoader(self._rows, self._source.name)

    def predict_dataloader(self) -> RowsLoader:
        """The features of all rows."""
        return RowsLoader(self._rows, self._source.name)


class Digest:
    """A checksum of rows in their order, however they are cut or kept."""

    def __init__(self) -> None:
        self._sum = 0

    def of(self, rows: Rows) -> Iterator[Batch]:
        """The rows, each noted as it passes."""
        for batch in rows.in_order():
            for part in batch:
                self._sum = zlib.crc32(part.contiguous().numpy().data, self._sum)
            yield batch

    @property
    def hex(self) -> str:
        """Of all that has passed."""
        return f"{self._sum:08x}"


def physical_memory() -> int:
    """Bytes of physical memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
