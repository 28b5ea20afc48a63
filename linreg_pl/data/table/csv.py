"""Reads CSV files.

Messages count rows from 1, without the header.
"""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from linreg_pl.data.table.dialect import Dialect, find_dialect
from linreg_pl.data.table.files import file_stamp
from linreg_pl.data.table.number_remarks import number_remarks
from linreg_pl.data.table.records import OpenQuote, Records, Segment
from linreg_pl.data.table.segment_parser import Refused, SegmentParser, as_text
from linreg_pl.data.table.text_stream import (
    UNREADABLE,
    first_undecodable,
    is_seekable,
    open_text,
    text_between,
    usual_delimiter,
)
from linreg_pl.errors import InputError, quoted, repeated, shortened

OTHER_FORMATS = {
    b"PAR1": "a Parquet file; rename it, so that it ends in .parquet",
    b"ARROW1": "an Arrow file; rename it, so that it ends in .feather",
    b"\x1f\x8b": "a gzip file; rename it, so that it ends in .csv.gz",
    b"PK\x03\x04": "a spreadsheet, or a zip file; save the sheet as a CSV file, or rename it, so that it ends in .zip",
}
"""The first bytes of files that are no CSV file, and what to do with them."""


class Start(NamedTuple):
    """What the start of a CSV file shows."""

    dialect: Dialect
    schema: (
        pa.Schema
    )  # names of all columns, and their types as guessed: float64, bool, string, or null without a value
    number_remarks: dict[str, str]  # of columns of numbers that may be something else


class Misfits(Exception):  # noqa: N818 (caught where the types are chosen)
    """Raised for columns that have values of another type than guessed. They are to be read as text."""

    def __init__(self, columns: set[str]) -> None:
        super().__init__(columns)
        self.columns = columns


@dataclass(frozen=True)
class Csv:
    """The format of CSV files, and how to read them.

    Args:
        delimiter: The character between values; sniffed if not given.
        column_names: Names of all columns, for files without a header.
        encoding: The files' encoding; UTF-8 if not given, or what the byte order mark says.
        missing_values: Texts that stand for a missing value, beside the empty one and those of pandas, such as NA.

    Raises:
        InputError: an argument can't be used.
    """

    segment_bytes: ClassVar[int] = 16_000_000
    """Bytes that are parsed at a time, by all threads. The progress is reported after each."""
    head_bytes: ClassVar[int] = 1 << 20
    """Bytes from which the delimiter and the types are guessed."""

    delimiter: str | None = None
    column_names: list[str] | None = None
    encoding: str | None = None
    missing_values: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            is_single = len(self.delimiter) == 1 and self.delimiter.isascii()
            if not is_single or self.delimiter in '\r\n"':
                raise InputError(f"delimiter is {self.delimiter!r}: give --data.delimiter one character, such as ';'")
        if doubled := repeated(self.column_names or []):
            raise InputError(f"column_names has {quoted(doubled)} more than once: give each column its own name")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                remedy = "give --data.encoding a name such as latin-1 or utf-16"
                raise InputError(f"encoding is {self.encoding!r}, which Python does not know: {remedy}") from error

    def start(self, path: Path) -> Start:
        """Returns how the file is written, and its columns with their types as guessed from its first megabyte.

        Raises:
            InputError: the file is not CSV, is blank, or a row there has too few or too many values.
        """
        with self._explained(path):
            head, is_whole, dialect = self._read_head(path)
            rows, records = head[dialect.start :], Records(dialect.delimiter.all_characters)
            if not is_whole:
                rows = rows[: records.complete(rows)]
            parser = SegmentParser(path, dialect, self.missing_values)
            try:
                for segment in parser.rows(records.segments(pa.BufferReader(rows), len(rows) + 1)):
                    guess = parser.guess(segment)
                    if guess.num_rows:
                        schema = pa.schema([(each.name, _wide(each.type)) for each in guess.schema])
                        texts = partial(_as_texts, parser, segment)
                        remarks = number_remarks(guess, texts, segment.content, self.missing_values)
                        return Start(dialect, schema, remarks)
            except OpenQuote as error:
                raise InputError(_open_quote(path, dialect, error.content, 0)) from error
        if not dialect.names:
            raise InputError(without_rows(path))
        return Start(dialect, pa.schema([(name, pa.null()) for name in dialect.names]), {})

    def cuts(self, path: Path, goals: Sequence[int]) -> list[int]:
        """Returns where records end before each of some bytes of the text, ascending; none if it can't be cut."""
        if not goals or not is_seekable(path, self.encoding):
            return []
        with self._explained(path):
            dialect, cuts = self._read_head(path)[2], list[int]()
            records, position = Records(dialect.delimiter.all_characters), dialect.start
            with open_text(path, self.encoding) as file:
                first, size = file.tell(), self.segment_bytes
                for goal in goals:
                    while position < goal:
                        file.seek(first + position)
                        content = _read(file, min(size, goal - position))
                        end = records.complete(content)
                        if position + len(content) >= goal or not content:
                            break
                        position, size = position + end, self.segment_bytes if end else 2 * size
                    else:
                        end = 0
                    position += end
                    cuts.append(position)
        return cuts

    def batches(
        self,
        path: Path,
        schema: pa.Schema,
        verbatim: bool = False,
        comments: list[str] | None = None,
        span: tuple[int, int] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Reads the rows of the columns in `schema`, as its types: all, or those of a part of the file.

        Args:
            path: The file.
            schema: Names and types of the columns.
            verbatim: Keep text such as NA as it is, instead of reading it as missing.
            comments: The comments between the rows are added to it. They are skipped.
            span: The bytes of the text to read, from the end of one record to that of another; see `cuts`.

        Raises:
            InputError: a row has too few or too many values.
            Misfits: at the end of the file, if values don't have their column's type.
        """
        try:
            yield from self._batches(path, schema, verbatim, comments, span)
        except InputError:
            if span is not None and span[0] > 0:
                for _ in self._batches(path, schema, verbatim, None, None):
                    pass  # from the start, to count the rows before the error
            raise

    def _batches(
        self,
        path: Path,
        schema: pa.Schema,
        verbatim: bool,
        comments: list[str] | None,
        span: tuple[int, int] | None,
    ) -> Iterator[pa.RecordBatch]:
        stamp, num_rows = file_stamp(path), 0
        misfits: set[str] = set()
        with self._explained(path):
            _, _, dialect = self._read_head(path)
            parser = SegmentParser(path, dialect, self.missing_values, verbatim)
            whole = open_text(path, self.encoding)
            with text_between(path, self.encoding, (max(span[0], dialect.start), span[1])) if span else whole as file:
                if span is None:
                    _read(file, dialect.start)
                try:
                    segments = Records(dialect.delimiter.all_characters).segments(file, self.segment_bytes)
                    for segment in parser.rows(segments):
                        try:
                            table = parser.table(segment, schema, num_rows)
                        except Refused:
                            misfits |= parser.misfits(segment, schema, num_rows)
                            schema = as_text(schema, misfits)
                            table = parser.table(segment, schema, num_rows)
                        num_rows += table.num_rows
                        if not misfits:
                            yield from table.to_batches()
                except OpenQuote as error:
                    raise InputError(_open_quote(path, dialect, error.content, num_rows)) from error
        if file_stamp(path) != stamp:
            raise InputError(f"{path}: the file has changed while it was read; start again")
        if misfits:
            raise Misfits(misfits)
        if comments is not None:
            comments += parser.comments

    def _read_head(self, path: Path) -> tuple[bytes, bool, Dialect]:
        """Returns the file's first bytes, whether they are the whole file, and how it is written."""
        size = self.head_bytes
        while True:
            with open_text(path, self.encoding) as file:
                head = _read(file, size)
            # A header of thousands of names may be longer than a megabyte.
            if len(head) < size or head.count(b"\n") + head.count(b"\r") > 3:
                break
            size *= 8
        _require_text(path, head)
        is_whole = len(head) < size
        return head, is_whole, find_dialect(head, is_whole, self.delimiter, self.column_names, usual_delimiter(path))

    @contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        """Turns an error of reading in the body into an `InputError` about the file."""
        try:
            yield
        except UnicodeError as error:
            if self.encoding is not None:
                raise InputError(f"{path}: this is not {self.encoding} text; give another --data.encoding") from error
            text, encoding = first_undecodable(path)
            remedy = f"give --data.encoding {encoding} if it is Western European text, or save the file as UTF-8"
            raise InputError(f"{path}: {shortened(text)} is not UTF-8 text; {remedy}") from error
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"{path}: this can't be read as CSV ({reason}); correct it, or see --data.delimiter"
            ) from error


def _as_texts(parser: SegmentParser, segment: Segment, names: list[str]) -> pa.Table:
    return parser.table(segment, pa.schema([(name, pa.string()) for name in names]), 0)


def without_rows(path: object) -> str:
    """Returns a message about a table that has no rows."""
    return f"{path}: there is not a single row of values; give --data.path a table with rows"


def _wide(guess: pa.DataType) -> pa.DataType:
    """Returns the type of a column: further down, whole numbers may be fractions."""
    if pa.types.is_integer(guess) or pa.types.is_floating(guess):
        return pa.float64()
    return guess if pa.types.is_boolean(guess) or pa.types.is_null(guess) else pa.string()


def _read(file: Any, size: int) -> bytes:
    """Returns the next `size` bytes, less only at the end of the file."""
    parts, missing = [], size
    while missing and (part := file.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _open_quote(path: object, dialect: Dialect, content: bytes, num_rows: int) -> str:
    """Returns a message about a quote that is never closed; `content` starts with row `num_rows` + 1."""
    records, position = Records(dialect.delimiter.all_characters), 0
    while (end := records.first(content, position)) < len(content):
        is_row = content[position:end].strip(b" \r\n")
        position, num_rows = end, num_rows + bool(is_row)
    text = content[position : position + 60].decode(errors="replace")
    return f"{path}: row {num_rows + 1} has a quote that is never closed: {shortened(text)}; close or double it"


def _require_text(path: Path, head: bytes) -> None:
    for magic, advice in OTHER_FORMATS.items():
        if head.startswith(magic):
            raise InputError(f"{path}: this is {advice}")
    zeros = [position for position, byte in enumerate(head[:4096]) if byte == 0]
    if not zeros:
        return
    # Of two bytes of a Latin letter in UTF-16, one is 0.
    odd = sum(position % 2 for position in zeros)
    encoding = {len(zeros): "utf-16-le", 0: "utf-16-be"}.get(odd)
    if encoding is not None and len(zeros) > len(head[:4096]) / 4:
        raise InputError(f"{path}: this is UTF-16 text without a byte order mark; give --data.encoding {encoding}")
    if len(zeros) < 8 and (line := head[: zeros[0]].count(b"\n") + 1):
        raise InputError(f"{path}: line {line} has a NUL byte, which is no text; remove it, or give another table")
    raise InputError(f"{path}: this is a binary file, not UTF-8 text; give --data.path a CSV file")
