"""Parses segments of a CSV file with Arrow, and finds the values that Arrow refuses."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from linreg_pl.data.table.comments import without_hash_lines
from linreg_pl.data.table.dialect import Dialect
from linreg_pl.data.table.records import Segment, with_single_blanks
from linreg_pl.data.table.text_shapes import MISSING_TEXTS
from linreg_pl.errors import InputError, shortened


class Refused(Exception):  # noqa: N818 (always caught)
    """Raised for a value that does not have its column's type."""


class SegmentParser:
    """Parses segments of one file.

    Args:
        path: The file, for messages.
        dialect: How the file is written.
        missing_values: Texts that stand for a missing value, beside the empty one and those of pandas.
        verbatim: Keep such texts as they are in text columns.
    """

    behind_last_delimiter = "\0behind the last delimiter"
    """The name of the empty column that a delimiter at the end of each row makes."""

    def __init__(self, path: Path, dialect: Dialect, missing_values: Sequence[str], verbatim: bool = False) -> None:
        self._path, self._dialect, self._verbatim = path, dialect, verbatim
        marks = [*MISSING_TEXTS, *missing_values]
        self._missing = ["", *marks]
        self._marks = pa.array(self._missing, pa.string())
        # Arrow compares whole values; people write blanks around them. More marks take longer for each column, so
        # they are only tried where a value is refused.
        padded = [f"{before}{mark}{behind}" for mark in marks for before in ("", " ") for behind in ("", " ")]
        self._missing_with_blanks = [*(" " * count for count in range(16)), *padded]
        self._behind = [self.behind_last_delimiter] if dialect.ends_with_delimiter else []
        self.comments: list[str] = []

    def rows(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yields the segments without their comments, which are added to `comments`."""
        for segment in segments:
            rows = segment
            if not self._dialect.has_hash_in_rows:
                rows, comments = without_hash_lines(segment, self._dialect.delimiter.all_characters)
                self.comments += comments
            if bytes(rows.content[:1]):
                yield rows

    def guess(self, segment: Segment) -> pa.Table:
        """Returns the rows with types as Arrow guesses them.

        Raises:
            InputError: a row has too few or too many values.
        """
        options = pyarrow.csv.ConvertOptions(null_values=self._missing, strings_can_be_null=True)
        table = self._parsed(segment, options, 0)
        if any(pa.types.is_string(kind) for kind in table.schema.types):
            options.null_values = self._missing_with_blanks
            table = self._parsed(segment, options, 0)
        return table.select(self._dialect.names)

    def table(self, segment: Segment, schema: pa.Schema, rows_before: int) -> pa.Table:
        """Returns the rows of the columns in `schema`, as its types.

        Args:
            segment: Whole records.
            schema: Names and types of the columns.
            rows_before: Number of rows before this segment, for messages.

        Raises:
            InputError: a row has too few or too many values.
            Refused: a value does not have its column's type.
        """
        for missing in (self._missing, self._missing_with_blanks):
            try:
                table = self._converted(segment, schema, rows_before, missing).select(schema.names)
                has_texts = any(map(pa.types.is_string, schema.types))
                has_marks = has_texts and not self._verbatim and self._has_padding(segment.content)
                return self._without_padded_marks(table) if has_marks else table
            except pa.ArrowInvalid as error:
                if "invalid UTF8" in str(error):
                    raise UnicodeError(str(error)) from error
                if "conversion error" not in str(error):
                    raise
        raise Refused

    def _has_padding(self, content: memoryview) -> bool:
        """Says whether a blank or tab is at the start or end of some value."""
        delimiter = self._dialect.delimiter.character
        kinds = np.zeros(256, np.uint8)
        kinds[list(b" \t")], kinds[list(delimiter + b'\r\n"')] = 1, 2
        padded = np.concatenate([[np.uint8(2)], kinds[np.frombuffer(content, np.uint8)], [np.uint8(2)]])
        return bool(((padded[1:] | padded[:-1]) == 3).any())

    def _without_padded_marks(self, table: pa.Table) -> pa.Table:
        """Returns a table without the texts that are missing but for blanks around them."""
        for index, kind in enumerate(table.schema.types):
            if not pa.types.is_string(kind):
                continue
            texts = table.column(index)
            trimmed = pc.ascii_trim(texts, " \t")
            is_mark = pc.is_in(trimmed, self._marks, skip_nulls=True)
            table = table.set_column(index, table.field(index), pc.if_else(is_mark, pa.scalar(None, kind), texts))
        return table

    def misfits(self, segment: Segment, schema: pa.Schema, rows_before: int) -> set[str]:
        """Returns the names of the columns that have a value of another type than `schema` says.

        Raises:
            InputError: a row has a value behind its last delimiter.
        """
        typed = [field for field in schema if not pa.types.is_string(field.type)]
        try:
            texts = self._converted(segment, as_text(pa.schema(typed)), rows_before, self._missing_with_blanks, True)
        except pa.ArrowInvalid as error:
            raise UnicodeError(str(error)) from error
        for name in self._behind:
            row = pc.index(pc.is_valid(texts[name]), True).as_py()
            if row >= 0:
                num_names = len(self._dialect.names)
                raise InputError(self._wrong_length(rows_before + row + 1, num_names + 1, texts[name][row].as_py()))
        return {field.name for field in typed if not _fits(texts[field.name], field.type)}

    def _converted(
        self, segment: Segment, schema: pa.Schema, rows_before: int, missing: list[str], allows_behind: bool = False
    ) -> pa.Table:
        types = {field.name: field.type for field in schema}
        types |= dict.fromkeys(self._behind, pa.string() if allows_behind else pa.null())
        options = pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=missing,
            strings_can_be_null=not self._verbatim,
        )
        return self._parsed(segment, options, rows_before)

    def _parsed(self, segment: Segment, options: pyarrow.csv.ConvertOptions, rows_before: int) -> pa.Table:
        content: Any = segment.content
        if self._dialect.delimiter.in_runs:
            content = with_single_blanks(content)
        # Arrow cuts blocks at line ends; those in quotes, or a line longer than a block, need a single block.
        is_one_block = segment.has_quotes
        try:
            return self._read(content, options, is_one_block)
        except pa.ArrowInvalid as error:
            if "straddling" in str(error):
                return self._read(content, options, is_one_block := True)
            if "CSV parse error: Expected" not in str(error):
                raise
        str(content, "utf-8")  # raises where Arrow's handler could not decode a row
        comments: list[str] = []

        def skip(row: pyarrow.csv.InvalidRow) -> str:
            if not self._dialect.is_no_row(row.text):
                return "error"
            comments.extend([row.text] if row.text.lstrip().startswith("#") else [])
            return "skip"

        try:
            table = self._read(content, options, is_one_block, skip)
        except pa.ArrowInvalid as error:
            if "CSV parse error: Expected" not in str(error):
                raise
        else:
            self.comments += comments
            return table
        raise InputError(self._first_wrong_length(content, rows_before))

    def _read(
        self,
        content: Any,
        options: pyarrow.csv.ConvertOptions,
        is_one_block: bool,
        handler: Callable[[pyarrow.csv.InvalidRow], str] | None = None,
        use_threads: bool = True,
    ) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.BufferReader(pa.py_buffer(content)),
            pyarrow.csv.ReadOptions(
                column_names=[*self._dialect.names, *self._behind],
                block_size=len(content) + 1 if is_one_block else 1 << 20,
                use_threads=use_threads,
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self._dialect.delimiter.character.decode(),
                newlines_in_values=is_one_block,
                invalid_row_handler=handler,
            ),
            options,
        )

    def _first_wrong_length(self, content: Any, rows_before: int) -> str:
        """Returns a message about the first row that has too few or too many values."""
        skipped, message = 0, ""

        def note(row: pyarrow.csv.InvalidRow) -> str:
            nonlocal skipped, message
            if self._dialect.is_no_row(row.text):
                skipped += 1
                return "skip"
            # Only a single thread counts rows.
            number = rows_before + row.number - skipped
            message = message or self._wrong_length(number, row.actual_columns - len(self._behind), row.text)
            return "skip"

        first = [self._dialect.names[0]]
        options = pyarrow.csv.ConvertOptions(column_types={first[0]: pa.binary()}, include_columns=first)
        self._read(content, options, True, note, use_threads=False)
        return message

    def _wrong_length(self, row: int, num_values: int, text: str) -> str:
        delimiter = self._dialect.delimiter
        values = f"{num_values} {'value' if num_values == 1 else 'values'}, separated by {delimiter}"
        return (
            f"{self._path}: row {row} has {values}, but the header has {len(self._dialect.names)}: {shortened(text)};"
            " correct that row, or see --data.delimiter"
        )


def as_text(schema: pa.Schema, columns: Collection[str] | None = None) -> pa.Schema:
    """Returns the schema with these columns as text; all if None."""
    return pa.schema(
        [pa.field(field.name, pa.string()) if columns is None or field.name in columns else field for field in schema]
    )


def _fits(texts: pa.ChunkedArray, kind: pa.DataType) -> bool:
    """Says whether Arrow reads all texts as that type: float64 or bool."""
    if pa.types.is_boolean(kind):
        truth_values = pa.array(["1", "True", "TRUE", "true", "0", "False", "FALSE", "false"])
        return bool(pc.all(pc.is_in(texts.drop_null(), truth_values), min_count=0).as_py())
    try:
        pc.cast(pc.ascii_trim(texts, " \t"), kind)
    except pa.ArrowInvalid:
        return False
    return True
