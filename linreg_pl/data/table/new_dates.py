"""Finds out how the dates of a table are written, where their notation is not that of the rows that were fitted.

    fitted        new rows                     read as
    2024-01-31    31.12.2024                   31 December
    31/01/2024    12/31/2024 and 01/02/2024    31 December and 2 January
    2024-01-31    01/02/2024 alone             nothing: it may be in January or in February

Dates are read in another order of day, month and year if all dates of the column have it, and one shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_text, is_text
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.text_column import TextColumn
from linreg_pl.data.table.text_shapes import cleaned
from linreg_pl.data.table.verdicts import Dates, TextRules


def new_date_formats(
    table: Table, fitted: Mapping[str, DateFormat], day_first: bool | None
) -> tuple[dict[str, DateFormat], list[str]]:
    """Returns how to read the columns of dates that have another order, and a line on each for the user.

    Takes a pass over the columns of text.

    Args:
        table: The table.
        fitted: The notation of each column of dates in the rows that were fitted.
        day_first: Whether the user says that 1/2/2024 is in February; None if they don't.
    """
    names = [each.name for each in table.schema if is_text(each.type) and each.name in fitted]
    columns = {name: _DateColumn.of(fitted[name], day_first) for name in names if not fitted[name].clock}
    for first, batch in table.all_batches(list(columns)) if columns else ():
        for name, column in columns.items():
            column.add(as_text(batch.column(name)), first)
    formats = {name: form for name, column in columns.items() if (form := column.new_format()) is not None}
    return formats, [f"column {name!r} {columns[name].remark(form)}" for name, form in formats.items()]


@dataclass
class _DateColumn:
    """The dates of one column.

    Attributes:
        fitted: The notation of the rows that were fitted.
        texts: What the column shows.
        unread: Texts that are no such date, one from each batch.
    """

    fitted: DateFormat
    texts: TextColumn
    unread: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, fitted: DateFormat, day_first: bool | None) -> "_DateColumn":
        return cls(fitted, TextColumn(TextRules(day_first=day_first, missing_values=frozenset(fitted.missing))))

    def add(self, texts: pa.Array, first_row: int) -> None:
        """Counts a batch of texts."""
        self.texts.add(texts, first_row)
        clean = cleaned(texts, self.fitted.missing)
        row = pc.index(pc.and_(pc.is_null(self.fitted.numbers(texts)), pc.is_valid(clean)), True).as_py()
        if row >= 0:
            self.unread.append(clean[row].as_py())

    def new_format(self) -> DateFormat | None:
        """Returns the notation of dates that the fitted one does not read; None if there are none, or in doubt."""
        verdict = self.texts.verdict() if self.unread else None
        if not isinstance(verdict, Dates) or not verdict.format.order or verdict.format.clock:
            return None
        form = replace(self.fitted, order=verdict.format.order)
        return form if form != self.fitted and self._example(form) else None

    def remark(self, form: DateFormat) -> str:
        """Returns what to say of dates that are read in another notation."""
        text = self._example(form)
        (days,) = form.numbers(pa.array([text])).to_numpy()
        day = pa.scalar(int(days // 1), pa.int32()).cast(pa.date32())
        return f"is not written as in the rows that were fitted: {text!r} is read as {day}"

    def _example(self, form: DateFormat) -> str | None:
        """Returns a text that is a date in this notation only."""
        read = zip(self.unread, form.numbers(pa.array(self.unread, pa.string())).to_pylist(), strict=True)
        return next((text for text, number in read if number is not None), None)
