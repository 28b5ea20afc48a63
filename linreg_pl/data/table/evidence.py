"""Holds what the rows of a column of texts have shown, and the remedies that fit any doubt."""

from collections.abc import Iterable
from dataclasses import dataclass

from linreg_pl.data.table.number_text import NumberShape, is_symbol
from linreg_pl.data.table.text_counts import Tally
from linreg_pl.data.table.verdicts import Doubt, Remedy, TextRules


@dataclass(frozen=True)
class Evidence:
    """The kinds of text in a column.

    Attributes:
        rules: The user's choices.
        numbers: Tallies by the shape of the number.
        dates: Tallies by `DateKind`; those that are no date in any order are among `others`.
        others: Texts that are neither numbers nor dates.
        marks: Texts that are missing values in a column of numbers.
        num_distinct: The number of distinct texts, marks included.
        recurs: Whether most texts occur more than once; if not, most rows would have a category of their own.
    """

    rules: TextRules
    numbers: dict[NumberShape, Tally]
    dates: dict["DateKind", Tally]
    others: Tally
    marks: Tally
    num_distinct: int
    recurs: bool

    @property
    def missing(self) -> tuple[str, ...]:
        """Returns the user's texts for missing values, sorted."""
        return tuple(sorted(self.rules.missing_values))

    def doubt(self, reason: str, shown: Tally, *remedies: Remedy) -> Doubt:
        """Returns a doubt that `shown` shows, with `remedies` and those that always help."""
        general = [*self.categorical, *self.exclude] if self.recurs else [*self.exclude, *self.categorical]
        more = [remedy for remedy in general if remedy.flag not in {known.flag for known in remedies}]
        return Doubt(reason, shown.first_row, shown.text, [*remedies, *more])

    @property
    def exclude(self) -> list[Remedy]:
        """Returns the remedy of leaving the column out, where it is a feature."""
        return [Remedy("exclude")] if self.rules.categories_allowed else []

    @property
    def categorical(self) -> list[Remedy]:
        """Returns the remedy of categories, where a column can have them."""
        allowed = self.rules.categories_allowed and self.num_distinct <= self.rules.max_categories
        return [Remedy("categorical")] if allowed else []

    def odd_values(self, kind: str, main: Iterable[Tally], odd: Iterable[Tally], settled: bool = True) -> Doubt:
        """Returns the doubt about a column of one kind (such as "numbers") with `odd` texts among them.

        Args:
            kind: The kind, in the plural.
            main: The texts of this kind.
            odd: The other texts.
            settled: Whether nothing else about the column is in doubt.
        """
        rows, few = merged(main).rows, merged(odd)
        reason = f"{rows} of {rows + few.rows} values are {kind}, but this one is not"
        texts = few.texts
        missing = [Remedy("missing_values", sorted(texts))] if texts and len(texts) <= 8 and settled else []
        # A value is 1.25 among percentages, and none is Excel's #DIV/0!.
        holds_value = any(letter.isdigit() for text in texts or () for letter in text.replace("#DIV/0!", ""))
        if not holds_value and (few.rows <= 0.1 * (rows + few.rows) or self.num_distinct > 20):
            return self.doubt(reason, few, *missing)
        first = self.categorical if self.recurs else self.exclude
        return self.doubt(reason, few, *first, *missing)  # so many are hardly mistakes

    def mark_remark(self) -> list[str]:
        """Returns what to say about texts that are taken for missing values."""
        if not self.marks.rows:
            return []
        names = sorted(self.marks.texts or {self.marks.text})
        shown = ", ".join(map(repr, names[:4])) + (" …" if len(names) > 4 or self.marks.texts is None else "")
        return [f"has {shown} in {_rows(self.marks.rows)}, read as missing"]


@dataclass(frozen=True)
class DateKind:
    """A kind of date or clock time.

    Attributes:
        kind: "date", "month", "numeric" or "clock".
        zoned: Whether it has a zone; None without a time.
        orders: The orders that allow a numeric date.
        dotted: Whether points separate a numeric date.
        slashed: Whether slashes do.
        short_year: Whether its year has two digits.
    """

    kind: str
    zoned: bool | None = None
    orders: frozenset[str] = frozenset()
    dotted: bool = False
    slashed: bool = False
    short_year: bool = False


def has_unit(shape: NumberShape) -> bool:
    """Says whether a number has a prefix or suffix that is neither a currency symbol nor a percent sign."""
    return any(part and not is_symbol(part) for part in (shape.prefix, shape.suffix))


def merged(tallies: Iterable[Tally]) -> Tally:
    """Returns the sum of tallies."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
