"""Holds what is needed to read further rows in the way that a fit has read its own: names, settings, categories."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

Column = Annotated[str, "the name of a column"]
"""The type of an argument whose flag takes any text for a name."""


def name_of_intercept(feature_names: Sequence[str]) -> str:
    """Returns the name of the intercept in tables: `intercept`, or `(intercept)` if a feature has that name."""
    return "(intercept)" if "intercept" in feature_names else "intercept"


@dataclass(frozen=True)
class Columns:
    """The columns of a fit, as plain types; `read_rows` of `data.table.new_rows` reads rows with them.

    Args:
        feature_names: Names of the columns of x, (D,).
        target_names: Names of the columns of y, (K,).
        settings: Arguments of the table's data module; empty if the rows come from no table.
        learnt: What it has learnt of the columns; empty likewise.
    """

    feature_names: list[str]
    target_names: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    learnt: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_table(
        cls,
        feature_names: Sequence[str],
        target_names: Sequence[str],
        settings: Mapping[str, Any],
        learnt: Mapping[str, Any],
    ) -> Self:
        """Keeps the settings that say how columns are read, and leaves out those that say which rows."""
        of_rows = ("path", "val_path", "test_path", "val_fraction", "test_fraction", "batch_size", "shuffle", "seed")
        kept = {name: value for name, value in settings.items() if name not in of_rows}
        return cls(list(feature_names), list(target_names), kept, dict(learnt))

    @property
    def sources(self) -> list[str]:
        """Returns the table's column that each feature comes from, (D,): a text column has a feature a category."""
        categories, indicators = self.learnt.get("categories", {}), self.learnt.get("indicators", [])
        num_first, sources = int(self.settings.get("drop_first", False)), list[str]()
        for name in self.learnt.get("features", self.feature_names):
            num_values = len(categories[name]) - num_first if name in categories else 1
            sources += [name] * (num_values + int(name in indicators))
        return sources

    @classmethod
    def numbered(cls, num_features: int, num_targets: int) -> Self:
        """Names columns that have no names, as scikit-learn does: x0, x1, …, and y, or y0, y1, …."""
        targets = ["y"] if num_targets == 1 else [f"y{index}" for index in range(num_targets)]
        return cls([f"x{index}" for index in range(num_features)], targets)
