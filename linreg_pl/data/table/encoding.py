"""How do the columns of a table become numbers?

    numbers, truth values   as they are; true is 1
    text, dictionaries      a column for each category, `column=value`, 1 where the row has that value, else 0
    dates, lists, …         refused

A value that is missing is NaN here.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.errors import InputError, quoted, shortened

LIKE_A_NUMBER = re.compile(
    r"[+-]?[$€£¥]?[\d.,_' ]*\d[\d.,_' ]*(e[+-]?\d+)?[%$€£¥]?|\d+[/.-]\d+[/.-]\d+.*|[+-]?inf(inity)?", re.IGNORECASE
)
"""Text that was meant as a number or a date; as a category it would be taken without a word."""

EXACT_IN_FLOAT32 = (pa.bool_(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.float16(), pa.float32())


class Encoding:
    """From batches of a table to rows of x and y."""

    def __init__(
        self,
        features: Sequence[str],
        others: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        drop_first: bool,
    ) -> None:
        self.columns = [*features, *others]
        self.first = {name: int(drop_first) for name in categories}
        self._categories = {name: pa.array(values, pa.string()) for name, values in categories.items()}
        self.feature_names = [
            written
            for name in features
            for written in (
                [f"{name}={value}" for value in categories[name][int(drop_first) :]] if name in categories else [name]
            )
        ]

    def numbers(self, batch: pa.RecordBatch) -> np.ndarray:
        """All columns of a batch of n rows, features before the others.

        In float32 where that is exact, else in float64; NaN where a value is missing.

        Raises:
            UnknownCategory: a text is none of the categories.
        """
        arrays: list[pa.Array] = []
        for name in self.columns:
            column = batch.column(name)
            if name in self._categories:
                arrays += self._indicators(name, column)
            else:
                arrays.append(column.cast(_number_type(column.type), safe=False))
        if not arrays or not batch.num_rows:
            return np.empty((batch.num_rows, len(arrays)), np.float32)
        rows = pa.RecordBatch.from_arrays(arrays, [""] * len(arrays))
        numbers: np.ndarray = rows.to_tensor(null_to_nan=True, row_major=True).to_numpy()
        return numbers

    def _indicators(self, name: str, column: pa.Array) -> list[pa.Array]:
        texts = as_text(column)
        codes = pc.index_in(texts, self._categories[name])
        unknown = pc.and_(pc.is_null(codes), pc.is_valid(texts))
        if pc.any(unknown).as_py():
            row = pc.index(unknown, True).as_py()
            raise UnknownCategory(name, row, texts[row].as_py(), self._categories[name].to_pylist())
        return [
            pc.equal(codes, code).cast(pa.float32()) for code in range(self.first[name], len(self._categories[name]))
        ]


class UnknownCategory(Exception):  # noqa: N818 (who catches it knows the file, and raises an InputError)
    """A text in `row` of a batch is none of the categories that were fitted."""

    def __init__(self, column: str, row: int, text: str, categories: list[str]) -> None:
        super().__init__(column, row, text)
        self.row = row
        self.message = (
            f"{shortened(text)} is none of the {len(categories)} categories in the rows that were fitted,"
            f" {quoted(categories[:3])}{' …' if len(categories) > 3 else ''}; correct it, or leave such rows out"
        )
        self.column = column


def as_text(column: pa.Array) -> pa.Array:
    """Texts, or the texts of a dictionary; of any width, as polars has others than pandas."""
    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string())).dictionary_decode()


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type has categories."""
    types = pa.types
    return bool(
        types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    )


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has numbers, or nothing at all."""
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def same_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type of a column that has these in two files; None where they do not agree."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if is_text(one) and is_text(other):
        return pa.string()
    truths = [pa.types.is_boolean(one), pa.types.is_boolean(other)]
    return pa.float64() if is_number(one) and is_number(other) and not any(truths) else None


def require_kinds(name: str, schema: pa.Schema) -> None:
    """Checks the types of all chosen columns.

    Raises:
        InputError: one can't be made numbers.
    """
    for field in schema:
        if not (is_number(field.type) or is_text(field.type)):
            unread = " (bytes that are no text in UTF-8)" if pa.types.is_binary(field.type) else ""
            raise InputError(
                f"{name}: column {shortened(field.name)} holds {shortened(str(field.type))[1:-1]}{unread}, neither"
                " numbers nor text; correct that, or choose other columns with --data.features and --data.target"
            )


def require_columns(name: object, found: Sequence[str], wanted: Sequence[str], flag: str) -> None:
    """Checks a choice of columns.

    Raises:
        InputError: none is wanted, one is wanted twice, or one is not there.
    """
    if not wanted:
        raise InputError(f"{name}: no column is left for {flag}; the file has {quoted(found)}")
    doubled = sorted({column for column in wanted if list(wanted).count(column) > 1})
    if doubled:
        raise InputError(f"{flag} names {quoted(doubled)} more than once; name each column once")
    missing = [column for column in wanted if column not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        only = " alone (commas must separate columns, or see --data.delimiter)" if len(found) == 1 else ""
        raise InputError(
            f"{name}: there is no column {quoted(missing)}{meant}; the file has {quoted(found)}{only}; see {flag}"
        )


def _number_type(kind: Any) -> pa.DataType:
    return pa.float32() if kind in EXACT_IN_FLOAT32 else pa.float64()
