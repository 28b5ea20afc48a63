"""Names what a column of texts can be, and the user's choices that decide it.

Reasons and remarks go on after the column's name: "differs in 120 of 120 rows".
"""

from dataclasses import dataclass
from typing import Any

from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.number_text import NumberFormat


@dataclass(frozen=True)
class TextRules:
    """The user's choices that concern one column of texts.

    Args:
        categorical: One-hot encode it, whatever it contains.
        numbers: Read it as numbers; ignore a unit or currency that is the same in every row; (1.2) is -1.2.
        decimal: The decimal separator; None detects it.
        day_first: Whether 1/2/2024 is in February; None detects it.
        missing_values: Further texts that are missing values in any column. In columns of numbers and dates, pandas'
            texts such as NA and marks without letters and digits such as - are missing values too.
        max_categories: The number of categories that a column may have.
        rare_as_other: Keep the most frequent `max_categories` - 1 categories; the rest is one category.
        wanted: The user has named the column: it is not left out for differing in nearly every row.
        categories_allowed: Whether categories can be used; False for targets and the weight.
    """

    categorical: bool = False
    numbers: bool = False
    decimal: str | None = None
    day_first: bool | None = None
    missing_values: frozenset[str] = frozenset()
    max_categories: int = 100
    rare_as_other: bool = False
    wanted: bool = False
    categories_allowed: bool = True


@dataclass(frozen=True)
class Remedy:
    """A flag that settles a doubt, and its value; None for flags that name the column."""

    flag: str
    value: Any = None


@dataclass(frozen=True)
class Numbers:
    """A column of numbers in one notation.

    Attributes:
        format: The notation.
        remark: What the user should know.
        mostly_shown: Whether at least half of the numbers show that they are not in the notation of Python.
    """

    format: NumberFormat
    remark: str | None = None
    mostly_shown: bool = False


@dataclass(frozen=True)
class Dates:
    """A column of dates or of clock times."""

    format: DateFormat
    remark: str | None = None


@dataclass(frozen=True)
class Categories:
    """A column of categories.

    Attributes:
        categories: The texts, sorted, verbatim.
        has_other: Whether further texts are one more category.
        remark: What the user should know.
    """

    categories: list[str]
    has_other: bool = False
    remark: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """A column that is of no use."""

    reason: str


@dataclass(frozen=True)
class Doubt:
    """A column that the user must decide on.

    Attributes:
        reason: Why.
        row: The row that shows it, counted from 0.
        value: The text in this row.
        remedies: Flags, each enough to settle it; what most people want comes first.
    """

    reason: str
    row: int | None
    value: str | None
    remedies: list[Remedy]


Verdict = Numbers | Dates | Categories | LeftOut | Doubt
