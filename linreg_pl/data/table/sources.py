"""What stands at `path`: files of one format, or a table that Python holds already? Which columns does it have?"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet

from linreg_pl.data.progress import Watch, unwatched
from linreg_pl.data.table.csv import PARQUET, Csv
from linreg_pl.data.table.encoding import is_number, same_type
from linreg_pl.data.table.files import Files, find_files, unchanged
from linreg_pl.data.table.row_groups import ROWS_AT_A_TIME, ArrowTable, ParquetTable, Table, gathered, reading
from linreg_pl.errors import InputError, quoted


@runtime_checkable
class ArrowStream(Protocol):
    """A table of Arrow's interface: pandas, polars and pyarrow have it."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A capsule that holds the table."""


class Source(ABC):
    """A table whose columns are known, and whose rows may not have been read."""

    name: str  # what messages call it
    columns: list[str]
    index: frozenset[str]  # of these, pandas' index: it tells rows apart, and is no feature unless it is asked for
    paths: Sequence[Path] = ()  # of the files, if it is read from some
    watch: Watch = staticmethod(unwatched)

    @abstractmethod
    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """Types of some columns; those in `text` are known to be text, whatever a CSV file's beginning looks like.

        Raises:
            InputError: the files do not agree on them.
        """

    @abstractmethod
    def table(self, schema: pa.Schema, memory_limit: float) -> Table:
        """The table, of which these columns will be asked for.

        Raises:
            InputError: it can't be read.
        """

    @abstractmethod
    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """All rows of some columns, in order, to be copied: those of a CSV file as text, as it stands there.

        Raises:
            InputError: they can't be read.
        """

    def require_same_columns(self) -> None:  # noqa: B027 (a single table agrees with itself)
        """Where all columns are meant, no file may have more of them than another.

        Raises:
            InputError: one has.
        """


class FrameSource(Source):
    """A frame of pandas or polars, or a table of Arrow's."""

    def __init__(self, frame: ArrowStream) -> None:
        try:
            self._table = pa.table(frame)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(f"this {type(frame).__name__} is no table for Arrow ({error})") from error
        self.name = f"the {type(frame).__name__}"
        self.columns = _checked(self.name, self._table.column_names)
        self.index = _index(self._table.schema)

    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """See `Source`."""
        return pa.schema([self._table.schema.field(name) for name in columns])

    def table(self, schema: pa.Schema, memory_limit: float) -> Table:
        """See `Source`."""
        return ArrowTable(self._table.select(schema.names), [(self.name, self._table.num_rows)])

    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Source`."""
        return self.schema(columns), iter(self._table.select(columns).to_batches(ROWS_AT_A_TIME))


class FileSource(Source):
    """Files, which are opened, and their columns compared."""

    def __init__(self, files: Files, csv: Csv) -> None:
        self._files, self._csv = files, csv
        self._schemas = [self._inspected(file.path) for file in files.files]
        first = files.files[0].path
        self.name = str(first) if len(files.files) == 1 else f"{first} and {len(files.files) - 1} more"
        self.columns = _checked(first, [*self._schemas[0].names, *files.partitions.names])
        self.index = frozenset().union(*map(_index, self._schemas))
        if files.format == "csv":
            self.index |= {""}  # as pandas names it there
        self.paths = [file.path for file in files.files]

    def _inspected(self, path: Path) -> pa.Schema:
        if self._files.format == "csv":
            return self._csv.schema(path)
        if self._files.format == "ipc":
            return _ipc_schema(path)
        if not _begins_with(path, PARQUET):
            raise InputError(
                f"{path}: this is no Parquet file; if it is a CSV file, rename it, so that it ends in .csv"
            )
        with reading(path):
            return pyarrow.parquet.read_schema(path)

    def require_same_columns(self) -> None:
        """See `Source`."""
        for file, schema in zip(self._files.files, self._schemas, strict=True):
            more = [name for name in schema.names if name not in self.columns and name not in self.index]
            if more:
                raise InputError(
                    f"{file.path}: it has {quoted(more)}, which {self._files.files[0].path} has not; choose the columns"
                    " with --data.features"
                )

    def schema(self, columns: Sequence[str], text: Collection[str] = ()) -> pa.Schema:
        """See `Source`."""
        return pa.schema([self._field(name, name in text) for name in columns])

    def _field(self, name: str, is_known_text: bool) -> pa.Field:
        if name in self._files.partitions.names:
            return self._files.partitions.field(name)
        found = None
        for file, schema in zip(self._files.files, self._schemas, strict=True):
            if name not in _checked(file.path, schema.names):
                raise InputError(f"{file.path}: there is no column {name!r}, which {self._files.files[0].path} has")
            here = pa.string() if is_known_text and self._files.format == "csv" else schema.field(name).type
            both = here if found is None else same_type(found, here)
            if both is None:
                raise InputError(
                    f"{file.path}: column {name!r} holds {here}, but {found} in {self._files.files[0].path};"
                    " make them agree, or choose other columns with --data.features"
                )
            found = both
        if self._files.format == "csv" and is_number(found) and not pa.types.is_boolean(found):
            found = pa.float64()  # its beginning may hold whole numbers, or nothing
        return pa.field(name, found)

    def table(self, schema: pa.Schema, memory_limit: float) -> Table:
        """See `Source`."""
        if self._files.format == "parquet":
            return ParquetTable(self._files.files, schema)
        counts = [0] * len(self._files.files)
        table = gathered(self.watch(self._batches(schema, counts), None, len), schema, memory_limit)
        return ArrowTable(
            table, [(str(file.path), count) for file, count in zip(self._files.files, counts, strict=True)]
        )

    def as_written(self, columns: Sequence[str]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """See `Source`."""
        schema = self.schema(columns, text=columns)
        if self._files.format == "parquet":
            return schema, (batch for _, batch in ParquetTable(self._files.files, schema).all_batches(columns))
        return schema, self._batches(schema, [0] * len(self._files.files), verbatim=True)

    def _batches(self, schema: pa.Schema, counts: list[int], verbatim: bool = False) -> Iterator[pa.RecordBatch]:
        """All rows of all files, in order; `counts` takes how many each has."""
        own = pa.schema([field for field in schema if field.name not in self._files.partitions.names])
        for index, (path, partitions) in enumerate(self._files.files):
            batches = self._csv.batches(path, own, verbatim) if self._files.format == "csv" else _ipc_batches(path, own)
            for batch in batches:
                counts[index] += batch.num_rows
                yield _with_constants(batch, partitions, schema)


def open_source(path: "str | Sequence[str] | ArrowStream", csv: Csv) -> Source:
    """What stands at `path`.

    Raises:
        InputError: nothing that is a table.
    """
    if isinstance(path, ArrowStream):
        return FrameSource(path)
    return FileSource(find_files(path), csv)


def of_files(path: Any) -> Any:
    """A path of any kind as text, or as a list of texts; a frame as it is.

    Raises:
        InputError: it is something else.
    """
    if path is None or isinstance(path, ArrowStream):
        return path
    for each in path if isinstance(path, list) else [path]:
        if not isinstance(each, str | PathLike):
            raise InputError(
                f"this {type(each).__name__} is no table: --data.path takes names of files, and from Python one frame"
                " of pandas or polars (of a lazy one, what it collects)"
            )
    return [str(each) for each in path] if isinstance(path, list) else str(path)


def name_of(path: Any) -> Any:
    """The same for a checkpoint, which can't hold a frame."""
    return f"the {type(path).__name__}" if isinstance(path, ArrowStream) else path


def _with_constants(batch: pa.RecordBatch, partitions: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.repeat(pa.scalar(partitions[field.name], field.type), batch.num_rows)
        if field.name in partitions
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _ipc_schema(path: Path) -> pa.Schema:
    if not _begins_with(path, b"ARROW1"):
        raise InputError(f"{path}: this is no Arrow IPC file (Feather version 2); write it again, or rename it")
    with reading(path), pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).schema


def _ipc_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    seen = unchanged(path)
    with reading(path), pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index).select(schema.names)
    if unchanged(path) != seen:
        raise InputError(f"{path}: the file has changed while it was read; start again")


def _index(schema: pa.Schema) -> frozenset[str]:
    """The columns that pandas has made of a frame's index; there are none where it only counts rows."""
    try:
        names = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # damaged
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str))


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _checked(path: object, names: list[str]) -> list[str]:
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"{path}: {quoted(doubled)} stands more than once in the header; rename all but one")
    return names
