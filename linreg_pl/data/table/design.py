"""The columns that become x, y and weights, and how they are encoded.

A checkpoint stores the design, so that the rows of any table, to validate, test or predict, are encoded alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from linreg_pl.data.table.encoding import is_text, require_columns, require_kinds
from linreg_pl.data.table.sources import Source
from linreg_pl.errors import InputError, shortened

Missing = Literal["error", "drop", "mean"]


@dataclass(frozen=True)
class Learnt:
    """What a fit has learnt of the columns; None where it is not known yet.

    Args:
        features: Names of the columns to predict from.
        categories: Categories of each text column, sorted.
        means: Mean of each feature, to impute missing values.
    """

    features: list[str] | None = None
    categories: dict[str, list[str]] | None = None
    means: list[float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what is known, as plain types for a checkpoint."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True, eq=False)
class Design:
    """The user's choice of columns, together with what a checkpoint has learnt of them.

    Args:
        source: The table with the rows to fit.
        chosen: Names of the features. None stands for the checkpoint's features, or without a checkpoint for all
            columns except targets, weight and pandas' index.
        targets: Names of the targets.
        weight: Name of the weight column, if there is one.
        missing: What to do with rows that lack a value.
        drop_first: Leave out the first category of each text column.
        max_categories: Most categories that a text column may have.
        learnt: What the checkpoint has learnt.
    """

    source: Source
    chosen: Sequence[str] | None
    targets: list[str]
    weight: list[str]
    missing: Missing
    drop_first: bool
    max_categories: int
    learnt: Learnt = Learnt()

    @property
    def others(self) -> list[str]:
        """Returns the names of the columns beside the features."""
        return [*self.targets, *self.weight]

    @cached_property
    def features(self) -> list[str]:
        """Returns the names of the columns to predict from.

        Raises:
            InputError: no checkpoint has named them, and a column does not exist, is a target, or can't be encoded.
        """
        if self.learnt.features is not None:
            return self.learnt.features
        name, columns = self.source.name, self.source.columns
        if self.chosen is None:
            self.source.require_same_columns()
        excluded = {*self.others, *self.source.index}
        features = [each for each in columns if each not in excluded] if self.chosen is None else list(self.chosen)
        require_columns(name, columns, features, "--data.features")
        both = [each for each in features if each in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a feature and a target: take it out of --data.features")
        require_kinds(name, self.source.schema(features))
        return features

    @cached_property
    def text(self) -> list[str]:
        """Returns the names of the features that are one-hot encoded."""
        if self.learnt.categories is not None:
            return [name for name in self.features if name in self.learnt.categories]
        return [field.name for field in self.source.schema(self.features) if is_text(field.type)]

    def require_others(self) -> None:
        """Checks that the rows to fit have the targets and the weight.

        Raises:
            InputError: a column does not exist, or is both a target and the weight.
        """
        require_columns(self.source.name, self.source.columns, self.targets, "--data.target")
        both = [name for name in self.weight if name in self.targets]
        if both:
            raise InputError(f"{both[0]!r} is both a target and the weight: give --data.weight another column")
        if self.weight:
            require_columns(self.source.name, self.source.columns, self.weight, "--data.weight")

    def schema(self, source: Source, others: Sequence[str], flag: str) -> pa.Schema:
        """Returns the types of the features and of some other columns in a source, which `flag` names.

        Raises:
            InputError: a column does not exist, or is of another kind than in the rows to fit.
        """
        columns = list(dict.fromkeys([*self.features, *others]))  # the weight may be a feature, too
        require_columns(source.name, source.columns, columns, flag)
        schema = source.schema(columns, text=self.text)
        require_kinds(source.name, schema)
        for name in self.text:
            kind = schema.field(name).type
            if not (is_text(kind) or pa.types.is_null(kind)):
                raise InputError(
                    f"{source.name}: column {shortened(name)} contains {kind}, but text in the rows that were fitted;"
                    " write it as text"
                )
        return schema

    def with_checkpoint(self, state: dict[str, Any]) -> "Design":
        """Returns the design with what the checkpoint has learnt; features that the user chose take precedence."""
        features = list(self.chosen or state.get("features") or self.features)
        return replace(self, learnt=Learnt(features, state.get("categories"), state.get("means")))
