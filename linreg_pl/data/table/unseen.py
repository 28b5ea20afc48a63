"""Holds values that the fit has not prepared for: categories that no fitted row has, and texts that are no number."""

from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from linreg_pl.errors import shortened

Unseen = Literal["error", "drop", "missing", "empty"]
"""How to treat a category that no fitted row has, or a text that is no number."""


class Met(NamedTuple):
    """The unseen values of a column in a batch: its texts (n,), and which rows have them (n,)."""

    column: str
    texts: pa.Array
    mask: np.ndarray


class UnseenValues(dict[str, tuple[int, str, str]]):
    """How many values of each column the fit has not prepared for, the first of them, and what is wrong with it."""

    def add(self, column: str, count: int, text: str, what: str) -> None:
        """Counts values of a column."""
        known, text, what = self.get(column, (0, text, what))
        self[column] = (known + count, text, what)

    def remarks(self, consequence: str) -> list[str]:
        """Returns a line for each column."""
        lines = []
        for column, (count, text, what) in self.items():
            rows = "1 row" if count == 1 else f"{count} rows"
            lines.append(f"column {shortened(column)} in {rows}: {shortened(text)} {what}; {consequence}")
        return lines


class UnseenText(Exception):  # noqa: N818 (caught where the file is known, and raised again as an InputError)
    """Raised for a text in `row` of a batch that the fit has not prepared for."""

    def __init__(
        self,
        column: str,
        row: int,
        message: str,
        remedy: str = "correct it, leave such rows out, or give --data.unseen missing",
    ) -> None:
        super().__init__(column, row, message)
        self.column, self.row, self.message, self.remedy = column, row, message, remedy
