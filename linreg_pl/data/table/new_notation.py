"""Finds out how the numbers of a table are written, where their notation is not that of the rows that were fitted.

    fitted   new rows          read as
    70,11    70.11             70.11
    70.11    1.234,5           1234.5
    70,11    1.234 alone       nothing: it may be 1.234 or 1234
    57%      57                57
    57%      0.57              nothing: it may be a fraction
    10K      10000             nothing: it may be in another unit

A number is read if all notations that suit the whole column agree on it. Dates are looked at in `new_dates.py`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_text, is_text
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.new_dates import new_date_formats
from linreg_pl.data.table.number_text import NumberFormat, NumberShape, is_symbol, number_shape
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.text_shapes import ShapedTexts, cleaned


@dataclass(frozen=True)
class AnyNotation:
    """Several notations of one column: a text is a number if those that accept it agree on its digits.

    Args:
        formats: The notations; at least one.
        sign: The percent sign of the rows that were fitted, if numbers without it may be fractions; else empty.
    """

    formats: tuple[NumberFormat, ...]
    sign: str = ""

    def numbers(self, texts: pa.Array) -> pa.Array:
        """Returns the numbers in texts: float64 (n,), null where a text is null, no number, or in doubt."""
        clean = cleaned(texts, self.formats[0].missing)
        numbers = pa.nulls(len(texts), pa.float64())
        valid = np.asarray(pc.is_valid(clean))
        shaped = ShapedTexts.of(clean.drop_null())
        chosen = [self.format_of(shape) for shape in shaped.shapes]
        for notation in dict.fromkeys(filter(None, chosen)):
            known = np.zeros(len(texts), bool)
            known[valid] = np.array([each == notation for each in chosen], bool)[shaped.codes]
            mask = pa.array(known)
            numbers = pc.if_else(mask, notation.numbers(pc.if_else(mask, clean, None)), numbers)
        return numbers

    def format_of(self, shape: str) -> NumberFormat | None:
        """Returns a notation that reads texts of this shape; None if there is none, or two disagree."""
        accepting = self._accepting(shape)
        digits = {
            shape.replace(" ", "").replace(each.thousands or " ", "").replace(each.decimal, ".") for each in accepting
        }
        return accepting[0] if len(digits) == 1 else None

    def doubt(self, text: str) -> str:
        """Returns why a text that looks like a number is not read; empty for other texts."""
        (shape,) = ShapedTexts.of(cleaned(pa.array([text], pa.string()))).shapes
        parts = number_shape(shape)
        if parts is None:
            return ""
        if len(self._accepting(shape)) > 1:
            return "may have a decimal comma or a thousands separator (give --data.decimal '.' or ',')"
        if self.sign and not parts.prefix + parts.suffix:
            return f"may be a fraction, as the rows that were fitted have {self.sign}"
        return "is not written like the numbers that were fitted"

    def _accepting(self, shape: str) -> list[NumberFormat]:
        return [each for each in self.formats if each.accepts(shape)]


class NewNotations(NamedTuple):
    """How the numbers of a table are written.

    Attributes:
        readings: How to read the columns whose notation is not the fitted one.
        decimal: The decimal mark of the columns that have another one than the fitted rows; None if they differ.
        remarks: Lines for the user.
    """

    readings: dict[str, AnyNotation | DateFormat]
    decimal: str | None
    remarks: list[str]


def new_notations(
    table: Table, fitted: Mapping[str, NumberFormat | DateFormat], decimal: str | None, day_first: bool | None
) -> NewNotations:
    """Returns how the numbers and dates of a table are written; takes two passes over its columns of text.

    Args:
        table: The table.
        fitted: The notation of each column of numbers or dates in the rows that were fitted.
        decimal: The decimal mark that the user prefers where there is a choice.
        day_first: Whether the user says that 1/2/2024 is in February; None if they don't.
    """
    columns = {
        each.name: _Column(notation)
        for each in table.schema
        if is_text(each.type) and isinstance(notation := fitted.get(each.name), NumberFormat)
    }
    for _, batch in table.all_batches(list(columns)) if columns else ():
        for name, column in columns.items():
            column.add(as_text(batch.column(name)))
    marks = {mark for column in columns.values() if (mark := column.new_decimal(decimal))}
    new_decimal = marks.pop() if len(marks) == 1 else None
    dates = {name: notation for name, notation in fitted.items() if isinstance(notation, DateFormat)}
    formats, remarks = new_date_formats(table, dates, day_first)
    readings: dict[str, AnyNotation | DateFormat] = {**formats}
    for name, column in columns.items():
        if column.reads_all and (new_decimal is None or new_decimal == column.fitted.decimal):
            continue
        readings[name] = reading = column.reading(new_decimal or decimal)
        if remark := column.remark(reading):
            remarks.append(f"column {name!r} {remark}")
    return NewNotations(readings, new_decimal, remarks)


@dataclass
class _Column:
    """The numbers of one column by their shapes.

    Attributes:
        fitted: The notation of the rows that were fitted.
        rows: The number of rows of each shape.
        first: The first text of each shape.
        ones: The number of texts that are 1, which may be 1% or 100%.
    """

    fitted: NumberFormat
    rows: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    ones: int = 0

    def add(self, texts: pa.Array) -> None:
        """Counts a batch of texts."""
        clean = cleaned(texts, self.fitted.missing).drop_null()
        shaped = ShapedTexts.of(clean)
        codes, starts, counts = np.unique(shaped.codes, return_index=True, return_counts=True)
        for code, start, count in zip(codes.tolist(), starts.tolist(), counts.tolist(), strict=True):
            shape = shaped.shapes[code]
            if number_shape(shape) is not None:
                self.rows[shape] = self.rows.get(shape, 0) + count
                self.first.setdefault(shape, clean[start].as_py())
        self.ones += pc.sum(pc.equal(clean, "1")).as_py() or 0

    @property
    def reads_all(self) -> bool:
        """Returns whether the fitted notation reads all numbers."""
        return all(map(self.fitted.accepts, self.rows))

    def new_decimal(self, preferred: str | None) -> str | None:
        """Returns the decimal mark of numbers that the fitted notation does not read, if there is no other way."""
        unread = [parts for shape, parts in self._suitable().items() if not self.fitted.accepts(shape)]
        marks = {NumberFormat.notations[index][0] for index in self._notations(preferred)}
        return marks.pop() if unread and len(marks) == 1 else None

    def reading(self, preferred: str | None) -> AnyNotation:
        """Returns how to read the column; the fitted notation counts too, if it reads all numbers."""
        notations, suitable = self._notations(preferred), self._suitable()
        if self.reads_all:  # in a table whose other columns have another decimal mark
            notations |= {NumberFormat.notations.index((self.fitted.decimal, self.fitted.thousands))}
        own = (self.fitted.prefix, self.fitted.suffix)
        decorations = dict.fromkeys([own, *((parts.prefix, parts.suffix) for parts in suitable.values())])
        formats = (
            replace(self.fitted, decimal=mark, thousands=thousands, prefix=prefix, suffix=suffix)
            for mark, thousands in (NumberFormat.notations[index] for index in sorted(notations))
            for prefix, suffix in decorations
        )
        return AnyNotation(tuple(formats), "" if ("", "") in decorations else self._percent_sign)

    def remark(self, reading: AnyNotation) -> str | None:
        """Returns what to say of numbers that are read in another notation; None if there are none."""
        for shape, text in self.first.items():
            notation = reading.format_of(shape)
            if notation is not None and not self.fitted.accepts(shape):
                number = f"{notation.numbers(pa.array([text]))[0].as_py():.15g}{self._percent_sign}"
                return f"is not written as in the rows that were fitted: {text!r} is read as {number}"
        return None

    @property
    def _percent_sign(self) -> str:
        return self.fitted.suffix if self.fitted.suffix in ("%", "‰") else ""

    def _suitable(self) -> dict[str, NumberShape]:
        """Returns the shapes whose currency, unit or percent sign does not speak against the fitted ones."""
        shapes = {shape: parts for shape in self.rows if (parts := number_shape(shape)) is not None}
        own = self.fitted.prefix + self.fitted.suffix
        others = {parts.prefix + parts.suffix for parts in shapes.values()} - {""}
        allowed = {own}  # in front or behind: € 12 and 12 €
        if not self.fitted.unit and (not self._percent_sign or self._exceed_one(shapes)):
            allowed |= {""}
        if not own and len(others) == 1 and all(is_symbol(each) and each not in "%‰" for each in others):
            allowed |= others
        return {
            shape: parts
            for shape, parts in shapes.items()
            if parts.prefix + parts.suffix in allowed and (self.fitted.parentheses or not parts.parentheses)
        }

    def _exceed_one(self, shapes: Iterable[str]) -> bool:
        """Says whether at least half of the numbers without a sign, apart from 0, are above 1."""
        bare = {shape: self.rows[shape] for shape in shapes if not _decoration(shape)}
        large = sum(count for shape, count in bare.items() if shape.lstrip("+-")[:1] == "9") - self.ones
        return large > 0 and 2 * large >= sum(count for shape, count in bare.items() if shape.strip("+-0.,"))

    def _notations(self, preferred: str | None) -> frozenset[int]:
        """Returns the indices of the notations that read all numbers, with that decimal mark if there is a choice."""
        every = frozenset(range(len(NumberFormat.notations)))
        common = every.intersection(*(parts.notations for parts in self._suitable().values()))
        return frozenset(index for index in common if NumberFormat.notations[index][0] == preferred) or common or every


def _decoration(shape: str) -> str:
    """Returns what stands in front of a number or behind it."""
    parts = number_shape(shape)
    return "" if parts is None else parts.prefix + parts.suffix
