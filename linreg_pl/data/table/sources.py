"""Opens what `path` names, files of one format or a frame in memory, and finds out its columns and their types."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import add
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from linreg_pl.core.world import ALONE, World
from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.data.table.column_types import is_numeric, same_type
from linreg_pl.data.table.csv import Csv, Misfits
from linreg_pl.data.table.file_parts import own_parts, read_parts
from linreg_pl.data.table.files import Files, find_files
from linreg_pl.data.table.frames import arrow_table
from linreg_pl.data.table.ipc import begins_with, ipc_schema
from linreg_pl.data.table.row_groups import RECORD_BATCH_ROWS, ArrowTable, ParquetTable, Table, collected, reading
from linreg_pl.data.table.segment_parser import as_text
from linreg_pl.data.table.url_secrets import refuse_secrets
from linreg_pl.errors import InputError, quoted, repeated


@runtime_checkable
class ArrowStream(Protocol):
    """A table with Arrow's stream interface, as pandas, polars and pyarrow have it."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Returns a capsule that holds the table."""


class Source(ABC):
    """A table whose columns are known. Its rows may not have been read yet."""

    name: str  # the name in messages
    columns: list[str]
    index: frozenset[str]  # the columns of pandas' index: not features, unless the user names them
    paths: Sequence[Path] = ()  # the files, if there are any
    number_remarks: Mapping[str, str] = MappingProxyType({})  # of columns of numbers that may be something else

    @property
    def remarks(self) -> list[str]:
        """Returns lines for the user about the columns' names and about rows that are skipped."""
        return []

    @abstractmethod
    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """Returns the types of some columns.

        Args:
            columns: Names of the columns.
            text: Columns that are known to be text, whatever the start of a CSV file looks like.

        Raises:
            InputError: the files disagree on a column.
        """

    @abstractmethod
    def table(self, schema: pa.Schema, memory_limit: float, watch: Watch, world: World = ALONE) -> Table:
        """Opens the table.

        Args:
            schema: Names and types of the columns that will be read.
            memory_limit: Bytes up to which a CSV or Arrow file is held in memory.
            watch: Sees each batch of a pass over all rows.
            world: The processes that share the rows.

        Raises:
            InputError: the table can't be read.
        """

    @abstractmethod
    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Returns the types and all rows of some columns, to be copied; columns of a CSV file are its text.

        Raises:
            InputError: the table can't be read.
        """

    def require_same_columns(self) -> None:
        """Checks that no file has further columns; needed where all columns become features.

        Raises:
            InputError: a file has columns that the first one lacks.
        """


class FrameSource(Source):
    """A frame of pandas or polars, or an Arrow table."""

    def __init__(self, frame: ArrowStream) -> None:
        self._table = arrow_table(frame)
        self.name = name_of(frame)
        self.columns = _checked(self.name, self._table.column_names)
        self.index = index_columns(self._table.schema)

    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """Returns the types of some columns; see `Source`."""
        return pa.schema([self._table.schema.field(name) for name in columns])

    def table(self, schema: pa.Schema, memory_limit: float, watch: Watch, world: World = ALONE) -> Table:
        """Opens the table; see `Source`."""
        num_rows = self._table.num_rows
        start, stop = (num_rows * rank // world.size for rank in (world.rank, world.rank + 1))
        own = self._table.select(schema.names).slice(start, stop - start)
        return ArrowTable(own, [(self.name, num_rows)], watch, world)

    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Returns all rows of some columns; see `Source`."""
        return self.schema(columns), iter(self._table.select(columns).to_batches(RECORD_BATCH_ROWS))


class FileSource(Source):
    """Files of one format, with the same columns."""

    def __init__(self, files: Files, csv: Csv) -> None:
        self._files, self._csv = files, csv
        self._nameless: frozenset[str] = frozenset()
        self._header_remarks: list[str] = []
        self._comments: list[str] = []
        self._schemas = [self._schema_of(file.path) for file in files.files]
        first = files.files[0].path
        self.name = str(first) if len(files.files) == 1 else f"{first} and {len(files.files) - 1} more"
        self.columns = _checked(first, [*self._schemas[0].names, *files.partitions.names])
        self.index = frozenset().union(*map(index_columns, self._schemas))
        self.index |= self._nameless
        self.paths = [file.path for file in files.files]

    def _schema_of(self, path: Path) -> pa.Schema:
        if self._files.format == "csv":
            dialect, schema, number_remarks = self._csv.start(path)
            self.number_remarks = {**self.number_remarks, **number_remarks}
            self._nameless |= dialect.left_out
            self._header_remarks += dialect.remarks
            return schema
        if self._files.format == "ipc":
            return ipc_schema(path)
        if not begins_with(path, b"PAR1"):
            raise InputError(
                f"{path}: this is not a Parquet file; if it is a CSV file, rename it, so that it ends in .csv"
            )
        with reading(path):
            schema = pyarrow.parquet.read_schema(path)
        self.number_remarks = {**self.number_remarks, **_lost_categories(schema)}
        return schema

    def require_same_columns(self) -> None:
        """Checks that no file has further columns; see `Source`."""
        known = {*self.columns, *self.index}
        for file, schema in zip(self._files.files, self._schemas, strict=True):
            further = [name for name in schema.names if name not in known]
            if further:
                raise InputError(
                    f"{file.path}: it has {quoted(further)}, which {self._files.files[0].path} lacks; choose the"
                    " columns with --data.features"
                )

    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """Returns the types of some columns; see `Source`."""
        for file, schema in zip(self._files.files, self._schemas, strict=True):
            _checked(file.path, schema.names)
        known_text = set(text)
        return pa.schema([self._field(name, name in known_text) for name in columns])

    @property
    def remarks(self) -> list[str]:
        """Returns lines about the headers, and about rows that are skipped once the table has been read."""
        remarks = list(dict.fromkeys(self._header_remarks))
        if count := len(self._comments):
            lines = "a line that begins" if count == 1 else f"{count} lines that begin"
            remarks.append(f"skipped {lines} with #: {quoted(self._comments, 2)}")
        return remarks

    def _field(self, name: str, is_known_text: bool) -> pa.Field:
        if name in self._files.partitions.names:
            return self._files.partitions.field(name)
        is_csv, common_type = self._files.format == "csv", None
        for file, schema in zip(self._files.files, self._schemas, strict=True):
            if schema.get_field_index(name) == -1:
                raise InputError(f"{file.path}: there is no column {name!r}, which {self._files.files[0].path} has")
            file_type = pa.string() if is_known_text and is_csv else schema.field(name).type
            both = file_type if common_type is None else same_type(common_type, file_type)
            if both is None and is_csv:
                return pa.field(name, pa.string())
            if both is None:
                raise InputError(
                    f"{file.path}: column {name!r} contains {file_type}, but {common_type} in"
                    f" {self._files.files[0].path}; make them agree, or choose other columns with --data.features"
                )
            common_type = both
        if is_csv and is_numeric(common_type) and not pa.types.is_boolean(common_type):
            common_type = pa.float64()  # further down, whole numbers or missing values may be fractions
        return pa.field(name, common_type)

    def table(self, schema: pa.Schema, memory_limit: float, watch: Watch, world: World = ALONE) -> Table:
        """Opens the table; see `Source`."""
        files = self._files.files
        if self._files.format == "parquet":
            return ParquetTable(files, schema, watch, world)
        misfits, parts = set[str](), own_parts(self._files, self._csv, world)

        def read(schema: pa.Schema) -> tuple[pa.Table, list[int]]:
            counts, self._comments = [0] * len(files), []
            batches = read_parts(self._files, self._csv, schema, parts, counts, self._comments)
            return collected(watch(batches, None, len), schema, memory_limit), counts

        try:
            table, counts = read(schema)
        except Misfits as error:
            misfits = error.columns
        if misfits := set().union(*world.gathered(misfits)):
            table, counts = read(as_text(schema, misfits))
        self._comments = world.reduced(self._comments, add)
        file_rows = zip(
            (str(file.path) for file in files), world.reduced(np.array(counts), np.add).tolist(), strict=True
        )
        return ArrowTable(table, list(file_rows), watch, world)

    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Returns all rows of some columns; see `Source`."""
        schema = self.schema(columns, text=columns)
        if self._files.format == "parquet":
            table = ParquetTable(self._files.files, schema, unwatched)
            return schema, (batch for _, batch in table.all_batches(columns))
        parts, counts = own_parts(self._files, self._csv, ALONE), [0] * len(self._files.files)
        return schema, read_parts(self._files, self._csv, schema, parts, counts, [], verbatim=True)


def open_source(path: "str | Sequence[str] | ArrowStream", csv: Csv) -> Source:
    """Opens the files or the frame that `path` names.

    Raises:
        InputError: it is not a table.
    """
    if isinstance(path, ArrowStream):
        return FrameSource(path)
    return FileSource(find_files(path), csv)


def plain_path(path: Any) -> Any:
    """Returns a path as text, a list of paths as a list of texts, and a frame as it is.

    Raises:
        InputError: it is something else, or a URL with credentials.
    """
    if path is None or isinstance(path, ArrowStream):
        return path
    for each in path if isinstance(path, list) else [path]:
        if not isinstance(each, str | PathLike):
            remedy = "collect the lazy frame first" if hasattr(each, "collect") else "see --data.path"
            raise InputError(
                "path must be a file name, a list of file names, or one DataFrame, but this is of type"
                f" {type(each).__name__}; {remedy}"
            )
    refuse_secrets(map(str, path if isinstance(path, list) else [path]))
    return [str(each) for each in path] if isinstance(path, list) else str(path)


def name_of(path: Any) -> Any:
    """Returns what a checkpoint stores for a path: the path itself, or a name for a frame."""
    return getattr(path, "source_name", f"the {type(path).__name__}") if isinstance(path, ArrowStream) else path


def index_columns(schema: pa.Schema) -> frozenset[str]:
    """Returns the columns that pandas made of a frame's index; none if the index only counts rows."""
    try:
        names = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # damaged
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str))


def _lost_categories(schema: pa.Schema) -> dict[str, str]:
    """Returns a remark on each column of numbers that pandas had as categories: Parquet keeps only those of texts."""
    try:
        columns = (schema.pandas_metadata or {}).get("columns", [])
    except ValueError:  # damaged
        return {}
    names = [each["field_name"] for each in columns if each.get("pandas_type") == "categorical"]
    remark = "is read as numbers, though pandas had categories; --data.categorical takes them as such"
    return {name: remark for name in names if name in schema.names and is_numeric(schema.field(name).type)}


def _checked(path: object, names: list[str]) -> list[str]:
    if doubled := repeated(names):
        raise InputError(f"{path}: {quoted(doubled)} occurs more than once in the header; rename all but one")
    return names
