"""How is a CSV file read, and what is wrong with one that can't be? Rows are counted from 1, the header not counted."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from linreg_pl.data.table.files import unchanged
from linreg_pl.errors import InputError, shortened

PARQUET = b"PAR1"
"""How a Parquet file begins."""

SEGMENT = 16_000_000
"""Bytes that are read at a time, by all threads; then a bar is told how far it is."""

HOLDS_SOMETHING = re.compile(rb"\S").search


@dataclass(frozen=True)
class Csv:
    """How CSV files are written.

    Args:
        delimiter: One character between values; a comma if not given, in .tsv a tab.
        column_names: Of all columns of a file without a header.
    """

    delimiter: str | None = None
    column_names: list[str] | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"'):
            raise InputError(f"delimiter is {self.delimiter!r}: give --data.delimiter one character, such as ';'")

    def schema(self, path: Path) -> pa.Schema:
        """Names and types of the columns, as the file's beginning tells them.

        Raises:
            InputError: it is no CSV file, or has no rows.
        """
        _require_text(path)
        try:
            with pyarrow.csv.open_csv(path, self._read_options(), self._parse_options(path)) as reader:
                schema: pa.Schema = reader.schema
                schema.names  # noqa: B018 (decodes them)
                return schema
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(self._mistake(path, error)) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the header is no text in UTF-8; save the file as UTF-8") from error

    def batches(self, path: Path, schema: pa.Schema, verbatim: bool = False) -> Iterator[pa.RecordBatch]:
        """All rows of the columns in `schema`, in its types; where `verbatim`, NA and its kin in text are text too.

        Raises:
            InputError: a row has too few or too many values, or a value is none of its column's type.
        """
        seen = unchanged(path)
        options = pyarrow.csv.ConvertOptions(
            column_types=schema, include_columns=schema.names, strings_can_be_null=not verbatim
        )
        try:
            names, parse = self.column_names, self._parse_options(path)
            for segment in segments(path):
                # Not by a streaming reader, which parses on one thread.
                file, read = pa.BufferReader(pa.py_buffer(segment)), pyarrow.csv.ReadOptions(column_names=names)
                yield from pyarrow.csv.read_csv(file, read, parse, options).to_batches()
                names = names or self.schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(self._wrong_value(path, schema) or self._mistake(path, error)) from error
        if unchanged(path) != seen:
            raise InputError(f"{path}: the file has changed while it was read; start again")

    def _read_options(self, **more: object) -> pyarrow.csv.ReadOptions:
        return pyarrow.csv.ReadOptions(column_names=self.column_names, **more)

    def _parse_options(self, path: Path, **more: object) -> pyarrow.csv.ParseOptions:
        return pyarrow.csv.ParseOptions(delimiter=self.delimiter or ("\t" if ".tsv" in path.suffixes else ","), **more)

    def _wrong_value(self, path: Path, schema: pa.Schema) -> str | None:
        """The first value that is not of its column's type."""
        wanted = [field for field in schema if not pa.types.is_string(field.type)]
        options = pyarrow.csv.ConvertOptions(
            column_types={field.name: pa.binary() for field in wanted},
            include_columns=[field.name for field in wanted],
            strings_can_be_null=True,
        )
        first = 1
        with suppress(pa.ArrowInvalid, OSError):  # rows of another length: somebody else's matter
            for batch in pyarrow.csv.open_csv(path, self._read_options(), self._parse_options(path), options):
                for row in range(batch.num_rows):
                    for field in wanted:
                        value = batch.column(field.name)[row].as_py()
                        text = (value or b"0").decode(errors="replace").strip()
                        if not (is_number(text) if pa.types.is_floating(field.type) else is_truth(text)):
                            kind = "number" if pa.types.is_floating(field.type) else "truth value, as those before are"
                            return not_a(kind, path, field.name, first + row, text)
                first += batch.num_rows
        return None

    def _mistake(self, path: Path, error: Exception) -> str:
        broken: list[pyarrow.csv.InvalidRow] = []

        def note(row: pyarrow.csv.InvalidRow) -> str:
            broken.append(row)
            return "error"

        # Once more: only a single thread counts the rows; and any bytes are text in Latin-1.
        with suppress(pa.ArrowInvalid, OSError):
            options = self._parse_options(path, invalid_row_handler=note)
            pyarrow.csv.read_csv(path, self._read_options(use_threads=False, encoding="latin-1"), options)
        if broken:
            row = broken[0]
            counts = f"{row.actual_columns} values, but the header has {row.expected_columns}"
            number, text = (
                row.number - (0 if self.column_names else 1),
                row.text.encode("latin-1").decode(errors="replace"),
            )
            return f"{path}: row {number} has {counts}: {shortened(text)}; correct that row"
        if "invalid UTF8" in str(error):
            return f"{path}: it holds bytes that are no text in UTF-8; save the file as UTF-8"
        if "Empty CSV" in str(error):
            return no_rows(path)
        reason = " ".join(str(error).split())[:120]
        return f"{path}: this can't be read as CSV ({reason}); correct it, or see --data.delimiter"


def segments(path: Path) -> Iterator[memoryview]:
    """The file's bytes, decompressed, some whole lines at a time; as to Arrow's readers, a value has no line break.

    Each is in the memory of the one before: a fresh one costs as much as reading it.
    """
    memory, filled = bytearray(SEGMENT), 0
    with pa.input_stream(str(path), compression="detect") as file:
        while count := file.readinto(memoryview(memory)[filled:]):
            filled += count
            end = memory.rfind(b"\n", 0, filled) + 1
            if end == 0 and filled == len(memory):
                memory = memory + bytearray(len(memory))
            if HOLDS_SOMETHING(memory, 0, end):
                yield memoryview(memory)[:end]
            memory[: filled - end], filled = memory[end:filled], filled - end
    if HOLDS_SOMETHING(memory, 0, filled):
        yield memoryview(memory)[:filled]


def not_a(kind: str, path: object, column: str, row: int, text: str) -> str:
    """What is said of a value that is no number."""
    remedy = "correct that, or choose other columns with --data.features and --data.target"
    return f"{path}: column {shortened(column)}, row {row}: {shortened(text)} is not a {kind}; {remedy}"


def no_rows(path: object) -> str:
    """What is said of a table without rows."""
    return f"{path}: there is not a single row below the header; give --data.path a table with rows"


def is_number(text: str) -> bool:
    """Whether Arrow reads it as one."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python's separator, not Arrow's


def is_truth(text: str) -> bool:
    """Whether Arrow reads it as one of the two."""
    return text.lower() in ("true", "false", "1", "0")


def _require_text(path: Path) -> None:
    with path.open("rb") as file:
        beginning = file.read(4096)
    if beginning.startswith(PARQUET):
        raise InputError(f"{path}: this is a Parquet file; rename it, so that it ends in .parquet")
    compressed = path.suffix.lower() not in (".csv", ".tsv")
    if b"\0" in beginning and not compressed:
        raise InputError(f"{path}: this is no text in UTF-8, but a binary file; give --data.path a CSV file")
