"""Which columns become x, y and weights, and what is learnt of them from the rows to fit: their categories and means?

Rows of whatever table, to validate, to test or to predict, become numbers in the same way; a checkpoint holds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from linreg_pl.data.table import encoded_rows as chunks
from linreg_pl.data.table.csv import no_rows
from linreg_pl.data.table.encoded_rows import Chunks, Missing
from linreg_pl.data.table.encoding import Encoding, is_text, require_columns, require_kinds
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.sources import Source
from linreg_pl.data.table.split import Split
from linreg_pl.errors import InputError, quoted, shortened


@dataclass(eq=False)
class Design:
    """The columns of the rows to fit, and of all tables that are to be like them.

    Args:
        source: Of the rows to fit.
        opened: Opens a table of some columns of a source.
        given: Names of the features; None for those that a checkpoint was fitted with, without one for all other
            columns.
        targets: Names of the targets.
        weight: Name of the column of weights, if there is one.
        split: Which rows are those to fit.
        missing: See `Chunks`.
        drop_first: Whether each text's first category has no column.
        max_categories: Most that a text may have.
        learnt: Categories and means, once they are known.
    """

    source: Source
    opened: Callable[[Source, pa.Schema], Table]
    given: Sequence[str] | None
    targets: list[str]
    weight: list[str]
    split: Split
    missing: Missing
    drop_first: bool
    max_categories: int
    learnt: dict[str, Any] = field(default_factory=dict)

    # ---- columns and their kinds ----

    @property
    def others(self) -> list[str]:
        """The columns beside the features."""
        return [*self.targets, *self.weight]

    @cached_property
    def features(self) -> list[str]:
        """The columns to predict from, unless a checkpoint has said which they are."""
        name, columns = self.source.name, self.source.columns
        if self.given is None:
            self.source.require_same_columns()
        without = {*self.others, *self.source.index}
        chosen = [each for each in columns if each not in without] if self.given is None else list(self.given)
        require_columns(name, columns, chosen, "--data.features")
        both = [each for each in chosen if each in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        require_kinds(name, self.source.schema(chosen))
        return chosen

    @cached_property
    def text(self) -> list[str]:
        """The features that have categories."""
        if "categories" in self.learnt:
            return [name for name in self.features if name in self.learnt["categories"]]
        return [field.name for field in self.source.schema(self.features) if is_text(field.type)]

    @property
    def feature_names(self) -> list[str]:
        """Of the columns of x: `column=value` for a category, which a pass over the rows to fit may have to find."""
        return self._encoding([]).feature_names if self.text else self.features

    def require_others(self) -> None:
        """Checks that the rows to fit have targets and weights.

        Raises:
            InputError: they have not.
        """
        require_columns(self.source.name, self.source.columns, self.targets, "--data.target")
        both = [name for name in self.weight if name in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a target and the weight: give --data.weight another column")
        if self.weight:
            require_columns(self.source.name, self.source.columns, self.weight, "--data.weight")

    def schema(self, source: Source, others: Sequence[str], flag: str) -> pa.Schema:
        """Types of the features and some other columns in a source.

        Raises:
            InputError: a column is not there, or of another kind than in the rows to fit; `flag` names the source.
        """
        columns = list(dict.fromkeys([*self.features, *others]))  # the weight may be a feature, too
        require_columns(source.name, source.columns, columns, flag)
        schema = source.schema(columns, text=self.text)
        require_kinds(source.name, schema)
        for name in self.text:
            kind = schema.field(name).type
            if not (is_text(kind) or pa.types.is_null(kind)):
                raise InputError(
                    f"{source.name}: column {shortened(name)} holds {kind}, but text in the rows that were fitted;"
                    " write it as text"
                )
        return schema

    def table(self, source: Source, others: Sequence[str], flag: str) -> Table:
        """A source's rows of these columns.

        Raises:
            InputError: there are none, or see `schema`.
        """
        table = self.opened(source, self.schema(source, others, flag))
        if table.num_rows == 0:
            raise InputError(no_rows(table.name))
        for column in table.schema:
            if is_text(column.type) and (column.name in others or column.name not in self.text):
                chunks.refuse_text(table, column.name)
        return table

    @cached_property
    def fitted(self) -> Table:
        """That of the rows to fit, with the targets and weights that it has."""
        return self.table(self.source, [name for name in self.others if name in self.source.columns], "--data.path")

    # ---- categories and means ----

    def chunks(self, table: Table, predicts: bool = False) -> Chunks:
        """A table's rows as numbers; to predict, of the features alone."""
        reader = self._unfilled(table, [] if predicts else self.targets, [] if predicts else self.weight)
        if self.missing != "mean":
            return reader
        if "means" not in self.learnt:
            self.learnt["means"] = chunks.means(self._unfilled(self.fitted, self.targets, self.weight)).tolist()
        return replace(reader, means=np.array(self.learnt["means"]))

    def _unfilled(self, table: Table, targets: list[str], weight: list[str]) -> Chunks:
        encoding = self._encoding([*targets, *weight])
        widths = (len(encoding.feature_names), len(targets), *[1 for _ in weight])
        return Chunks(table, encoding, self.split, widths, self.missing)

    def _encoding(self, others: list[str]) -> Encoding:
        if "categories" not in self.learnt:
            found = chunks.categories(self.fitted, self.text, self.split, self.max_categories)
            self.learnt["categories"] = found
        encoding = Encoding(self.features, others, self.learnt["categories"], self.drop_first)
        names = encoding.feature_names
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise InputError(
                f"{self.source.name}: {quoted(doubled)} stands more than once, as column and as category; rename one"
            )
        return encoding

    # ---- in a checkpoint ----

    def state(self) -> dict[str, Any]:
        """The features, and what was learnt of them."""
        return {"features": self.features, **self.learnt}

    def adopt(self, state: dict[str, Any]) -> bool:
        """Takes over a checkpoint's features, unless others are given, and what it has learnt; says if that is new."""
        learnt = {name: value for name, value in state.items() if name != "features"}
        features = list(self.given or state.get("features") or self.features)
        if self.__dict__.get("features") == features and learnt.items() <= self.learnt.items():
            return False
        for name in ("text", "fitted"):
            self.__dict__.pop(name, None)
        self.features, self.learnt = features, learnt
        return True
