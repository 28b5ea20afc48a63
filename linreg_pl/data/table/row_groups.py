"""What is a table? Named columns, in groups of rows that can be read in any order, held nowhere at once.

Parquet has such groups, and a table in memory can be cut into them. CSV and Arrow's IPC files are read once, from the
beginning to the end, into memory, or where that is too small into a file of Arrow's that is mapped: see `gathered`.
"""

import itertools
import mmap
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.data.table.files import File, unchanged
from linreg_pl.errors import InputError

GROUP_ROWS = 65_536
"""Rows of a group where the table itself has none."""

ROWS_AT_A_TIME = 32_768
"""Rows in a batch: few enough that its columns are in the processor's cache when they become rows."""

ROWS_OF_A_SCAN = 131_072
"""Rows that one scan of Parquet is asked for, or one row group, if that has more.

All of them pile up where they are taken more slowly than read. Scans of a thousand rows each took twice as long.
"""


class Table(ABC):
    """Groups of rows, with the names that messages give them."""

    schema: pa.Schema
    group_rows: list[int]  # rows of each group
    parts: list[tuple[str, int]]  # the files, in order, and their rows
    watch: Watch = staticmethod(unwatched)

    @property
    def num_rows(self) -> int:
        """Rows of all groups."""
        return sum(self.group_rows)

    @property
    def name(self) -> str:
        """What messages call it."""
        first = self.parts[0][0]
        return first if len(self.parts) == 1 else f"{first} and {len(self.parts) - 1} more"

    @abstractmethod
    def batches(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows of some groups, in the order in which these are named.

        Yields:
            The first row's number in the whole table, from 0, and the rows.

        Raises:
            InputError: a file has changed or vanished since it was opened, or is damaged.
        """

    def all_batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """All rows, in order; watched."""
        batches = self.batches(range(len(self.group_rows)), columns)
        return self.watch(batches, self.num_rows, lambda numbered: numbered[1].num_rows)

    def place(self, row: int) -> tuple[str, int]:
        """The file of a row, and its number there, from 1."""
        for name, num_rows in self.parts:
            if row < num_rows:
                return name, row + 1
            row -= num_rows
        raise IndexError(row)


class ArrowTable(Table):
    """A table of Arrow's, in memory or mapped."""

    def __init__(self, table: pa.Table, parts: list[tuple[str, int]]) -> None:
        self.schema, self.parts = table.schema, parts
        self._table = table
        self._starts = list(range(0, table.num_rows, GROUP_ROWS))
        self.group_rows = [min(GROUP_ROWS, table.num_rows - start) for start in self._starts]

    def batches(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `Table`."""
        table = self._table.select(list(columns))
        for group in groups:
            start = self._starts[group]
            for batch in table.slice(start, self.group_rows[group]).to_batches(ROWS_AT_A_TIME):
                yield start, batch
                start += batch.num_rows


class ParquetTable(Table):
    """Parquet files; only what is asked for is read."""

    def __init__(self, files: Sequence[File], schema: pa.Schema) -> None:
        self.schema, self.parts = schema, []
        self._groups: list[ds.ParquetFileFragment] = []
        self._seen = {str(file.path): unchanged(file.path) for file in files}
        self._format = ds.ParquetFileFormat()
        for path, partitions in files:
            where = ds.scalar(True)
            for name, value in partitions.items():
                where = where & (ds.field(name) == value)
            with reading(path):
                whole = self._format.make_fragment(str(path), pa.fs.LocalFileSystem(), where)
                self._groups += whole.split_by_row_group()
                self.parts.append((str(path), whole.metadata.num_rows))
        self.group_rows = [group.row_groups[0].num_rows for group in self._groups]
        self._starts = [0, *itertools.accumulate(self.group_rows)]

    def batches(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `Table`."""
        start, num_rows = 0, 0
        for end, group in enumerate(groups, start=1):
            num_rows += self.group_rows[group]
            if num_rows >= ROWS_OF_A_SCAN or end == len(groups):
                yield from self._scanned(groups[start:end], columns)
                start, num_rows = end, 0

    def _scanned(self, groups: Sequence[int], columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows of some groups, by a scan of their own: a long one runs ahead of its reader, without an end."""
        chosen = [self._groups[group] for group in groups]
        dataset = ds.FileSystemDataset(chosen, self.schema, self._format, pa.fs.LocalFileSystem())
        scanner = dataset.scanner(
            columns=list(columns),
            batch_size=ROWS_AT_A_TIME,
            batch_readahead=2,  # by default a scan runs ahead by a gigabyte
            fragment_readahead=1,
            fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False),
        )
        batches = scanner.scan_batches()  # its to_reader gives one row group's at half the speed, or less
        for group in groups:
            row, path = self._starts[group], Path(self._groups[group].path)
            while row < self._starts[group + 1]:
                with reading(path):
                    tagged = next(batches, None)
                if tagged is None or unchanged(path) != self._seen[str(path)]:
                    raise InputError(f"{path}: the file has changed since it was opened; start again")
                yield row, tagged.record_batch
                row += tagged.record_batch.num_rows


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tells Arrow's failure to read a file as a matter of the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        unchanged(path)  # that it is gone says more
        reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        raise InputError(f"{path}: the file is cut off or damaged ({reason}); write it again") from error


def gathered(batches: Iterator[pa.RecordBatch], schema: pa.Schema, limit: float) -> pa.Table:
    """All batches as one table: in memory up to `limit` bytes, else in a nameless file below $TMPDIR, mapped.

    Raises:
        InputError: there is no room for that file.
    """
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size > limit:
            return _mapped(itertools.chain(_drained(held), batches), schema)
    return pa.Table.from_batches(held, schema)


def _drained(held: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    held.reverse()
    while held:
        yield held.pop()


def _mapped(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    try:
        with tempfile.TemporaryFile() as file:  # it has no name, so that nothing is left of it, even after a kill
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(
            f"{tempfile.gettempdir()}: there is no room ({error.strerror}) for a copy of the table, which is larger"
            " than --data.memory_limit; set TMPDIR to a larger disk, or write the table as Parquet"
        ) from error
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(content))).read_all()
