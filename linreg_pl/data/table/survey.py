"""Finds out what each column of a table is taken for, and what stands in the way of a fit.

The text columns are looked through once, in the rows to fit. All that can't be used is reported at once.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.column_types import as_labels, filtered, is_temporal, is_text, is_usable, type_in_words
from linreg_pl.data.table.complaints import Complaint
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.learnt import REST, Format, Learnt
from linreg_pl.data.table.marks import without_shared_texts
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.split import Split
from linreg_pl.data.table.text_column import TextColumn
from linreg_pl.data.table.verdicts import Categories, Doubt, LeftOut, Numbers, Verdict
from linreg_pl.errors import shortened


@dataclass
class Survey:
    """What the columns are taken for.

    Args:
        features: Names of the columns to predict from.
        categories: Categories of those that are one-hot encoded; the rest, if there is one, comes last.
        rest: Names of those with a rest.
        formats: Notation of the columns whose texts are numbers or dates.
        truths: Names of the columns of truth values.
        left_out: Names of the columns that are no features after all, with the reasons.
        remarks: Lines that the user should read.
        complaints: What stands in the way.
        commas: Names of the columns with decimal commas, and whether at least half of their values have one.
    """

    features: list[str]
    categories: dict[str, list[str]] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    formats: dict[str, Format] = field(default_factory=dict)
    truths: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    complaints: list[Complaint] = field(default_factory=list)
    commas: dict[str, bool] = field(default_factory=dict)

    @property
    def learnt(self) -> Learnt:
        """Returns what later tables need to know."""
        return Learnt(self.features, self.categories, self.formats, self.rest, truths=self.truths)

    def leave_out(self, column: str, reason: str) -> None:
        """Takes a column out of the features."""
        self.features.remove(column)
        self.left_out[column] = reason
        self.remarks.append(f"left out {shortened(column)}: it {reason}")

    def complain(self, table: Table, column: str, row: int | None, reason: str, flags: list[tuple[str, Any]]) -> None:
        """Adds the complaint that a column can't be used, and goes on without it."""
        file, number = (table.name, None) if row is None else table.place(row)
        place = f"{file}: column {shortened(column)}" + ("" if number is None else f", row {number}")
        self.complaints.append(Complaint(column, place, reason, flags))
        if column in self.features:
            self.features.remove(column)

    def doubt_points(self, table: Table, with_commas: "Survey") -> bool:
        """Adds complaints about decimal commas and points in one table, if few of its numbers have decimal commas.

        Args:
            table: The table.
            with_commas: What its columns are taken for if it has decimal commas.
        """
        if any(self.commas.values()):
            return False
        num_known = len(self.complaints)
        new = {name: each for name, each in with_commas.formats.items() if each != self.formats.get(name)}
        for name in (name for name, each in new.items() if getattr(each, "thousands", "") == "."):
            comma = shortened(min(self.commas))
            reason = f"its points may be decimal, or separate thousands: column {comma} has commas"
            self.complain(table, name, None, reason, [("decimal", "."), ("decimal", ",")])
        pointed = [name for name, each in new.items() if getattr(each, "decimal", "") == "."]
        for name in self.commas if pointed else ():
            reason = f"a few of its values have commas, and column {shortened(pointed[0])} has decimal points"
            exclude = [("exclude", [name])] if name in self.features else []
            self.complain(table, name, None, reason, [*exclude, ("decimal", ",")])
        return len(self.complaints) > num_known

    def add(self, table: Table, column: str, verdict: Verdict, is_feature: bool) -> None:
        """Adds what a text column is."""
        if isinstance(verdict, Doubt):
            flags = [(remedy.flag, [column] if remedy.value is None else remedy.value) for remedy in verdict.remedies]
            value = "" if verdict.value is None else shortened(verdict.value)
            names_value = bool(value) and verdict.reason.startswith(value)  # as "'1,234' may have a decimal comma" does
            reason = verdict.reason if names_value or not value else f"{value}: {verdict.reason}"
            if not is_feature and not names_value:
                reason += "; targets and weights must be numbers"
            self.complain(table, column, verdict.row, reason, flags)
        elif isinstance(verdict, LeftOut):
            if is_feature:
                self.leave_out(column, verdict.reason)
            else:
                self.complain(table, column, None, f"it {verdict.reason}", [])
        else:
            if isinstance(verdict, Categories):
                self.categories[column] = [*verdict.categories, *([REST] if verdict.has_other else [])]
                self.rest += [column] if verdict.has_other else []
            else:
                self.formats[column] = verdict.format
                if isinstance(verdict, Numbers) and verdict.format.decimal == ",":
                    self.commas[column] = verdict.mostly_shown
            if verdict.remark:
                self.remarks.append(f"column {shortened(column)} {verdict.remark}")


def survey(table: Table, design: Design, split: Split) -> Survey:
    """Returns what each column of the table is taken for, judged by the rows to fit."""
    result = Survey(list(design.candidates()))
    features = set(result.features)
    verdicts, last_texts = text_verdicts(table, design, split)
    totals = [name for name, text in last_texts.items() if _is_total(text)]
    for name in totals[:1]:
        row = f"the last row has {shortened(last_texts[name])} in column {shortened(name)}"
        result.remarks.append(f"{row}: if it sums up the others, leave it out")
    empty = empty_columns(table, [name for name in result.features if name not in verdicts])
    for each in table.schema:
        name, is_feature = each.name, each.name in features
        if name not in verdicts and (remark := design.source.number_remarks.get(name)):
            result.remarks.append(f"column {shortened(name)} {remark}")
        if name in verdicts:
            result.add(table, name, verdicts[name], is_feature)
        elif name in empty:
            result.leave_out(name, "is empty")
        elif not is_usable(each.type):
            reason = f"it contains {type_in_words(each.type)}, neither numbers, dates nor text"
            result.complain(table, name, None, reason, [("exclude", [name])] if is_feature else [])
        elif is_temporal(each.type) and not pa.types.is_duration(each.type):
            result.formats[name] = text_format(each.type, design.day_first)
        elif pa.types.is_boolean(each.type):
            result.truths.append(name)
    result.complaints = without_shared_texts(result.complaints, table)
    return result


def text_format(kind: pa.DataType, day_first: bool | None) -> DateFormat:
    """Returns the notation in which a text file may have the dates or times of a typed table."""
    order = {None: "", True: "dmy", False: "mdy"}[day_first]
    return DateFormat(order, zoned=pa.types.is_timestamp(kind) and kind.tz is not None, clock=pa.types.is_time(kind))


def text_verdicts(table: Table, design: Design, split: Split) -> tuple[dict[str, Verdict], dict[str, str]]:
    """Returns what each text column is, judged by the rows to fit, and the text in the last of them."""
    fields = [each for each in table.schema if is_text(each.type) or design.is_categorical(each)]
    columns = {each.name: TextColumn(design.rules(each)) for each in fields}
    if not columns:
        return {}, {}
    num_seen, last_texts = 0, dict[str, str]()
    for first, batch in table.all_batches(list(columns), keeps_codes=True):
        mask = split.mask("fit", first, batch.num_rows)
        kept = filtered(batch, mask)
        for name, column in columns.items():
            column.add(as_labels(kept.column(name), keeps_codes=True), num_seen)
            if kept.num_rows:
                last_texts[name] = str(kept.column(name)[-1].as_py())
        num_seen += kept.num_rows
    columns, last_texts, _ = table.world.reduced((columns, last_texts, num_seen), _followed_by)
    verdicts = {name: column.verdict() for name, column in columns.items()}
    fitted = split.mask("fit", 0, table.num_rows)
    if fitted is None:
        return verdicts, last_texts
    rows = np.flatnonzero(fitted)
    return {name: _in_table(verdict, rows) for name, verdict in verdicts.items()}, last_texts


def _followed_by(first: "_Looked", second: "_Looked") -> "_Looked":
    """Merges what two processes have seen of the text columns, the second one in the rows behind the first one's."""
    (columns, texts, num_seen), (other_columns, other_texts, other_num_seen) = first, second
    for name, column in columns.items():
        column.merge(other_columns[name], num_seen)
    return columns, {**texts, **other_texts}, num_seen + other_num_seen


_Looked = tuple[dict[str, TextColumn], dict[str, str], int]


def _is_total(text: str) -> bool:
    """Says whether a text stands in front of a sum, as in the last row of reports."""
    words = "(grand |sub-?)?totals?|sum|summe|gesamt|insgesamt|somme|suma|average"
    return re.fullmatch(rf"\W*({words})\W*", text, re.IGNORECASE) is not None


def _in_table(verdict: Verdict, rows: np.ndarray) -> Verdict:
    """Returns a verdict on the rows to fit with a row's number in the table."""
    if not isinstance(verdict, Doubt) or verdict.row is None:
        return verdict
    return replace(verdict, row=int(rows[verdict.row]))


def empty_columns(table: Table, columns: Sequence[str]) -> set[str]:
    """Returns those of some columns that have no value; reads rows only as long as there may be one."""
    empty = list(columns)
    for _, batch in table.all_batches(empty) if empty else ():
        empty = [name for name in empty if batch.column(name).null_count == batch.num_rows]
        if not empty:
            break
    return set.intersection(*map(set, table.world.gathered(empty)))
