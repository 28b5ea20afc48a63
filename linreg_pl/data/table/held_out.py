"""Finds the rows to fit, validate, test and predict; those to fit are held in memory, or streamed if too large."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from linreg_pl.core.triangle import Triangle
from linreg_pl.data.loaders import Batch
from linreg_pl.data.table.collapsed_rows import CollapsedRows, CollapsedStream
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.encoded_rows import EncodedRows
from linreg_pl.data.table.fitted_table import FittedTable
from linreg_pl.data.table.memory import MemoryRows
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.rows import Rows, RowsLoader, rebatched
from linreg_pl.data.table.sources import Source, open_source
from linreg_pl.data.table.split import HeldOutPart, Part, Split
from linreg_pl.data.table.streamed import StreamedRows
from linreg_pl.errors import InputError

VERBS = {"fit": "fit", "val": "validate", "test": "test"}
"""What the rows of each part are for, in messages."""


@dataclass(frozen=True)
class HeldOut:
    """The rows that are not fitted: a fraction of the table, or files of their own.

    Args:
        split: Fractions of the table.
        paths: Files with rows to validate and to test; None if there are none.

    Raises:
        InputError: both a fraction and files are given.
    """

    split: Split
    paths: dict[HeldOutPart, Any]

    def __post_init__(self) -> None:
        for part, path in self.paths.items():
            if path is not None and self.split.fraction(part):
                raise InputError(
                    f"{part}_path and {part}_fraction both say which rows to {VERBS[part]}: leave --data.{part}_path"
                    f" out, or give --data.{part}_fraction 0"
                )

    def has(self, part: HeldOutPart) -> bool:
        """Says whether rows are held out for this part."""
        return self.split.fraction(part) > 0 or self.paths[part] is not None


@dataclass(frozen=True, eq=False)
class SplitTable:
    """The rows of each part, from one table or from several.

    Args:
        fitted: The table with the rows to fit.
        held_out: Which rows to validate and to test.
        csv: Format of CSV files.
        memory_limit: Bytes up to which the rows to fit are held in memory. All other rows are always streamed.
        shuffled_by: Seed of the row order of each epoch; None keeps the table's order.
    """

    fitted: FittedTable
    held_out: HeldOut
    csv: Csv
    memory_limit: float
    shuffled_by: int | None

    def rows_to_fit(self, lanes: int | None, collapses: bool = False) -> Rows:
        """Returns the rows that are not held out: in memory, or streamed if they are larger than the limit.

        Args:
            lanes: The lanes in which the run has streamed its rows so far, 0 if it held them in memory; None for a new
                run. A run never changes it.
            collapses: Whether to collapse equal rows where that pays.

        Raises:
            InputError: there are no rows, or the run began in memory and they no longer fit.
        """
        self.fitted.learn()
        encoded = self.fitted.encoded(self.fitted.table, "fit")
        self.fitted.collapse(collapses)
        shuffling = 0 if self.shuffled_by is None else MemoryRows.shuffle_bytes_per_row
        needed = encoded.table.num_rows * (sum(encoded.widths) * MemoryRows.bytes_per_value + shuffling)
        if needed > self.memory_limit and lanes == 0:
            raise InputError(
                f"{self.fitted.design.source.name}: the run began with the table in memory, which takes"
                f" {needed / 1e9:.2g} GB; raise --data.memory_limit, or start a new run"
            )
        streams = any(encoded.table.world.gathered(needed > self.memory_limit or bool(lanes)))
        rows = self._streamed(encoded, "fit", lanes) if streams else self._in_memory(encoded)
        self._require_rows("fit", encoded.table, rows.num_rows)
        if self.fitted.gaps is None:  # as a checkpoint has stored the columns
            self._note_dropped("fit", self.fitted.split.count("fit", 0, encoded.table.num_rows), rows.num_rows)
        return rows

    def summary(self, center: Tensor, first_rows: Sequence[Batch], draws_all: bool) -> Triangle | None:
        """Returns the triangle of the rows to fit, if equal rows are collapsed, and training draws from all rows."""
        if self.fitted.collapsed is None or not draws_all:
            self.fitted.collapsed = None
            return None
        return self.fitted.collapsed.triangle(self.fitted.feature_encoding, center, first_rows)

    def rows_held_out(self, part: HeldOutPart) -> RowsLoader:
        """Returns the rows to validate or to test; all rows if none are held out.

        Raises:
            InputError: there are no rows, or their columns differ from those to fit.
        """
        rows_of: Part = "all"
        if self.held_out.paths[part] is None:
            self.fitted.learn()
            table: Table = self.fitted.table
            rows_of = part if self.fitted.split.fraction(part) else "all"
        else:
            table = self.fitted.open(self._source(part), self.fitted.design.others, f"--data.{part}_path")
        rows = self._streamed(self.fitted.encoded(table, rows_of), rows_of)
        self._require_rows(rows_of, table, rows.num_rows)
        num_rows = self.fitted.split.count(rows_of, 0, table.num_rows)
        self._note_dropped(part, num_rows, rows.num_rows)
        return RowsLoader(rows, table.name, num_rows - rows.num_rows)

    def rows_to_predict(self) -> RowsLoader:
        """Returns the features of all rows, those with missing values too."""
        table = self.fitted.open(self.fitted.design.source, [], "--data.path")
        return RowsLoader(self._streamed(self.fitted.encoded(table, "predict"), "all"), table.name)

    def require_rows_to_test(self) -> None:
        """Checks, without reading rows, that a later test will find its rows.

        Raises:
            InputError: there are no rows, or their columns differ from those to fit.
        """
        split, table = self.fitted.split, self.fitted.table
        if self.held_out.paths["test"] is not None:
            self.fitted.design.schema(self._source("test"), self.fitted.design.others, "--data.test_path")
        elif split.test_fraction:
            self._require_rows("test", table, split.count("test", 0, table.num_rows))

    def _source(self, part: HeldOutPart) -> Source:
        return open_source(self.held_out.paths[part], self.csv)

    def _in_memory(self, encoded: EncodedRows) -> MemoryRows:
        widths, world, equal = encoded.widths, encoded.table.world, self.fitted.collapsed
        if equal is not None:
            features = partial(equal.features, self.fitted.feature_encoding)
            return CollapsedRows(equal.in_memory, features, widths, self.shuffled_by, world)
        return MemoryRows(lambda size: rebatched(encoded.read("fit"), size, widths), widths, self.shuffled_by, world)

    def _streamed(self, encoded: EncodedRows, part: Part, lanes: int | None = None) -> StreamedRows:
        equal, table = self.fitted.collapsed if part == "fit" else None, encoded.table
        kept = None if equal is None else (rows for rows, *_ in equal.kept())
        group_rows, own = (table.group_rows, table.own_rows) if encoded.predicts else encoded.group_rows(part, kept)
        rest = group_rows, encoded.widths, self.shuffled_by, own, lanes
        if equal is None:
            return StreamedRows(lambda groups: encoded.read(part, groups), *rest)
        features = partial(equal.features, self.fitted.feature_encoding)
        return CollapsedStream(equal.kept, features, lambda groups: encoded.read(part, groups), *rest)

    def _note_dropped(self, part: Part, total: int, kept: int) -> None:
        if kept < total:
            what = "missing or unseen" if self.fitted.design.unseen == "missing" else "missing"
            self.fitted.dropped[part] = f"dropped {total - kept} of {total} rows to {VERBS[part]}, with a {what} value"

    def _require_rows(self, part: Part, table: Table, num_rows: int) -> None:
        if num_rows:
            return
        split = self.fitted.split
        if not split.count(part, 0, table.num_rows):
            fractions = ("val", split.val_fraction), ("test", split.test_fraction)
            flags = " and ".join(f"--data.{each}_fraction {fraction}" for each, fraction in fractions if fraction)
            raise InputError(
                f"{table.name}: {flags} of {table.num_rows} rows leaves 0 to {VERBS[part]}; give another fraction, or"
                " more rows"
            )
        words = "" if self.fitted.gaps is None else f", {self.fitted.gaps.in_words()}"
        raise InputError(
            f"{table.name}: each of the {table.num_rows} rows lacks a value{words}; give --data.missing mean, or leave"
            " the emptiest columns out with --data.exclude"
        )


def memory_bytes(gigabytes: float | None) -> float:
    """Returns a memory limit in bytes; half of the machine's memory if none is given.

    Raises:
        InputError: it is negative.
    """
    if gigabytes is None:
        return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if not gigabytes >= 0:
        raise InputError(f"memory_limit is {gigabytes}: give --data.memory_limit a number of GB, 0 or more")
    return 1e9 * gigabytes
