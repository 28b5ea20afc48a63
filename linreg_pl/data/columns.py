"""Holds what is needed to read further rows in the way that a fit has read its own: names, settings, categories."""

from dataclasses import dataclass, field
from typing import Any


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
