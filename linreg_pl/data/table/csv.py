"""Reads CSV files, and explains what is wrong with one that can't be read.

Messages count rows from 1, without the header.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.csv

from linreg_pl.data.table.files import file_stamp
from linreg_pl.errors import InputError, shortened

PARQUET_MAGIC = b"PAR1"
"""The first bytes of a Parquet file."""


@dataclass(frozen=True)
class Csv:
    """The format of CSV files, and how to read them.

    Args:
        delimiter: The character between values; a comma if not given, in .tsv files a tab.
        column_names: Names of all columns, for files without a header.
    """

    segment_bytes: ClassVar[int] = 16_000_000
    """Bytes that are parsed at a time, by all threads. The progress is reported after each."""

    delimiter: str | None = None
    column_names: list[str] | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '\r\n"'):
            raise InputError(f"delimiter is {self.delimiter!r}: give --data.delimiter one character, such as ';'")

    def schema(self, path: Path) -> pa.Schema:
        """Returns the names of the columns, and their types as guessed from the start of the file.

        Raises:
            InputError: the file is not CSV, or has no rows.
        """
        _require_text(path)
        try:
            with pyarrow.csv.open_csv(path, self._read_options(), self._parse_options(path)) as reader:
                schema: pa.Schema = reader.schema
                schema.names  # noqa: B018 (decodes the names)
                return schema
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(self._mistake(path, error)) from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the header is not UTF-8 text; save the file as UTF-8") from error

    def batches(self, path: Path, schema: pa.Schema, verbatim: bool = False) -> Iterator[pa.RecordBatch]:
        """Reads all rows of the columns in `schema`, as its types.

        Args:
            path: The file.
            schema: Names and types of the columns.
            verbatim: Keep text such as NA as it is, instead of reading it as missing.

        Raises:
            InputError: a row has too few or too many values, or a value does not have its column's type.
        """
        stamp = file_stamp(path)
        options = pyarrow.csv.ConvertOptions(
            column_types=schema, include_columns=schema.names, strings_can_be_null=not verbatim
        )
        try:
            names, parse = self.column_names, self._parse_options(path)
            for segment in segments(path, self.segment_bytes):
                # The streaming reader would parse on one thread.
                file, read = pa.BufferReader(pa.py_buffer(segment)), pyarrow.csv.ReadOptions(column_names=names)
                yield from pyarrow.csv.read_csv(file, read, parse, options).to_batches()
                names = names or self.schema(path).names
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(self._wrong_value(path, schema) or self._mistake(path, error)) from error
        if file_stamp(path) != stamp:
            raise InputError(f"{path}: the file has changed while it was read; start again")

    def _read_options(self, **more: object) -> pyarrow.csv.ReadOptions:
        return pyarrow.csv.ReadOptions(column_names=self.column_names, **more)

    def _parse_options(self, path: Path, **more: object) -> pyarrow.csv.ParseOptions:
        return pyarrow.csv.ParseOptions(delimiter=self.delimiter or ("\t" if ".tsv" in path.suffixes else ","), **more)

    def _wrong_value(self, path: Path, schema: pa.Schema) -> str | None:
        """Returns a message about the first value that does not have its column's type, if any."""
        typed = [field for field in schema if not pa.types.is_string(field.type)]
        options = pyarrow.csv.ConvertOptions(
            column_types={field.name: pa.binary() for field in typed},
            include_columns=[field.name for field in typed],
            strings_can_be_null=True,
        )
        first_row = 1
        with suppress(pa.ArrowInvalid, OSError):  # rows of another length: `_mistake` reports them
            for batch in pyarrow.csv.open_csv(path, self._read_options(), self._parse_options(path), options):
                for index in range(batch.num_rows):
                    for field in typed:
                        value = batch.column(field.name)[index].as_py()
                        text = (value or b"0").decode(errors="replace").strip()
                        is_number = pa.types.is_floating(field.type)
                        if not (parses_as_number(text) if is_number else parses_as_truth_value(text)):
                            kind = "number" if is_number else "truth value, unlike the values above it"
                            return wrong_kind(kind, path, field.name, first_row + index, text)
                first_row += batch.num_rows
        return None

    def _mistake(self, path: Path, error: Exception) -> str:
        """Returns a message about a file that Arrow could not read."""
        broken_rows: list[pyarrow.csv.InvalidRow] = []

        def note(row: pyarrow.csv.InvalidRow) -> str:
            broken_rows.append(row)
            return "error"

        # Read again: only a single thread counts rows, and Latin-1 decodes any bytes.
        with suppress(pa.ArrowInvalid, OSError):
            options = self._parse_options(path, invalid_row_handler=note)
            pyarrow.csv.read_csv(path, self._read_options(use_threads=False, encoding="latin-1"), options)
        if broken_rows:
            row = broken_rows[0]
            counts = f"{row.actual_columns} values, but the header has {row.expected_columns}"
            number, text = (
                row.number - (0 if self.column_names else 1),
                row.text.encode("latin-1").decode(errors="replace"),
            )
            return f"{path}: row {number} has {counts}: {shortened(text)}; correct that row"
        if "invalid UTF8" in str(error):
            return f"{path}: it contains bytes that are not UTF-8 text; save the file as UTF-8"
        if "Empty CSV" in str(error):
            return without_rows(path)
        reason = " ".join(str(error).split())[:120]
        return f"{path}: this can't be read as CSV ({reason}); correct it, or see --data.delimiter"


def segments(path: Path, size: int) -> Iterator[memoryview]:
    """Yields the file's bytes, decompressed, in whole lines of about `size` bytes; no value has a line break.

    Each segment overwrites the one before: allocating memory would cost as much as reading.
    """
    memory, filled = bytearray(size), 0
    not_blank = re.compile(rb"\S").search
    with pa.input_stream(str(path), compression="detect") as file:
        while count := file.readinto(memoryview(memory)[filled:]):
            filled += count
            end = memory.rfind(b"\n", 0, filled) + 1
            if end == 0 and filled == len(memory):
                memory = memory + bytearray(len(memory))
            if not_blank(memory, 0, end):
                yield memoryview(memory)[:end]
            memory[: filled - end], filled = memory[end:filled], filled - end
    if not_blank(memory, 0, filled):
        yield memoryview(memory)[:filled]


def wrong_kind(kind: str, path: object, column: str, row: int, text: str) -> str:
    """Returns a message about a value that is not of the kind (such as "number") its column needs."""
    remedy = "correct it, or choose other columns with --data.features and --data.target"
    return f"{path}: column {shortened(column)}, row {row}: {shortened(text)} is not a {kind}; {remedy}"


def without_rows(path: object) -> str:
    """Returns a message about a table that has no rows."""
    return f"{path}: there is not a single row below the header; give --data.path a table with rows"


def parses_as_number(text: str) -> bool:
    """Says whether Arrow reads the text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python's separator of digits, not Arrow's


def parses_as_truth_value(text: str) -> bool:
    """Says whether Arrow reads the text as true or false."""
    return text.lower() in ("true", "false", "1", "0")


def _require_text(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4096)
    if start.startswith(PARQUET_MAGIC):
        raise InputError(f"{path}: this is a Parquet file; rename it, so that it ends in .parquet")
    compressed = path.suffix.lower() not in (".csv", ".tsv")
    if b"\0" in start and not compressed:
        raise InputError(f"{path}: this is a binary file, not UTF-8 text; give --data.path a CSV file")
