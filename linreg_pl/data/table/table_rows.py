"""Provides rows of tables of any size: held in memory if they fit, else read again at every epoch.

x (N, D) are the features and y (N, K) the targets, in the units of the file; text columns are one-hot encoded. Weights
are scaled to a mean of 1 over the training rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import torch

from linreg_pl.core.triangle import center_of, triangle_of
from linreg_pl.data.argument_types import check_types
from linreg_pl.data.base import checked_batch_size, checked_seed, equal_batch_size
from linreg_pl.data.columns import Column
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.encoding import require_columns
from linreg_pl.data.table.fingerprint import Fingerprint
from linreg_pl.data.table.fitted_table import FittedTable
from linreg_pl.data.table.held_out import HeldOut, SplitTable, memory_bytes
from linreg_pl.data.table.rows import RowsLoader, require_weight
from linreg_pl.data.table.sources import name_of, open_source, plain_path
from linreg_pl.data.table.split import HeldOutPart, Split
from linreg_pl.data.table.training_data import TrainingData
from linreg_pl.data.table.training_rows import learn_rows, unlearnt_rows
from linreg_pl.errors import InputError


class TableRows(TrainingData):
    """Reads features and targets from the columns of a table.

    `fit` and `solve` use the rows that are not held out. `validate` and `test` use their held-out rows: a fraction of
    the table, or files of their own. Without held-out rows they use all rows. `predict` uses all rows, and needs no
    target column. A checkpoint stores the columns, categories and means of the fit, and all commands use these.

    Args:
        path: A CSV file (.csv, .tsv, .txt, .dat, also .zip, .gz, .bz2, .xz, .zst), a Parquet file, or a Feather / Arrow
            IPC file; a list of files, a pattern such as data/*.parquet, a folder, or a URL. From Python also a pandas
            or polars DataFrame, or an Arrow table.
        target: Name of the column to predict, or a list of names.
        features: Names of the columns to predict from. By default those of the checkpoint; without a checkpoint, all
            columns except the targets, the weight, pandas' index, and text that differs in nearly every row.
        exclude: Names of columns to leave out, or patterns such as 'note*'.
        weight: Name of the column of weights, 0 or more: how much a row counts in J. By default all rows count alike.
            For standard errors, a weight is the inverse noise variance. Predictions need no weights.
        batch_size: Rows in a mini-batch. By default all rows, or equal batches of at most 4096 if there are
            more.
        shuffle: Draw a new random order of the rows at every epoch.
        val_fraction: Fraction of the rows to hold out for validation, drawn at random.
        test_fraction: Fraction of the rows to hold out for the test, drawn at random.
        val_path: Files with the rows to validate on, in any form that path takes.
        test_path: Files with the rows to test on, in any form that path takes.
        seed: Seed of the row order and of the held-out rows, a whole number from 0 on.
        categorical: Names of columns to one-hot encode, whatever they contain, such as codes written as numbers.
        numbers: Names of columns to read as numbers, though they have a unit or currency, the same in every row; (1.2)
            is -1.2.
        missing: How to treat rows with missing values: error refuses them, drop leaves them out, and mean imputes the
            feature's mean (rows without target or weight are dropped). indicator also adds a column of 0 and 1 for
            each feature with missing values. By default they are dropped, with a note, if at least half of the rows
            are complete, and refused otherwise. Predictions keep all rows, and are empty where a value is missing.
        missing_values: Texts that stand for a missing value, beside empty ones, NA, NaN, null and the like, and beside
            marks such as - or . in a column of numbers.
        decimal: Decimal mark of numbers written as text: '.' or ','. By default it is detected.
        day_first: true reads 01/02/2024 as 1 February, false as 2 January. By default the column's other dates decide.
        drop_first: Leave out the first category of each text column, which the intercept makes redundant.
        max_categories: Most categories that a text column may have.
        rare: How to treat a text column with more categories: error refuses it; other keeps the most frequent ones,
            and counts the rest as the category `other`.
        unseen: How to treat a category that no fitted row has, and a text where a number is due: error refuses it,
            missing takes it as a missing value, other counts the category as `other`. By default such rows are refused,
            but for predictions, which are empty.
        encoding: Encoding of CSV files, such as latin-1. By default UTF-8, or what the byte order mark says.
        delimiter: Character between the values of a CSV file. By default it is detected.
        column_names: Names of all columns, for CSV files without a header.
        memory_limit: Gigabytes up to which the table is held in memory. By default half of the machine's memory. A
            larger table is read anew at every epoch, and shuffled in windows.

    Raises:
        InputError: the table or a setting can't be used.

    Example:
        >>> data = linreg_pl.TableDataModule(pa.table({"area": [50, 80], "price": [100, 160]}), target="price")
        >>> data.feature_names, data.target_names
        (['area'], ['price'])
    """

    data_module = "TableDataModule"
    arrays: ClassVar[tuple[str, ...]] = ()
    """Arguments of a subclass that hold rows, and so are no hyper-parameters."""
    opened: RowsLoader
    """The rows of the current stage: to fit, to validate or test, or to predict; known after `setup`."""

    def __init__(
        self,
        path: str | list[str] | Any,
        target: list[str] | str,
        features: list[str] | None = None,
        exclude: list[str] | None = None,
        weight: Column | None = None,
        batch_size: int | None = None,
        shuffle: bool = True,
        val_fraction: float = 0.0,
        test_fraction: float = 0.0,
        val_path: str | list[str] | Any | None = None,
        test_path: str | list[str] | Any | None = None,
        seed: int = 0,
        categorical: list[str] | None = None,
        numbers: list[str] | None = None,
        missing: Literal["error", "drop", "mean", "indicator"] | None = None,
        missing_values: list[str] | None = None,
        decimal: Literal[".", ","] | None = None,
        day_first: bool | None = None,
        drop_first: bool = False,
        max_categories: int = 100,
        rare: Literal["error", "other"] = "error",
        unseen: Literal["error", "missing", "other"] | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        column_names: list[str] | None = None,
        memory_limit: float | None = None,
    ) -> None:
        self._given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_types(TableRows.__init__, self._given)
        super().__init__()
        split = Split(checked_seed(seed), val_fraction, test_fraction)
        if max_categories < 1:
            raise InputError(f"max_categories is {max_categories}: give --data.max_categories a whole number from 1 on")
        self._csv = Csv(delimiter, column_names, encoding, tuple(names(missing_values)))
        self._source = open_source(plain_path(path), self._csv)
        self.target_names = names(target, self._source.columns)
        self._design = Design(
            source=self._source,
            chosen=None if features is None else names(features),
            excluded=names(exclude),
            targets=self.target_names,
            weight=names(weight, self._source.columns),
            categorical=names(categorical),
            numbers=names(numbers),
            missing=missing,
            missing_values=names(missing_values),
            decimal=decimal,
            day_first=day_first,
            drop_first=drop_first,
            max_categories=max_categories,
            rare=rare,
            unseen=unseen,
        )
        self._memory_limit = memory_bytes(memory_limit)
        self._held_out = HeldOut(split, {"val": plain_path(val_path), "test": plain_path(test_path)})
        # A checkpoint contains plain types only.
        path, val_path, test_path = (name_of(plain_path(each)) for each in (path, val_path, test_path))
        self.save_hyperparameters(ignore=self.arrays)
        self.shuffle, self._seed, self._chosen_batch_size = shuffle, seed, batch_size
        self._opened: SplitTable | None = None
        self._lanes: int | None = None  # decided by the first setup for fit or solve, or by the checkpoint
        self._stage: str | None = None
        self._checksum_type = torch.float64

    @property
    def _tables(self) -> SplitTable:
        """Returns the table, opened when rows are first needed, so that `watch` can be set before."""
        if self._opened is None:
            fitted = FittedTable(self._design, self._held_out.split, self._memory_limit, self.watch, self.world)
            shuffled_by = self._seed if self.shuffle else None
            self._opened = SplitTable(fitted, self._held_out, self._csv, self._memory_limit, shuffled_by)
        return self._opened

    @property
    def paths(self) -> Sequence[Path]:
        """Returns the files of the table, if there are any."""
        return self._source.paths

    def state_dict(self) -> dict[str, Any]:
        """Returns names, fingerprint and its type, learnt categories and means, and the lanes of streamed rows."""
        return {
            **super().state_dict(),
            "checksum_type": str(self._checksum_type).removeprefix("torch."),
            "design": self._tables.fitted.learnt,
            "lanes": self._lanes,
        }

    def adopt(self, state_dict: dict[str, Any]) -> None:
        """Takes columns, categories and means from a checkpoint, and streams the rows if its run did.

        Checkpoints up to format 2 name no type of the checksum: it is of float32 values. Those that name no lanes say
        whether rows are streamed: in one lane.
        """
        checksum_type = getattr(torch, state_dict.get("checksum_type", "float32" if state_dict else "float64"))
        design = self._design.with_checkpoint(state_dict.get("design", {}))
        lanes = state_dict.get("lanes", state_dict.get("streams", self._lanes))
        known = {} if self._opened is None else self._opened.fitted.learnt
        is_same_design = design.learnt.to_dict().items() <= known.items()
        if is_same_design and lanes == self._lanes and checksum_type == self._checksum_type:
            return
        if not is_same_design:
            self._design, self._opened = design, None
        self._checksum_type = checksum_type
        self._lanes, stage, self._stage = lanes, self._stage, None
        if stage is not None:
            self.setup(stage)

    def set_aside(self, names: Sequence[str]) -> None:
        """Leaves columns out of the features, unless the user names them as such; call it before `setup`."""
        self._design, self._opened = replace(self._design, aside=tuple(names)), None

    def setup(self, stage: str) -> None:
        """Opens the rows for a stage: fit, validate, test, predict, solve or path; does nothing if they are open.

        Raises:
            InputError: the table's contents can't be used, or a batch is larger than the table.
        """
        if self._stage == stage:
            return
        if stage == "predict":
            self.opened = self._tables.rows_to_predict()
        elif stage in ("validate", "test"):
            self._tables.fitted.drops()
            self.opened = self._tables.rows_held_out("val" if stage == "validate" else "test")
        else:
            self._complete(lambda: self._set_up_training(stage), lambda: None)
        self._stage = stage

    def _set_up_training(self, stage: str) -> None:
        name, held_out, fingerprint = self._source.name, None, Fingerprint(self._checksum_type)
        rows = self._tables.rows_to_fit(self._lanes, collapses=stage == "solve")
        self._lanes = rows.num_lanes
        self.streams = self._lanes > 0
        self.preparation = None
        self.opened = RowsLoader(rows, name)
        in_order = rows.in_order()
        begin = list(islice(in_order, 1))  # a process may have no rows
        center = next(each for each in self.world.gathered(center_of(*begin[0]) if begin else None) if each is not None)
        in_order = chain(begin, in_order)
        if stage == "fit":
            self._tables.require_rows_to_test()
            if self.holds_out_rows:
                self.opened, in_order = self._tables.rows_held_out("val"), rows.in_order()  # one after the other
                held_out = triangle_of(fingerprint.noting(self.opened), center, self.world)
                require_weight(self.opened.name, held_out.total_weight)
        batch_size = equal_batch_size(rows.num_rows) if self._chosen_batch_size is None else self._chosen_batch_size
        self.batch_size = checked_batch_size(batch_size, rows.num_rows, f"rows to fit in {name}")
        num_drawn = rows.num_rows if self.shuffle else rows.num_rows // self.batch_size * self.batch_size
        noted = fingerprint if stage == "fit" else None
        if stage == "path" and self._lanes:
            self._training = unlearnt_rows(rows, num_drawn, center, self.watch, self.world)
            return
        summary, watch, world = self._tables.summary(center, begin, num_drawn == rows.num_rows), self.watch, self.world
        self._training = learn_rows(rows, name, in_order, num_drawn, center, held_out, noted, watch, world, summary)

    @property
    def holds_out_rows(self) -> bool:
        """Returns whether there are rows to validate on while fitting."""
        return self._held_out.has("val")

    @property
    def evaluated_rows(self) -> str:
        """Returns the number of rows to validate or test, and their file, in words."""
        rows = self.opened.in_words()
        return f"{rows}: all, since none are held out" if self.part_not_held_out else f"{rows}, held out"

    @property
    def part_not_held_out(self) -> str:
        """Returns val or test where all rows are validated or tested; see `Rows`."""
        part: HeldOutPart = "val" if self._stage == "validate" else "test"
        return "" if self._held_out.has(part) else part

    def as_written(self, columns: Sequence[str] | None) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Returns types and rows of these columns, all if None; a CSV file's values stay text, as written there."""
        chosen = self._source.columns if columns is None else list(columns)
        require_columns(self._source.name, self._source.columns, chosen, "--keep_columns")
        return self._source.as_written(chosen)


def names(chosen: Any, columns: Sequence[str] = ()) -> list[str]:
    """Returns a name, a list of names or None as a list of texts: a frame's names may be numbers or tuples."""
    if chosen is None:
        return []
    if isinstance(chosen, tuple) and str(chosen) in columns:  # one name of a pandas.MultiIndex
        return [str(chosen)]
    return [str(name) for name in (chosen if isinstance(chosen, list | tuple) else [chosen])]
