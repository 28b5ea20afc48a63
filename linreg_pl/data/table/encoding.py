"""Encodes the columns of a table as numbers.

    numbers, truth values   unchanged; true is 1
    dates, times            days since 1970-01-01, with the time as a fraction; times of a day and durations in days
    text, dictionaries      one-hot: a column `column=value` for each category, 1 where the row has that value, else 0;
                            or numbers or dates in the notation that was found

Missing values become NaN.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_labels, as_text, is_temporal, is_text
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.learnt import Learnt
from linreg_pl.data.table.marks import without_marks
from linreg_pl.data.table.new_notation import AnyNotation
from linreg_pl.data.table.number_text import NumberFormat
from linreg_pl.data.table.row_major import as_rows
from linreg_pl.data.table.text_column import is_mark
from linreg_pl.data.table.text_shapes import cleaned
from linreg_pl.data.table.unseen import Met, Unseen, UnseenText, UnseenValues
from linreg_pl.errors import InputError, quoted, repeated, shortened

EXACT_IN_FLOAT32 = (pa.bool_(), pa.int8(), pa.int16(), pa.uint8(), pa.uint16(), pa.float16(), pa.float32())
"""Types whose values are all exact in float32."""


class Encoding:
    """Encodes batches of a table as rows of numbers.

    Args:
        learnt: The features, their categories and formats.
        others: Names of the targets and the weight.
        drop_first: Leave out the first category of each text column.
        missing_values: Texts that stand for a missing value, beside those that are read as missing.
        unseen: How to treat a category that was not fitted, and a text that is no number: raise `UnseenText`; raise it
            unless another value of the row is missing, so that the row is dropped; take the value as missing; or make
            all features of its row infinite, so that the row gets no prediction.
        needs_rest: Refuse such a category unless its column has a rest.
        readings: How to read columns that are not written as in the rows that were fitted.
        imputes: Whether missing features are imputed, so that a row is dropped only where it lacks another column.
    """

    def __init__(
        self,
        learnt: Learnt,
        others: Sequence[str],
        drop_first: bool,
        missing_values: Collection[str] = (),
        unseen: Unseen = "error",
        needs_rest: bool = False,
        readings: Mapping[str, AnyNotation | DateFormat] = MappingProxyType({}),
        imputes: bool = False,
    ) -> None:
        features = learnt.features or []
        self._needs_rest, self._imputes = needs_rest, imputes
        self.unseen_values = UnseenValues()
        self.columns = [*features, *others]
        self._features, self._first_category, self._unseen = features, int(drop_first), unseen
        self.categories = learnt.categories or {}
        self._categories = {name: pa.array(values, pa.string()) for name, values in self.categories.items()}
        dates = {name: reading for name, reading in readings.items() if isinstance(reading, DateFormat)}
        self._readings = {name: reading for name, reading in readings.items() if isinstance(reading, AnyNotation)}
        self._formats, self._rest = {**(learnt.formats or {}), **dates}, frozenset(learnt.rest or ())
        self._indicators, self._truths = frozenset(learnt.indicators or ()), frozenset(learnt.truths or ())
        self._missing_values = pa.array(sorted(missing_values), pa.string())
        self.sources: list[str] = []  # the column of the table that each column of x comes from
        self.feature_names: list[str] = []
        for name in features:
            names = [name]
            if name in self.categories:
                names = [f"{name}={value}" for value in self.categories[name][self._first_category :]]
            names += [f"{name} is missing"] if name in self._indicators else []
            self.feature_names += names
            self.sources += [name] * len(names)
        self.sources += others

    def numbers(self, batch: pa.RecordBatch) -> np.ndarray:
        """Returns all columns of a batch, features first: shape (n, number of columns).

        The type is float32 if that is exact, else float64. Missing values are NaN.

        Raises:
            UnseenText: a text is not among the categories, or no number, and `unseen` does not allow it.
        """
        arrays: list[pa.Array] = []
        met: list[Met] = []
        for position, name in enumerate(self.columns):
            column, is_feature = batch.column(name), position < len(self._features)
            if is_feature and name in self._categories:
                codes = self._codes(name, column, met)
                arrays += [
                    pc.equal(codes, code).cast(pa.float32())
                    for code in range(self._first_category, len(self._categories[name]))
                ]
                values = codes
            else:
                values = self._values(name, column, met)
                arrays.append(values)
            if is_feature and name in self._indicators:
                arrays.append(pc.is_null(values, nan_is_null=True).cast(pa.float32()))
        if not arrays or not batch.num_rows:
            return np.empty((batch.num_rows, len(arrays)), np.float32)
        numbers = as_rows(arrays)
        if met and self._unseen == "drop":
            self._require_dropped(numbers, met)
        elif met:
            numbers = np.where(np.logical_or.reduce([each.mask for each in met])[:, None], np.float32(np.inf), numbers)
        return numbers

    def _require_dropped(self, numbers: np.ndarray, met: list[Met]) -> None:
        """Checks that another value is missing in each row with an unseen one.

        Raises:
            UnseenText: none is.
        """
        missing, sources = np.isnan(numbers), np.array(self.sources)
        if self._imputes:
            missing[:, : len(self.feature_names)] = False
        for each in met:
            missing[:, sources == each.column] &= ~each.mask[:, None]
        for each in met:
            complete = np.flatnonzero(each.mask & ~missing.any(axis=1))
            if len(complete):
                raise self._refusal(each.column, each.texts, int(complete[0]))

    def _values(self, name: str, column: pa.Array, met: list[Met]) -> pa.Array:
        """Returns a column's numbers."""
        notation = self._formats.get(name, NumberFormat())
        if not is_text(column.type):
            is_date = is_temporal(column.type) and not pa.types.is_duration(column.type)
            is_other = is_date != isinstance(notation, DateFormat)
            if isinstance(notation, DateFormat) and pa.types.is_timestamp(column.type):
                is_other = notation.zoned != (column.type.tz is not None)  # as for texts
            if isinstance(notation, NumberFormat) and notation.unit:
                is_other = True  # these numbers may be in another unit
            if is_other and column.null_count < len(column):
                self._meet_unseen(name, column, pc.is_valid(column), met)
                return pa.nulls(len(column), pa.float64())
            values = _days(column) if is_temporal(column.type) else _as_floats(column)
            return without_marks(values, column, self._missing_values)
        texts = without_marks(as_text(column), column, self._missing_values)
        if name in self._truths:
            texts = _with_digits(texts)
        values = self._readings.get(name, notation).numbers(texts)
        if values.null_count > texts.null_count:
            unread = pc.and_(pc.is_null(values), pc.is_valid(texts))
            odd = [text for text in texts.filter(unread).unique().to_pylist() if not is_mark(text)]
            swapped = isinstance(notation, DateFormat) and notation.others_fit(odd)
            if swapped:  # its other dates would be read with day and month swapped
                message = f"{shortened(swapped)} has day and month in another order than the dates that were fitted"
                raise UnseenText(name, pc.index(texts, swapped).as_py(), message, "write the dates alike")
            if odd:
                self._meet_unseen(name, texts, pc.is_in(texts, pa.array(odd, pa.string())), met)
        return values

    def _codes(self, name: str, column: pa.Array, met: list[Met]) -> pa.Array:
        """Returns the number of each row's category; null where it is missing."""
        texts, categories = without_marks(as_labels(column), column, self._missing_values), self._categories[name]
        codes = pc.index_in(texts, categories)
        if codes.null_count == texts.null_count:
            return codes
        # Blanks and marks with blanks around them are missing, as where the categories were counted.
        texts = pc.if_else(pc.is_valid(cleaned(texts, self._missing_values.to_pylist())), texts, None)
        unknown = pc.and_(pc.is_null(codes), pc.is_valid(texts))
        if codes.null_count == texts.null_count:
            return codes
        if name in self._rest:
            return pc.if_else(unknown, pa.scalar(len(categories) - 1, codes.type), codes)
        self._meet_unseen(name, texts, unknown, met)
        return codes

    def _meet_unseen(self, name: str, column: pa.Array, unseen: pa.Array, met: list[Met]) -> None:
        """Counts the unseen values of a column, and adds them to `met` unless they count as missing.

        Raises:
            UnseenText: they are refused.
        """
        row = pc.index(unseen, True).as_py()
        if self._unseen == "error" or (name in self._categories and self._needs_rest):
            raise self._refusal(name, column, row)
        if self._unseen != "drop":
            text = str(column[row].as_py())
            self.unseen_values.add(name, pc.sum(unseen).as_py(), text, self._fault(name, text))
        if self._unseen != "missing":
            met.append(Met(name, column, np.asarray(unseen)))

    def _refusal(self, name: str, column: pa.Array, row: int) -> UnseenText:
        """Returns the error about the unseen value in a row of a column."""
        text = str(column[row].as_py())
        if name not in self._categories:
            return UnseenText(name, row, f"{shortened(text)} {self._fault(name, text)}")
        message = self._unseen_category(name, text)
        if not self._needs_rest:
            return UnseenText(name, row, message)
        remedy = "--data.unseen other needs a fit with --data.rare other; leave it out, or correct the value"
        return UnseenText(name, row, message, remedy)

    def _fault(self, name: str, text: str) -> str:
        """Returns what is wrong with an unseen value, as the end of a sentence."""
        if name in self._categories:
            return "is a category that the fit has not seen"
        reading = self._readings.get(name)
        return (reading.doubt(text) if reading else "") or f"is not a {self._kind(name)}"

    def _kind(self, name: str) -> str:
        if name in self._truths:
            return "truth value"
        notation = self._formats.get(name, NumberFormat())
        if isinstance(notation, NumberFormat):
            return f"number with {notation.unit!r}, as in the rows that were fitted" if notation.unit else "number"
        return "date like those in the rows that were fitted"

    def _unseen_category(self, name: str, text: str) -> str:
        categories = self.categories[name]
        known = f"{quoted(categories[:3])}{' …' if len(categories) > 3 else ''}"
        return f"{shortened(text)} is none of the {len(categories)} categories in the rows that were fitted, {known}"


def require_columns(name: object, columns: Sequence[str], chosen: Sequence[str], flag: str) -> None:
    """Checks the names that the user has chosen with `flag` against the table's columns.

    Raises:
        InputError: no column is chosen, one is chosen twice, or one does not exist.
    """
    if not chosen:
        raise InputError(f"{name}: no column is left for {flag}; it has {quoted(columns)}")
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
        close = [each for each in columns if each.strip().casefold() == missing[0].strip().casefold()]
        close = close or difflib.get_close_matches(missing[0], columns, n=1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        if all(map(_is_number, columns)):
            meant = " (if the file has no header, see --data.column_names)"
        absent = "there is no column" if len(missing) == 1 else "there are no columns"
        only = " alone (commas must separate columns, or see --data.delimiter)" if len(columns) == 1 else ""
        only = only if PurePath(str(name)).suffix else ""  # a frame has no delimiter
        raise InputError(f"{name}: {absent} {quoted(missing)}{meant}; it has {quoted(columns)}{only}; see {flag}")


def _with_digits(texts: pa.Array) -> pa.Array:
    """Returns texts with 1 for true and 0 for false, as in columns of truth values."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    for word, digit in (("true", "1"), ("false", "0")):
        texts = pc.if_else(pc.equal(words, word), digit, texts)
    return texts


def _days(column: pa.Array) -> pa.Array:
    """Returns dates and time stamps as days since 1970-01-01, in UTC if they have a zone, and times as days."""
    kind, days_in = column.type, {"s": 86_400, "ms": 86_400e3, "us": 86_400e6, "ns": 86_400e9}
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    whole = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
    return pc.divide(whole.cast(pa.float64(), safe=False), pa.scalar(float(days_in[kind.unit])))


def _as_floats(column: pa.Array) -> pa.Array:
    """Returns numbers and truth values as float32 if that is exact, else as the nearest float64."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow itself reads the decimal 0.207 as 0.20700000000000002
    return column.cast(pa.float32() if column.type in EXACT_IN_FLOAT32 else pa.float64(), safe=False)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
