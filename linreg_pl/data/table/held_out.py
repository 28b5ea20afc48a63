"""Where do the rows to fit, to validate, to test and to predict lie, and are they held in memory, or streamed?"""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.encoded_rows import Chunks
from linreg_pl.data.table.memory import MemoryRows
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.rows import Rows, RowsLoader, rebatched
from linreg_pl.data.table.sources import Source, open_source
from linreg_pl.data.table.split import VERBS, HeldOut, Part
from linreg_pl.data.table.streamed import StreamedRows
from linreg_pl.errors import InputError

SHARE_OF_MEMORY = 0.5
"""Of the machine's, for the rows to fit."""


@dataclass(eq=False)
class Parts:
    """Rows of a table that is split, or of several.

    Args:
        design: Of the rows to fit.
        apart: Where rows to validate and to test lie, if they are no part of the same table.
        csv: How such files are written.
        gigabytes: Of the rows to fit up to which they are held; all other rows are read when they are asked for.
            Half of the machine's memory if not given.
        shuffled_by: Seed of the rows' order at each epoch; None keeps the table's.
        streams: Whether the rows to fit are streamed; None until it is settled. A run never changes it.

    Raises:
        InputError: rows lie apart of which a fraction is asked for, or the memory is no size.
    """

    design: Design
    apart: dict[HeldOut, Any]
    csv: Csv
    gigabytes: float | None
    shuffled_by: int | None
    streams: bool | None = None

    def __post_init__(self) -> None:
        if self.gigabytes is not None and not self.gigabytes >= 0:
            raise InputError(f"memory_limit is {self.gigabytes}: give --data.memory_limit a number of GB, 0 or more")
        for part, there in self.apart.items():
            if there is not None and self.design.split.fraction(part):
                raise InputError(
                    f"{part}_path and {part}_fraction both say which rows to {VERBS[part]}: leave --data.{part}_path"
                    f" out, or give --data.{part}_fraction 0"
                )

    @cached_property
    def memory_limit(self) -> float:
        """Bytes."""
        return SHARE_OF_MEMORY * physical_memory() if self.gigabytes is None else 1e9 * self.gigabytes

    def are_held_out(self, part: HeldOut) -> bool:
        """Whether some rows are held out for it."""
        return self.design.split.fraction(part) > 0 or self.apart[part] is not None

    def to_fit(self, dtype: torch.dtype) -> Rows:
        """The rows that are not held out: held in memory, or streamed where they are too many.

        Raises:
            InputError: there are none, or too many for a run that began with them in memory.
        """
        self.design.require_others()
        reader = self.design.chunks(self.design.fitted)
        beside = 0 if self.shuffled_by is None else MemoryRows.shuffle_bytes_per_row
        needed = reader.table.num_rows * (sum(reader.widths) * dtype.itemsize + beside)
        if needed > self.memory_limit and self.streams is False:
            raise InputError(
                f"{self.design.source.name}: the run began with the table in memory, which takes"
                f" {needed / 1e9:.2g} GB; raise --data.memory_limit, or start a new run"
            )
        self.streams = needed > self.memory_limit or bool(self.streams)
        rows = self._streamed(reader, "fit", dtype) if self.streams else self._held(reader, dtype)
        self._require_rows("fit", reader.table, rows.num_rows)
        return rows

    def held_out(self, part: HeldOut) -> RowsLoader:
        """The rows that are held out to validate or to test; all, where none are.

        Raises:
            InputError: there are none, or they are not like those to fit.
        """
        if self.apart[part] is None:
            self.design.require_others()
            table: Table = self.design.fitted
            chosen: Part = part if self.design.split.fraction(part) else "all"
        else:
            table, chosen = self.design.table(self._source(part), self.design.others, f"--data.{part}_path"), "all"
        rows = self._streamed(self.design.chunks(table), chosen)
        self._require_rows(chosen, table, rows.num_rows)
        return RowsLoader(rows, table.name)

    def to_predict(self) -> RowsLoader:
        """All rows, of which the targets are not known; also those that lack a value, unless that is an error."""
        table = self.design.table(self.design.source, [], "--data.path")
        return RowsLoader(self._streamed(self.design.chunks(table, predicts=True), "all"), table.name)

    def require_rows_to_test(self) -> None:
        """Checks that there will be some, so that a run does not end without any; reads none.

        Raises:
            InputError: there are none.
        """
        split, table = self.design.split, self.design.fitted
        if self.apart["test"] is not None:
            self.design.schema(self._source("test"), self.design.others, "--data.test_path")
        elif split.test_fraction:
            self._require_rows("test", table, split.count("test", 0, table.num_rows))

    def _source(self, part: HeldOut) -> Source:
        return open_source(self.apart[part], self.csv)

    def _held(self, reader: Chunks, dtype: torch.dtype) -> MemoryRows:
        nothing = tuple(torch.empty(0, width, dtype=dtype) for width in reader.widths)
        rows = next(rebatched(reader.of("fit"), reader.table.num_rows, reader.widths, dtype), nothing)
        return MemoryRows(rows, self.shuffled_by)

    def _streamed(self, reader: Chunks, part: Part, dtype: torch.dtype = torch.float32) -> StreamedRows:
        predicts = reader.widths[1] == 0
        counts = reader.table.group_rows if predicts else reader.counts(part)
        keeps_missing = predicts and reader.missing == "drop"
        return StreamedRows(
            lambda groups: reader.of(part, groups, keeps_missing), counts, reader.widths, dtype, self.shuffled_by
        )

    def _require_rows(self, part: Part, table: Table, num_rows: int) -> None:
        if num_rows:
            return
        split = self.design.split
        if not split.count(part, 0, table.num_rows):
            held_out = ("val", split.val_fraction), ("test", split.test_fraction)
            fractions = " and ".join(f"--data.{each}_fraction {fraction}" for each, fraction in held_out if fraction)
            raise InputError(
                f"{table.name}: {fractions} of {table.num_rows} rows leaves 0 to {VERBS[part]}; give"
                " another fraction, or more rows"
            )
        raise InputError(
            f"{table.name}: each of the {table.num_rows} rows lacks a value, and --data.missing"
            f" {self.design.missing} drops them; leave the emptiest columns out of --data.features"
        )


def physical_memory() -> int:
    """Bytes of physical memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
