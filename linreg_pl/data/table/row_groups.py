"""Tables as groups of rows that can be read in any order, without holding all of them in memory.

Parquet files have row groups, and a table in memory can be cut into groups. CSV and Arrow IPC files are read once, from
start to end, into memory. If memory is too small, they are copied into a memory-mapped Arrow file: see `collected`.
"""

import itertools
import math
import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from linreg_pl.core.world import ALONE, World
from linreg_pl.data.progress import Watch
from linreg_pl.data.table.files import File, file_stamp
from linreg_pl.data.table.remote_copy import fetch, have_holes
from linreg_pl.errors import InputError

RECORD_BATCH_ROWS = 32_768
"""Rows in a record batch: few enough that its columns stay in the processor's cache while they are encoded."""


class Table(ABC):
    """Groups of rows, and the names of their files for messages.

    Args:
        schema: Names and types of the columns.
        group_rows: Number of rows in each group.
        file_rows: Name of each file, in order, and its number of rows.
        watch: Sees each batch of a pass over all rows.
        world: The processes that share the rows.
        groups: The groups that this process reads.
        own_rows: The numbers of the rows that it reads: all of these groups, or a part of the first and the last.
    """

    def __init__(
        self,
        schema: pa.Schema,
        group_rows: list[int],
        file_rows: list[tuple[str, int]],
        watch: Watch,
        world: World,
        groups: range,
        own_rows: range,
    ) -> None:
        self.schema, self.group_rows = schema, group_rows
        self.world, self.groups, self.own_rows = world, groups, own_rows
        self._file_rows, self._watch = file_rows, watch

    @property
    def num_rows(self) -> int:
        """Returns the number of rows in all groups."""
        return sum(self.group_rows)

    @property
    def name(self) -> str:
        """Returns the table's name in messages."""
        first = self._file_rows[0][0]
        return first if len(self._file_rows) == 1 else f"{first} and {len(self._file_rows) - 1} more"

    @abstractmethod
    def batches(
        self, groups: Sequence[int], columns: Sequence[str], keeps_codes: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads this process's rows of some groups, in the order in which `groups` lists them.

        Args:
            groups: The groups.
            columns: Names of the columns to read.
            keeps_codes: Leave texts that the file has as codes of a dictionary as such, which takes less time.

        Yields:
            The first row's number in the whole table, from 0, and the rows.

        Raises:
            InputError: a file has changed or vanished since it was opened, or is damaged.
        """

    def all_batches(self, columns: Sequence[str], keeps_codes: bool = False) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads all rows of this process in order, and reports the progress to `watch`."""
        batches = self.batches(self.groups, columns, keeps_codes)
        return self._watch(batches, len(self.own_rows), lambda numbered: numbered[1].num_rows)

    def place(self, row: int) -> tuple[str, int]:
        """Returns the file of a row, and the row's number there, from 1."""
        for name, num_rows in self._file_rows:
            if row < num_rows:
                return name, row + 1
            row -= num_rows
        raise IndexError(row)


class ArrowTable(Table):
    """An Arrow table, in memory or memory-mapped, cut into groups of 65,536 rows.

    Two processes may share a group, since groups do not depend on the number of processes.

    Args:
        table: The rows of this process; those of processes of higher rank follow.
        file_rows: As in `Table`, like the next two.
        watch: Likewise.
        world: Likewise.
    """

    rows_in_group = 65_536

    def __init__(self, table: pa.Table, file_rows: list[tuple[str, int]], watch: Watch, world: World = ALONE) -> None:
        shares = world.gathered(table.num_rows)
        num_rows, first, size = sum(shares), sum(shares[: world.rank]), self.rows_in_group
        own_rows = range(first, first + table.num_rows)
        groups = range(own_rows.start // size, -(-own_rows.stop // size))
        group_rows = [min(size, num_rows - start) for start in range(0, num_rows, size)]
        self._table = table
        super().__init__(table.schema, group_rows, file_rows, watch, world, groups, own_rows)

    def batches(
        self, groups: Sequence[int], columns: Sequence[str], keeps_codes: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads the rows of some groups; see `Table`."""
        table = self._table.select(list(columns))
        own = self.own_rows
        for group in groups:
            start = max(own.start, group * self.rows_in_group)
            stop = min(own.stop, (group + 1) * self.rows_in_group)
            for batch in table.slice(start - own.start, max(0, stop - start)).to_batches(RECORD_BATCH_ROWS):
                yield start, batch
                start += batch.num_rows


class ParquetTable(Table):
    """Parquet files. Only the columns and row groups that are asked for are read."""

    scan_rows = 131_072
    """Rows that one scan reads, or one row group if that has more.

    A scan buffers all of them if the reader is slower. Scans of a thousand rows each took twice as long.
    """

    def __init__(self, files: Sequence[File], schema: pa.Schema, watch: Watch, world: World = ALONE) -> None:
        file_rows = []
        self._groups: list[ds.ParquetFileFragment] = []
        self._paths = {os.fspath(file.path): file.path for file in files}
        self._stamps = {file.path: file_stamp(file.path) for file in files}
        self._have_holes = have_holes(self._stamps)
        self._format = ds.ParquetFileFormat()
        texts = [each.name for each in schema if pa.types.is_string(each.type)]
        self._coded = set[str]()  # columns that some file has as codes
        for path, partitions in files:
            condition = ds.scalar(True)
            for name, value in partitions.items():
                condition = condition & (ds.field(name) == value)
            with reading(path):
                whole_file = self._format.make_fragment(os.fspath(path), pa.fs.LocalFileSystem(), condition)
                if coded := _coded_columns(whole_file.metadata, texts):
                    with_codes = ds.ParquetFileFormat(dictionary_columns=coded)
                    whole_file = with_codes.make_fragment(os.fspath(path), pa.fs.LocalFileSystem(), condition)
                    self._coded.update(coded)
                self._groups += whole_file.split_by_row_group()
                file_rows.append((str(path), whole_file.metadata.num_rows))
        group_rows = [group.row_groups[0].num_rows for group in self._groups]
        self._starts = [0, *itertools.accumulate(group_rows)]
        groups = world.share(group_rows)
        own_rows = range(self._starts[groups.start], self._starts[groups.stop])
        super().__init__(schema, group_rows, file_rows, watch, world, groups, own_rows)

    def batches(
        self, groups: Sequence[int], columns: Sequence[str], keeps_codes: bool = False
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads the rows of some groups; see `Table`."""
        coded, schema = pa.dictionary(pa.int32(), pa.string()), self.schema
        for name in self._coded if keeps_codes else ():
            schema = schema.set(schema.get_field_index(name), pa.field(name, coded))
        start, num_rows = 0, 0
        for end, group in enumerate(groups, start=1):
            num_rows += self.group_rows[group]
            if num_rows >= self.scan_rows or end == len(groups):
                if self._have_holes:
                    fetch(map(self._place_of_group, groups[start:]), columns, needed=end - start)
                yield from self._scanned(groups[start:end], columns, schema)
                start, num_rows = end, 0

    def _place_of_group(self, group: int) -> tuple[Path, Any]:
        """Returns the file of a row group, and where its columns are there."""
        fragment = self._groups[group]
        return self._paths[fragment.path], fragment.row_groups[0].metadata

    def _scanned(
        self, groups: Sequence[int], columns: Sequence[str], schema: pa.Schema
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Reads the rows of some groups in one scan; kept short, since a scan buffers ahead of its reader."""
        chosen = [self._groups[group] for group in groups]
        dataset = ds.FileSystemDataset(chosen, schema, self._format, pa.fs.LocalFileSystem())
        scanner = dataset.scanner(
            columns=list(columns),
            batch_size=RECORD_BATCH_ROWS,
            batch_readahead=2,  # by default a scan buffers a gigabyte
            fragment_readahead=1,
            fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False),
        )
        batches = scanner.scan_batches()  # `to_reader` reads a single row group at half the speed or less
        for group in groups:
            row, path = self._starts[group], self._paths[self._groups[group].path]
            while row < self._starts[group + 1]:
                with reading(path):
                    tagged = next(batches, None)
                if tagged is None or file_stamp(path) != self._stamps[path]:
                    raise InputError(f"{path}: the file has changed since it was opened; start again")
                yield row, tagged.record_batch
                row += tagged.record_batch.num_rows


def _coded_columns(metadata: Any, texts: Collection[str]) -> list[str]:
    """Returns the text columns of a Parquet file that have few values, so that a row takes at most two bytes."""
    sizes, num_rows = dict[str, float](), metadata.num_rows
    for number in range(metadata.num_row_groups if texts else 0):
        group = metadata.row_group(number)
        for column in (group.column(index) for index in range(group.num_columns)):
            name = column.path_in_schema
            if name in texts:
                size = column.total_uncompressed_size if column.has_dictionary_page else math.inf
                sizes[name] = sizes.get(name, 0) + size
    return [name for name, size in sizes.items() if size <= 2 * num_rows]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns an error of Arrow in the body into an `InputError` about the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        file_stamp(path)  # raises if the file is gone, which says more
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise InputError(f"{path}: the file is cut off or damaged ({reason}); write it again") from error


def collected(batches: Iterator[pa.RecordBatch], schema: pa.Schema, memory_limit: float) -> pa.Table:
    """Collects batches into one table: in memory up to `memory_limit` bytes, else in a memory-mapped file in $TMPDIR.

    Raises:
        InputError: the disk is too small for that file.
    """
    in_memory: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        in_memory.append(batch)
        size += batch.nbytes
        if size > memory_limit:
            return _mapped(itertools.chain(_drained(in_memory), batches), schema)
    return pa.Table.from_batches(in_memory, schema)


def _drained(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yields the batches in order, and releases each as it goes."""
    batches.reverse()
    while batches:
        yield batches.pop()


def _mapped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    try:
        with tempfile.TemporaryFile() as file:  # without a name: it vanishes with the process, even after a kill
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: no room ({error.strerror}) for a copy of the table, which is larger than"
            " --data.memory_limit; set TMPDIR to a larger disk, or convert the table to Parquet"
        ) from error
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content))).read_all()
