"""Holds what a fit has learnt of a table's columns: a checkpoint stores it, so that other rows are encoded alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.number_text import NumberFormat

Format = NumberFormat | DateFormat
"""The notation of a column's texts."""


REST = "other"
"""The category of all rare texts."""


@dataclass(frozen=True)
class Learnt:
    """What a fit has learnt of the columns; None where it is not known yet.

    Args:
        features: Names of the columns to predict from.
        categories: Categories of each column that is one-hot encoded, sorted; the rest, if there is one, comes last.
        formats: Notation of the numbers or dates in each text column that has one of its own.
        rest: Names of the columns whose last category stands for all rare ones.
        means: Mean of each column of x, to impute missing values.
        indicators: Names of the features that get a column of 0 and 1, which is 1 where their value is missing.
        truths: Names of the columns of truth values.
    """

    features: list[str] | None = None
    categories: dict[str, list[str]] | None = None
    formats: dict[str, Format] | None = None
    rest: list[str] | None = None
    means: list[float] | None = None
    indicators: list[str] | None = None
    truths: list[str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns what is known, as plain types for a checkpoint; empty formats and lists are left out."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        known |= {name: None for name in ("formats", "rest", "indicators", "truths") if not known.get(name)}
        if self.formats:
            known["formats"] = {name: _plain(format) for name, format in self.formats.items()}
        return {name: value for name, value in known.items() if value is not None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "Learnt":
        """Returns what a checkpoint has stored."""
        if not state:
            return cls()
        formats = {name: _format(stored) for name, stored in state.get("formats", {}).items()}
        return cls(
            state.get("features"),
            state.get("categories"),
            formats,
            state.get("rest", []),
            state.get("means"),
            state.get("indicators", []),
            state.get("truths", []),
        )


def _plain(format: Format) -> dict[str, Any]:
    return {"kind": "numbers" if isinstance(format, NumberFormat) else "dates", **format.to_dict()}


def _format(stored: Mapping[str, Any]) -> Format:
    settings = {name: value for name, value in stored.items() if name != "kind"}
    return NumberFormat.from_dict(settings) if stored["kind"] == "numbers" else DateFormat.from_dict(settings)
