"""The user's choice of the columns that become x, y and weights, and what a checkpoint has learnt of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Literal

import pyarrow as pa

from linreg_pl.data.table.encoding import require_columns
from linreg_pl.data.table.learnt import Learnt
from linreg_pl.data.table.sources import Source
from linreg_pl.data.table.verdicts import TextRules
from linreg_pl.errors import InputError

Missing = Literal["error", "drop", "mean", "indicator"] | None


@dataclass(frozen=True, eq=False)
class Design:
    """The user's choice of columns, together with what a checkpoint has learnt of them.

    Args:
        source: The table with the rows to fit.
        chosen: Names of the features. None stands for the checkpoint's features, or without a checkpoint for all
            columns except targets, weight, pandas' index, and those that are left out.
        excluded: Names or patterns of columns that are no features.
        targets: Names of the targets.
        weight: Name of the weight column, if there is one.
        categorical: Names of the features to one-hot encode, whatever they contain.
        numbers: Names of the text columns to read as numbers.
        missing: What to do with rows that lack a value; None to drop them if most rows are complete.
        missing_values: Texts that stand for a missing value, beside those that are read as missing.
        decimal: Decimal mark of numbers in texts; None to detect it.
        day_first: Whether the day comes before the month in dates such as 01/02/2024; None to detect it.
        drop_first: Leave out the first category of each text column.
        max_categories: Most categories that a text column may have.
        rare: What to do with the rare ones of more categories.
        unseen: What to do with categories and texts that the fit has not seen; None: see `TableDataModule`.
        learnt: What the checkpoint has learnt.
        aside: Names of columns that are features only if the user chooses them.
    """

    source: Source
    chosen: Sequence[str] | None
    excluded: Sequence[str]
    targets: list[str]
    weight: list[str]
    categorical: Sequence[str]
    numbers: Sequence[str]
    missing: Missing
    missing_values: Sequence[str]
    decimal: str | None
    day_first: bool | None
    drop_first: bool
    max_categories: int
    rare: Literal["error", "other"]
    unseen: Literal["error", "missing", "other"] | None
    learnt: Learnt = field(default_factory=Learnt)
    aside: Sequence[str] = ()

    @property
    def imputes(self) -> bool:
        """Returns whether missing features are imputed."""
        return self.missing in ("mean", "indicator")

    @property
    def others(self) -> list[str]:
        """Returns the names of the columns beside the features."""
        return [*self.targets, *self.weight]

    def candidates(self) -> list[str]:
        """Returns the names of the columns to predict from, as far as their contents allow it.

        Raises:
            InputError: no checkpoint has named them, and a column does not exist or is a target.
        """
        if self.learnt.features is not None:
            return self.learnt.features
        name, columns = self.source.name, self.source.columns
        if self.chosen is None:
            self.source.require_same_columns()
        excluded = set(self._excluded())
        left_out = {*self.others, *self.source.index, *excluded, *self.aside}
        features = [each for each in columns if each not in left_out] if self.chosen is None else list(self.chosen)
        require_columns(name, columns, features, "--data.features")
        both = [each for each in features if each in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        if self.chosen is not None:
            features = [each for each in features if each not in excluded]
        for chosen, flag in ((self.categorical, "--data.categorical"), (self.numbers, "--data.numbers")):
            if chosen:
                require_columns(name, columns, chosen, flag)
        return features

    def _excluded(self) -> list[str]:
        """Returns the columns that the user excludes, by name or by a pattern such as 'note*'.

        Raises:
            InputError: nothing has the name or matches the pattern.
        """
        columns, excluded = self.source.columns, list[str]()
        for pattern in self.excluded:
            named = [pattern] if pattern in columns else [each for each in columns if fnmatchcase(each, pattern)]
            if not named:
                require_columns(self.source.name, columns, [pattern], "--data.exclude")
            excluded += named
        return excluded

    def require_others(self) -> None:
        """Checks that the rows to fit have the targets and the weight.

        Raises:
            InputError: a column does not exist, or is both a target and the weight.
        """
        if not self.targets:
            raise InputError(f"{self.source.name}: no column is named as the target; give --data.target at least one")
        require_columns(self.source.name, self.source.columns, self.targets, "--data.target")
        both = [name for name in self.weight if name in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a target and the weight: give --data.weight another column")
        if self.weight:
            require_columns(self.source.name, self.source.columns, self.weight, "--data.weight")

    def schema(self, source: Source, others: Sequence[str], flag: str) -> pa.Schema:
        """Returns the types of the features and of some other columns in a source, which `flag` names.

        Raises:
            InputError: a column does not exist.
        """
        columns = list(dict.fromkeys([*self.candidates(), *others]))  # the weight may be a feature, too
        require_columns(source.name, source.columns, columns, flag)
        schema = source.schema(columns, text=self.text)
        if self.decimal != ",":
            return schema
        # A reader of numbers would take 1.234 for 1.234, not 1234. Truth values have no such marks.
        numbers = {each.name for each in schema if not pa.types.is_boolean(each.type)}
        return source.schema(columns, text=self.text | numbers)

    @property
    def text(self) -> set[str]:
        """Returns the names of the columns that are known to be read as text."""
        return {*self.categorical, *self.numbers, *(self.learnt.categories or ()), *(self.learnt.formats or ())}

    def is_categorical(self, field: pa.Field) -> bool:
        """Says whether a column is one-hot encoded, whatever its texts are."""
        return field.name not in self.others and (
            field.name in self.categorical or (pa.types.is_dictionary(field.type) and field.name not in self.numbers)
        )

    def rules(self, field: pa.Field) -> TextRules:
        """Returns how to take a text column."""
        return TextRules(
            categorical=self.is_categorical(field),
            numbers=field.name in self.numbers,
            decimal=self.decimal,
            day_first=self.day_first,
            missing_values=frozenset(self.missing_values),
            max_categories=self.max_categories,
            rare_as_other=self.rare == "other",
            wanted=self.chosen is not None or field.name in self.categorical,
            categories_allowed=field.name not in self.others,
        )

    def with_checkpoint(self, state: dict[str, Any]) -> "Design":
        """Returns the design with what the checkpoint has learnt; features that the user chose take precedence."""
        learnt = Learnt.from_dict(state)
        return replace(self, learnt=replace(learnt, features=list(self.chosen)) if self.chosen else learnt)
