"""Encodes the columns of a table as numbers.

    numbers, truth values   unchanged; true is 1
    text, dictionaries      one-hot: a column `column=value` for each category, 1 where the row has that value, else 0
    dates, lists, …         refused

Missing values become NaN.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.errors import InputError, quoted, repeated, shortened

NUMBER_OR_DATE = re.compile(
    r"[+-]?[$€£¥]?[\d.,_' ]*\d[\d.,_' ]*(e[+-]?\d+)?[%$€£¥]?|\d+[/.-]\d+[/.-]\d+.*|[+-]?inf(inity)?", re.IGNORECASE
)
"""Text that is probably a number or a date, and would silently become a category."""

EXACT_IN_FLOAT32 = (pa.bool_(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.float16(), pa.float32())
"""Types whose values are all exact in float32."""


class Encoding:
    """Encodes batches of a table as rows of numbers.

    Args:
        features: Names of the columns to predict from.
        others: Names of the targets and the weight.
        categories: Categories of each text column.
        drop_first: Leave out the first category of each text column.
    """

    def __init__(
        self,
        features: Sequence[str],
        others: Sequence[str],
        categories: Mapping[str, Sequence[str]],
        drop_first: bool,
    ) -> None:
        self.columns = [*features, *others]
        self._first_category = int(drop_first)
        self.categories = categories
        self._categories = {name: pa.array(values, pa.string()) for name, values in categories.items()}
        self.feature_names: list[str] = []
        for name in features:
            if name in categories:
                self.feature_names += [f"{name}={value}" for value in categories[name][self._first_category :]]
            else:
                self.feature_names.append(name)

    def numbers(self, batch: pa.RecordBatch) -> np.ndarray:
        """Returns all columns of a batch, features first: shape (n, number of columns).

        The type is float32 if that is exact, else float64. Missing values are NaN.

        Raises:
            UnknownCategory: a text is not among the categories.
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
            pc.equal(codes, code).cast(pa.float32())
            for code in range(self._first_category, len(self._categories[name]))
        ]


class UnknownCategory(Exception):  # noqa: N818 (caught where the file is known, and raised again as an InputError)
    """Raised for a text in `row` of a batch that is not among the fitted categories."""

    def __init__(self, column: str, row: int, text: str, categories: list[str]) -> None:
        super().__init__(column, row, text)
        self.row = row
        self.message = (
            f"{shortened(text)} is none of the {len(categories)} categories in the rows that were fitted,"
            f" {quoted(categories[:3])}{' …' if len(categories) > 3 else ''}; correct it, or leave such rows out"
        )
        self.column = column


def as_text(column: pa.Array) -> pa.Array:
    """Returns a text or dictionary column as plain strings; polars and pandas use different string types."""
    if not pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    return pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.string())).dictionary_decode()


def is_text(kind: pa.DataType) -> bool:
    """Says whether a column of this type is one-hot encoded."""
    types = pa.types
    return bool(
        types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    )


def is_numeric(kind: pa.DataType) -> bool:
    """Says whether a column of this type contains numbers, truth values, or only missing values."""
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    return any(test(kind) for test in tests)


def same_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the common type of a column that has these types in two files; None if they don't agree."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if is_text(one) and is_text(other):
        return pa.string()
    truths = [pa.types.is_boolean(one), pa.types.is_boolean(other)]
    return pa.float64() if is_numeric(one) and is_numeric(other) and not any(truths) else None


def require_kinds(name: str, schema: pa.Schema) -> None:
    """Checks that all chosen columns can be encoded.

    Raises:
        InputError: a column's type can't become numbers.
    """
    for field in schema:
        if not (is_numeric(field.type) or is_text(field.type)):
            raise InputError(
                f"{name}: column {shortened(field.name)} contains {_kind_of(field.type)}, neither numbers nor text;"
                " convert it, or choose other columns with --data.features and --data.target"
            )


def require_columns(name: object, columns: Sequence[str], chosen: Sequence[str], flag: str) -> None:
    """Checks the names that the user has chosen with `flag` against the table's columns.

    Raises:
        InputError: no column is chosen, one is chosen twice, or one does not exist.
    """
    if not chosen:
        raise InputError(f"{name}: no column is left for {flag}; the file has {quoted(columns)}")
    doubled = repeated(chosen)
    if doubled:
        raise InputError(f"{flag} names {quoted(doubled)} more than once; name each column once")
    known = frozenset(columns)
    missing = [column for column in chosen if column not in known]
    if missing:
        whole = f"[{', '.join(chosen)}]"
        if whole in known:
            raise InputError(
                f"{name}: there is no column {quoted(missing)}; for the column {whole!r}, give {flag} '[\"{whole}\"]'"
            )
        close = difflib.get_close_matches(missing[0], columns, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        only = " alone (commas must separate columns, or see --data.delimiter)" if len(columns) == 1 else ""
        raise InputError(
            f"{name}: there is no column {quoted(missing)}{meant}; the file has {quoted(columns)}{only}; see {flag}"
        )


def _kind_of(kind: pa.DataType) -> str:
    """Returns a type in words, with Arrow's name for it."""
    types = pa.types
    words = {
        "dates": types.is_date(kind) or types.is_timestamp(kind),
        "times": types.is_time(kind),
        "durations": types.is_duration(kind),
        "bytes that are not UTF-8 text": types.is_binary(kind),
    }
    arrow_name = shortened(str(kind))[1:-1]
    return next((f"{word} ({arrow_name})" for word, applies in words.items() if applies), arrow_name)


def _number_type(kind: Any) -> pa.DataType:
    return pa.float32() if kind in EXACT_IN_FLOAT32 else pa.float64()
