"""The table with the rows to fit, and what is learnt of its columns: what they are taken for, and their means."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from linreg_pl.core.world import World
from linreg_pl.data.progress import Watch
from linreg_pl.data.table.complaints import refusal
from linreg_pl.data.table.csv import without_rows
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.encoded_rows import EncodedRows
from linreg_pl.data.table.encoding import Encoding
from linreg_pl.data.table.equal_rows import EqualRows, collapsed
from linreg_pl.data.table.gaps import Gaps
from linreg_pl.data.table.learnt import REST, Learnt
from linreg_pl.data.table.means import learn_means
from linreg_pl.data.table.new_notation import NewNotations, new_notations
from linreg_pl.data.table.number_text import NumberFormat
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.sources import Source
from linreg_pl.data.table.split import Part, Split
from linreg_pl.data.table.survey import Survey, survey
from linreg_pl.data.table.unseen import Unseen
from linreg_pl.errors import InputError, quoted, repeated, shortened


class FittedTable:
    """The table with the rows to fit. It is opened, and its columns are surveyed, when first needed.

    Args:
        design: Which columns, and how they are encoded.
        split: Which rows to fit, to validate and to test.
        memory_limit: Bytes up to which a CSV or Arrow file is held in memory.
        watch: Sees each pass over all rows.
        world: The processes that share the rows.
    """

    def __init__(self, design: Design, split: Split, memory_limit: float, watch: Watch, world: World) -> None:
        self.design, self.split = design, split
        self._memory_limit, self._watch, self.world = memory_limit, watch, world
        self.gaps: Gaps | None = None  # counted where `missing` allows missing values
        self.dropped: dict[Part, str] = {}  # lines about held-out rows
        self._notations: dict[Table, NewNotations] = {}  # of tables that were not surveyed
        self._predicted: Encoding | None = None
        self.collapsed: EqualRows | None = None  # where the exact pass takes distinct rows alone

    @property
    def learnt(self) -> dict[str, Any]:
        """Returns the features and what has been learnt of them, as plain types for a checkpoint."""
        return (self._with_means if self.design.imputes else self._columns).to_dict()

    @cached_property
    def feature_names(self) -> list[str]:
        """Returns the names of the columns of x, `column=value` for a category.

        Without a checkpoint, the rows are read to find out what the columns are.
        """
        return self._encoding([]).feature_names

    @property
    def complete_categories(self) -> list[list[str]]:
        """Returns the categories of each text column, as features, where none is left out."""
        categories = {} if self.design.drop_first else self._columns.categories or {}
        return [[f"{name}={value}" for value in values] for name, values in categories.items()]

    @property
    def remarks(self) -> list[str]:
        """Returns lines about columns that are left out or read in a special way, and about missing values.

        Lines about values that the fit has not prepared for are complete once all predictions are made.
        """
        is_new = self.design.learnt.categories is None
        lines = [*self.design.source.remarks, *(self.surveyed.remarks if is_new else [])]
        if self.gaps is not None and self.gaps.counts:
            dropped = f"dropped {self.gaps.in_words('rows with a missing value')}"
            imputed = f"values are missing in {self.gaps.in_words()}"
            lines.append(dropped if self.design.missing == "drop" else imputed)
        lines += self.dropped.values()
        lines += [] if self.collapsed is None else [self.collapsed.remark]
        lines += dict.fromkeys(remark for notations in self._notations.values() for remark in notations.remarks)
        if self._predicted is not None:
            consequence = "taken as missing" if self.design.unseen == "missing" else "not predicted"
            lines += self._predicted.unseen_values.remarks(consequence)
        return lines

    @cached_property
    def table(self) -> Table:
        """Returns the opened table, with the targets and the weight as far as it has them."""
        return self._opened_table()

    def _opened_table(self) -> Table:
        source, columns = self.design.source, set(self.design.source.columns)
        return self.open(source, [name for name in self.design.others if name in columns], "--data.path")

    def open(self, source: Source, others: Sequence[str], flag: str) -> Table:
        """Opens the features and some other columns of a source, which `flag` names.

        Raises:
            InputError: there are no rows, or a column does not exist.
        """
        table = self._open(self.design, source, others, flag)
        if source is self.design.source and self.design.learnt.categories is None:
            return table  # this one is surveyed
        formats, categories = self._columns.formats or {}, self._columns.categories or {}
        fitted = {name: formats.get(name, NumberFormat()) for name in table.schema.names if name not in categories}
        notations = new_notations(table, fitted, self.design.decimal, self.design.day_first)
        if notations.decimal == "," != self.design.decimal:
            # 1.234 in other columns may be 1234: read them as text, too.
            table = self._open(replace(self.design, decimal=","), source, others, flag)
            notations = new_notations(table, fitted, ",", self.design.day_first)
        self._notations[table] = notations
        return table

    def _open(self, design: Design, source: Source, others: Sequence[str], flag: str) -> Table:
        table = source.table(design.schema(source, others, flag), self._memory_limit, self._watch, self.world)
        if table.num_rows == 0:
            raise InputError(without_rows(table.name))
        return table

    def learn(self) -> None:
        """Finds out what the columns are; opens the table again where they are to be read as text."""
        self.design.require_others()
        _ = self.survey

    @cached_property
    def survey(self) -> Survey | None:
        """Returns what the columns are taken for; None if a checkpoint has stored it.

        Raises:
            InputError: columns can't be used as they are.
        """
        if self.design.learnt.categories is not None:
            return None
        self.design.require_others()
        result = self.surveyed
        if result.complaints:
            raise self._refusal(result)
        if not result.features:
            reasons = ", ".join(f"{shortened(name)} {reason}" for name, reason in result.left_out.items())
            raise InputError(f"{self.table.name}: no column is left to predict from: {reasons}; see --data.features")
        return result

    @cached_property
    def surveyed(self) -> Survey:
        """Returns what the columns are taken for, and what stands in the way."""
        result = survey(self.table, self.design, self.split)
        if self.design.decimal is None and result.commas:
            # The file has decimal commas, so 1.234 in other columns may be 1234: read them as text, too.
            design, table, self.design = self.design, self.table, replace(self.design, decimal=",")
            self.table = self._opened_table()
            with_commas = survey(self.table, self.design, self.split)
            if not result.doubt_points(table, with_commas):
                return with_commas
            self.design, self.table = design, table
        return result

    def _refusal(self, result: Survey) -> InputError:
        """Returns the error with all that stands in the way, missing values too."""
        design, complaints = self.design, list(result.complaints)
        if design.missing in ("error", None) and result.features:
            columns = set(self.table.schema.names) - {each.column for each in complaints}
            others = [name for name in design.others if name in columns]
            gaps = self.rows(self.table, result.learnt, others, len(others)).gaps()
            complaints += [gaps.complaint(self.table.place)] if gaps.counts else []
        given: dict[str, Sequence[str]] = {
            "exclude": design.excluded,
            "categorical": design.categorical,
            "numbers": design.numbers,
            "missing_values": design.missing_values,
        }
        error = refusal(complaints, given, design.missing)
        if not result.features and error.flags.keys() <= {"exclude", "missing"}:  # nothing would be left
            return InputError(str(error))
        return error

    def encoded(self, table: Table, purpose: Part | Literal["predict"]) -> EncodedRows:
        """Returns a table's rows as numbers; for predictions, only the features."""
        design, predicts = self.design, purpose == "predict"
        others = [] if predicts else design.others
        unseen: Unseen = "empty" if predicts else "error"
        if design.unseen == "missing" or design.unseen == "error":
            unseen = design.unseen
        drops = design.missing == "drop" or (purpose == "fit" and design.missing != "error")
        if unseen == "error" and drops and not predicts:
            unseen = "drop"
        if purpose == "fit" and design.learnt.categories is None:
            # What was not surveyed as a category occurs in rows only that lack another value.
            unseen = "error" if design.missing == "error" else "missing"
        learnt = self._with_means if design.imputes else self._columns
        rows = self.rows(table, learnt, others, 0 if predicts else len(design.targets), unseen)
        if predicts:
            self._predicted = rows.encoding
        return rows

    def drops(self, gaps: Gaps | None = None) -> bool:
        """Returns whether incomplete rows are dropped; if that is left open, where most are complete by these gaps."""
        if self.design.missing is None and (gaps is None or (gaps.counts and gaps.leaves_most_rows)):
            self.design = replace(self.design, missing="drop")
            vars(self).pop("_columns", None)  # to count what is dropped
        return self.design.missing == "drop"

    @cached_property
    def equal_rows(self) -> EqualRows | None:
        """Returns the rows to fit with equal features collapsed; None where that does not pay."""
        if self.survey is None or self.design.imputes:
            return None
        learnt, design = self.survey.learnt, self.design
        unseen: Unseen = "error" if design.missing == "error" else "missing"
        features = self.rows(self.table, learnt, [], 0, unseen, drop_first=False)
        others = self.rows(self.table, replace(learnt, features=[]), design.others, len(design.targets), unseen)
        return collapsed(features, others, self._memory_limit)

    def collapse(self, is_wanted: bool) -> None:
        """Takes distinct rows alone where that pays, and no row lacks a value that must not."""
        rows, self.collapsed = self.equal_rows if is_wanted else vars(self).get("equal_rows"), None
        if is_wanted and rows is not None and (self.design.missing == "drop" or not rows.lacks_values):
            self.collapsed = rows
        elif rows is not None:
            rows.forget()

    @property
    def feature_encoding(self) -> Encoding:
        """Returns the encoding of the features alone."""
        return self.rows(self.table, self._columns, [], 0).encoding

    @cached_property
    def _columns(self) -> Learnt:
        """Returns features, categories and formats; without categories that only incomplete rows have."""
        if self.survey is None:
            return self.design.learnt
        learnt, design = self.survey.learnt, self.design
        # Dropping rows can only take away categories: other tables are read without counting first.
        if design.missing == "error" or (design.missing is None and not learnt.categories):
            return learnt
        others = [name for name in design.others if name in self.table.schema.names]
        rows = self.rows(self.table, learnt, others, len(others), drop_first=False)
        self.gaps = rows.gaps() if self.equal_rows is None else self.equal_rows.gaps()
        if (design.missing is None and not self.drops(self.gaps)) or not self.gaps.known.any():
            return learnt  # missing values are refused where they are read, or there, that no row is left
        names = np.array(rows.encoding.feature_names)
        used, known = set(names[self.gaps.used]), set(np.array(rows.encoding.sources)[: len(names)][self.gaps.known])
        categories = {
            name: [value for value in values if f"{name}={value}" in used]
            for name, values in (learnt.categories or {}).items()
        }
        features = [name for name in learnt.features or [] if name in known and categories.get(name, [""])]
        for name in [each for each in learnt.features or [] if each not in features]:
            self.surveyed.leave_out(name, "has no value in the rows that are left")
        return replace(
            learnt,
            features=features,
            categories={name: values for name, values in categories.items() if values},
            rest=[name for name in learnt.rest or [] if categories[name][-1:] == [REST]],
            indicators=[name for name in features if name in self.gaps.counts] if design.missing == "indicator" else [],
        )

    @cached_property
    def _with_means(self) -> Learnt:
        """Returns the same with the means of the columns of x."""
        learnt = self._columns
        if learnt.means is not None:
            return learnt
        rows = self.rows(self.table, learnt, self.design.others, len(self.design.targets), "missing")
        return replace(learnt, means=learn_means(rows).tolist())

    def _encoding(self, others: Sequence[str]) -> Encoding:
        return Encoding(self._columns, others, self.design.drop_first, self.design.missing_values)

    def rows(
        self,
        table: Table,
        learnt: Learnt,
        others: Sequence[str],
        num_targets: int,
        unseen: Unseen = "missing",
        drop_first: bool | None = None,
    ) -> EncodedRows:
        """Returns a table's rows as numbers: the features, and others of which the last may be the weight.

        Raises:
            InputError: two columns of x would have the same name.
        """
        design = self.design
        drop_first = design.drop_first if drop_first is None else drop_first
        notations, needs_rest = self._notations.get(table), design.unseen == "other"
        readings = {} if notations is None else notations.readings
        encoding = Encoding(
            learnt, others, drop_first, design.missing_values, unseen, needs_rest, readings, design.imputes
        )
        if doubled := repeated(encoding.feature_names):
            raise InputError(
                f"{design.source.name}: {quoted(doubled)} is both a column and a category of another column; rename one"
            )
        widths = (len(encoding.feature_names), num_targets, *[1] * (len(others) - num_targets))
        means = None if learnt.means is None else np.array(learnt.means)
        return EncodedRows(table, encoding, self.split, widths, design.missing, means)
