"""Columns of a table, of whatever size: in memory where it fits, else streamed.

x (N, D) are the features, y (N, K) the targets, both float32, in the file's own units; a category is a column of
0 and 1. Weights, where rows have some, are scaled once, to be 1 on average over the rows that are trained on.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from linreg_pl.core.triangle import triangle_of, weight_of
from linreg_pl.data import chunks
from linreg_pl.data.batches import Batch, BatchDataModule, Summary, checked_batch_size, checked_seed
from linreg_pl.data.chunks import Chunks
from linreg_pl.data.columns import Encoding, is_text, require_columns, require_kinds
from linreg_pl.data.csv_files import Csv, no_rows
from linreg_pl.data.digest import Digest
from linreg_pl.data.rows import MemoryRows, Rows, RowsLoader, StreamedRows, blocks, require_weight
from linreg_pl.data.sources import ArrowStream, Source, open_source
from linreg_pl.data.split import VERBS, HeldOut, Part, Split
from linreg_pl.data.tables import Table
from linreg_pl.errors import InputError, quoted, shortened

SHARE_OF_MEMORY = 0.5
"""Of the machine's, for the rows to fit."""


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
            without one, all but the targets and the weight.
        weight: Name of the column that says how much each row counts, 0 or more: a weight of 2 is a row that stands
            there twice. All count alike if not given. To predict, none is needed.
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
        self._split = Split(checked_seed(seed), val_fraction, test_fraction)
        if memory_limit is not None and not memory_limit >= 0:
            raise InputError(f"memory_limit is {memory_limit}: give --data.memory_limit a number of GB, 0 or more")
        if max_categories < 1:
            raise InputError(f"max_categories is {max_categories}: give --data.max_categories a whole number from 1 on")
        self._csv = Csv(delimiter, column_names)
        self._source = open_source(of_files(path), self._csv)
        self._apart: dict[HeldOut, Any] = {"val": of_files(val_path), "test": of_files(test_path)}
        for part, there in self._apart.items():
            if there is not None and self._split.fraction(part):
                raise InputError(
                    f"{part}_path and {part}_fraction both say which rows to {VERBS[part]}: leave --data.{part}_path"
                    f" out, or give --data.{part}_fraction 0"
                )
        # A checkpoint holds plain types only.
        path, val_path, test_path = (name_of(of_files(of)) for of in (path, val_path, test_path))
        self.shuffle, self.missing, self.drop_first = shuffle, missing, drop_first
        self.save_hyperparameters()
        self._limit = 1e9 * memory_limit if memory_limit is not None else SHARE_OF_MEMORY * physical_memory()
        self._max_categories = max_categories
        self.target_names = [target] if isinstance(target, str) else list(target)
        if not self.target_names:
            raise InputError(f"{self._source.name}: no column is named as the target; give --data.target at least one")
        self._weight = [] if weight is None else [weight]
        self._given_features, self._chosen_batch_size = features, batch_size
        self._stage: str | None = None
        self._fitted: dict[str, Any] = {}  # categories and means; whether the rows were streamed

    # ---- what is learnt from the rows to fit ----

    @cached_property
    def _features(self) -> list[str]:
        """The columns to predict from, unless a checkpoint has said which they are."""
        name, columns, features = self._source.name, self._source.columns, self._given_features
        if features is None:
            self._source.require_same_columns()
        chosen = [each for each in columns if each not in self._others] if features is None else list(features)
        require_columns(name, columns, chosen, "--data.features")
        both = [each for each in chosen if each in self.target_names]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        require_kinds(name, self._source.schema(chosen))
        return chosen

    @cached_property
    def _text(self) -> list[str]:
        """The features that have categories."""
        if "categories" in self._fitted:
            return list(self._fitted["categories"])
        return [field.name for field in self._source.schema(self._features) if is_text(field.type)]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features; `column=value` for a category, which a pass over the rows may have to find first."""
        return self._encoding([]).feature_names if self._text else self._features

    @cached_property
    def _table(self) -> Table:
        return self._opened(
            self._source, [name for name in self._others if name in self._source.columns], "--data.path"
        )

    @property
    def _others(self) -> list[str]:
        """The columns beside the features."""
        return [*self.target_names, *self._weight]

    def _opened(self, source: Source, others: list[str], flag: str) -> Table:
        """A table of the features and some other columns, of the kinds that were fitted."""
        schema = self._checked_schema(source, others, flag)
        source.watch = self.watch
        table = source.table(schema, self._limit)
        table.watch = self.watch
        if table.num_rows == 0:
            raise InputError(no_rows(table.name))
        for field in table.schema:
            if is_text(field.type) and (field.name in others or field.name not in self._text):
                chunks.refuse_text(table, field.name)
        return table

    def _checked_schema(self, source: Source, others: list[str], flag: str) -> pa.Schema:
        columns = list(dict.fromkeys([*self._features, *others]))  # the weight may be a feature, too
        require_columns(source.name, source.columns, columns, flag)
        schema = source.schema(columns, text=self._text)
        require_kinds(source.name, schema)
        for name in self._text:
            kind = schema.field(name).type
            if not (is_text(kind) or pa.types.is_null(kind)):
                raise InputError(
                    f"{source.name}: column {shortened(name)} holds {kind}, but text in the rows that were fitted;"
                    " write it as text"
                )
        return schema

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

    def _chunks(self, table: Table, predicts: bool = False) -> Chunks:
        """The table's rows as numbers; to predict, of the features alone."""
        reader = self._unfilled(table, [] if predicts else self.target_names, [] if predicts else self._weight)
        if self.missing != "mean":
            return reader
        if "means" not in self._fitted:
            known = self._unfilled(self._table, self.target_names, self._weight)
            self._fitted["means"] = chunks.means(known).tolist()
        return replace(reader, means=np.array(self._fitted["means"]))

    def _unfilled(self, table: Table, targets: list[str], weight: list[str]) -> Chunks:
        encoding = self._encoding([*targets, *weight])
        widths = (len(encoding.feature_names), len(targets), *[1 for _ in weight])
        return Chunks(table, encoding, self._split, widths, self.missing)

    def state_dict(self) -> dict[str, Any]:
        """Names and fingerprint, and what was learnt from the rows to fit."""
        return {**super().state_dict(), "features": self._features, "fitted": self._fitted}

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Takes columns, categories and means from the checkpoint, and streams the rows if it did."""
        fitted = dict(state_dict.get("fitted", {}))
        features = self._given_features or list(state_dict.get("features", [])) or self._features
        if self.__dict__.get("_features") == features and all(
            self._fitted.get(name) == fitted[name] for name in fitted
        ):
            return
        for name in ("_text", "_table"):
            self.__dict__.pop(name, None)
        self._features, self._fitted, stage, self._stage = features, fitted, self._stage, None
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
        for name in ("triangle", "fingerprint", "held_out"):
            self.__dict__.pop(name, None)  # of the rows before
        if stage in ("fit", "solve"):
            self._set_up_training(stage)
        elif stage == "predict":
            table = self._opened(self._source, [], "--data.path")
            self._loader = RowsLoader(self._streamed(self._chunks(table, predicts=True), "all"), table.name)
        else:
            self._loader = self._loader_of("val" if stage == "validate" else "test")
        self._stage = stage

    def _set_up_training(self, stage: str) -> None:
        self._require_others()
        self._rows = self._rows_to_fit(torch.float64 if stage == "solve" else torch.float32)
        self._require_rows("fit", self._table, self._rows.num_rows)
        self._loader, self._digest = RowsLoader(self._rows, self._source.name), Digest()
        if stage == "fit":
            self._require_rows_to_test()
            if self.holds_out_rows:
                self._loader = self._loader_of("val")
                self.held_out = triangle_of(self._digest.of(self._loader))
        self._check_batches()
        self._fitted.setdefault("streamed", isinstance(self._rows, StreamedRows))

    def _rows_to_fit(self, dtype: torch.dtype) -> Rows:
        """Held, or streamed where they are too many."""
        reader = self._chunks(self._table)
        needed = reader.table.num_rows * sum(reader.widths) * dtype.itemsize
        if needed > self._limit and self._fitted.get("streamed") is False:
            raise InputError(
                f"{self._source.name}: the run began with the table in memory, which takes {needed / 1e9:.2g} GB; raise"
                " --data.memory_limit, or start a new run"
            )
        if needed > self._limit or self._fitted.get("streamed"):
            return self._streamed(reader, "fit", dtype)
        nothing = tuple(torch.empty(0, width, dtype=dtype) for width in reader.widths)
        parts = next(blocks(reader.of("fit"), reader.table.num_rows, reader.widths, dtype), nothing)
        return MemoryRows(parts, self._split.seed if self.shuffle else None)

    def _loader_of(self, part: HeldOut) -> RowsLoader:
        """The rows that are held out to validate or to test; all, where none are."""
        if self._apart[part] is None:
            self._require_others()
            table, of = self._table, part if self._split.fraction(part) else "all"
        else:
            table, of = self._opened(self._source_apart(part), self._others, f"--data.{part}_path"), "all"
        rows = self._streamed(self._chunks(table), of)
        self._require_rows(part if of == part else "all", table, rows.num_rows)
        return RowsLoader(rows, table.name)

    def _source_apart(self, part: HeldOut) -> Source:
        return open_source(self._apart[part], self._csv)

    def _streamed(self, reader: Chunks, part: Part, dtype: torch.dtype = torch.float32) -> StreamedRows:
        """Rows that are read when they are asked for; without targets those, too, that lack a value."""
        predicts = reader.widths[1] == 0
        counts = reader.table.group_rows if predicts else reader.counts(part)
        keeps_missing = predicts and self.missing == "drop"
        seed = self._split.seed if self.shuffle else None
        return StreamedRows(lambda groups: reader.of(part, groups, keeps_missing), counts, reader.widths, dtype, seed)

    def _require_others(self) -> None:
        require_columns(self._source.name, self._source.columns, self.target_names, "--data.target")
        if self._weight:
            require_columns(self._source.name, self._source.columns, self._weight, "--data.weight")

    def _require_rows_to_test(self) -> None:
        """So that a run does not end without any."""
        if self._apart["test"] is not None:
            self._checked_schema(self._source_apart("test"), self._others, "--data.test_path")
        elif self._split.test_fraction:
            self._require_rows("test", self._table, self._split.count("test", 0, self._table.num_rows))

    def _require_rows(self, part: Part, table: Table, num_rows: int) -> None:
        if num_rows:
            return
        if not self._split.count(part, 0, table.num_rows):
            held_out = ("val", self._split.val_fraction), ("test", self._split.test_fraction)
            fractions = " and ".join(f"--data.{each}_fraction {fraction}" for each, fraction in held_out if fraction)
            raise InputError(
                f"{table.name}: {fractions} of {table.num_rows} rows leaves 0 to {VERBS[part]}; give"
                " another fraction, or more rows"
            )
        raise InputError(
            f"{table.name}: each of the {table.num_rows} rows lacks a value, and --data.missing {self.missing} drops"
            " them; leave the emptiest columns out of --data.features"
        )

    def _check_batches(self) -> None:
        """Settles the batch size, and takes the pass that a streamed table gets before its first epoch."""
        num_rows, name = self._rows.num_rows, self._source.name
        parts = -(-num_rows // LARGEST_BATCH)
        chosen = num_rows // parts if self._chosen_batch_size is None else self._chosen_batch_size
        self.batch_size = checked_batch_size(chosen, num_rows, f"rows to fit in {name}")
        if isinstance(self._rows, StreamedRows):
            self.triangle = triangle_of(self._drawn(self._digest.of(self._rows.in_order())))
            self.fingerprint = self._digest.hex
            total = self.triangle.total_weight
        else:
            total = weight_of(self.rows())
        require_weight(name, total)
        self._mean_weight = total / self._num_drawn

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of all values to fit and to validate; known after `setup`."""
        digest = Digest(after=self._digest)
        for _ in digest.of(self._rows.in_order()):
            pass
        return digest.hex

    @property
    def num_rows_to_fit(self) -> int:
        """Rows that training draws from; known after `setup("fit")`."""
        return self._rows.num_rows

    @property
    def holds_out_rows(self) -> bool:
        """Whether there are rows to validate on while fitting."""
        return self._split.val_fraction > 0 or self._apart["val"] is not None

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


def of_files(path: Any) -> Any:
    """A path of any kind as text, or as a list of texts; a frame as it is."""
    if path is None or isinstance(path, ArrowStream):
        return path
    return [str(each) for each in path] if isinstance(path, list) else str(path)


def name_of(path: Any) -> Any:
    """The same for a checkpoint, which can't hold a frame."""
    return f"the {type(path).__name__}" if isinstance(path, ArrowStream) else path


def physical_memory() -> int:
    """Bytes of physical memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
