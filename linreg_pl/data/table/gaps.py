"""Counts missing values, and finds the categories that only rows with missing values have."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from linreg_pl.core.world import ALONE, World
from linreg_pl.data.table.complaints import Complaint, refusal
from linreg_pl.errors import InputError, shortened


@dataclass(frozen=True)
class Gaps:
    """The missing values in the rows to fit.

    Args:
        num_rows: Number of rows to fit.
        num_incomplete: Number of those that lack a value, of any column.
        counts: Number of rows that lack a value of a column, for each column that has such rows.
        first_rows: The first of these rows, from 0.
        known: Which columns of x have a value in some row that is kept: (D,).
        used: Which of them are not 0 in all of these rows: (D,).
    """

    num_rows: int
    num_incomplete: int
    counts: dict[str, int]
    first_rows: dict[str, int]
    known: np.ndarray
    used: np.ndarray

    @property
    def leaves_most_rows(self) -> bool:
        """Returns whether dropping incomplete rows keeps half of them or more, and more than there are features."""
        num_complete = self.num_rows - self.num_incomplete
        return 2 * num_complete >= self.num_rows and num_complete > len(self.used)

    def in_words(self, noun: str = "rows", named: int = 6) -> str:
        """Returns how many rows lack a value, and the columns that lack most."""
        most = sorted(self.counts, key=lambda name: (-self.counts[name], name))
        listed = [f"{shortened(name)} in {self.counts[name]}" for name in most[:named]]
        more = f" and {len(most) - named} more columns" if len(most) > named else ""
        return f"{self.num_incomplete} of {self.num_rows} {noun}: {', '.join(listed)}{more}"

    def complaint(self, place_of: Callable[[int], tuple[str, int]]) -> Complaint:
        """Returns the complaint about missing values: to drop rows, or to impute if few of them are complete.

        Args:
            place_of: Gives the file of a row, and its number there.
        """
        column = min(self.first_rows, key=lambda name: (self.counts[name] < self.num_rows, self.first_rows[name]))
        file, row = place_of(self.first_rows[column])
        if self.counts[column] == self.num_rows > 1:
            reason = f"no row of {self.num_rows} has a value: leave it out, or predict another column"
            return Complaint(column, f"{file}: column {shortened(column)}", reason, [])
        place = f"{file}: column {shortened(column)}, row {row}"
        flags: list[tuple[str, Any]] = [("missing", "drop"), ("missing", "mean")]
        reason, num_complete = f"a value is missing, as in {self.in_words()}", self.num_rows - self.num_incomplete
        if not self.leaves_most_rows:
            flags.reverse()
            are_few = 2 * num_complete < self.num_rows
            most = "less than half" if are_few else f"no more than the number of features, {len(self.used)}"
            reason += f"; {num_complete} are complete, {most}"
        return Complaint(column, place, reason, flags)


class MissingValues(InputError):  # noqa: N818 (what was found)
    """Raised where rows lack values, and are neither dropped nor imputed.

    Args:
        message: The error that says so.
        flags: As in `InputError`.
        gaps: What the rows lack; None where several processes have yet to count it together.
    """

    def __init__(self, message: str, flags: Mapping[str, Any] | None = None, gaps: Gaps | None = None) -> None:
        super().__init__(message, flags)
        self.gaps = gaps


def refused(gaps: Gaps, place_of: Callable[[int], tuple[str, int]]) -> MissingValues:
    """Returns the error that rows lack values; the arguments are those of `Gaps.complaint`."""
    error = refusal([gaps.complaint(place_of)])
    return MissingValues(str(error), error.flags, gaps)


class Counted(NamedTuple):
    """What consecutive rows lack; the arrays have an entry for each column of the rows."""

    num_rows: int
    num_incomplete: int
    counts: np.ndarray
    first_rows: np.ndarray  # -1 where no row lacks a value
    known: np.ndarray
    used: np.ndarray

    @classmethod
    def nothing(cls, num_others: int) -> "Counted":
        """Returns the counts of no rows, of targets and weight alone."""
        none = np.zeros(0, bool)
        return cls(0, 0, np.zeros(num_others, np.int64), np.full(num_others, -1), none, none)

    @classmethod
    def of(cls, numbers: np.ndarray, missing: np.ndarray) -> "Counted":
        """Returns the counts of rows with these numbers in the table, by which of their values are missing."""
        first_rows = np.where(missing.any(axis=0), numbers[missing.argmax(axis=0)], -1)
        num_incomplete, none = int(missing.any(axis=1).sum()), np.zeros(0, bool)
        return cls(len(numbers), num_incomplete, missing.sum(axis=0), first_rows, none, none)

    def followed_by(self, other: "Counted") -> "Counted":
        """Adds what the rows behind these lack."""
        return Counted(
            self.num_rows + other.num_rows,
            self.num_incomplete + other.num_incomplete,
            self.counts + other.counts,
            np.where(self.first_rows < 0, other.first_rows, self.first_rows),
            self.known | other.known,
            self.used | other.used,
        )


def count_gaps(
    numbered: Iterable[tuple[np.ndarray, np.ndarray]],
    columns: Sequence[str],
    num_features: int,
    imputes: bool,
    world: World = ALONE,
) -> Gaps:
    """Counts the missing values of rows.

    Args:
        numbered: Numbers of rows in the table, and the rows (n, number of columns), NaN where a value is missing.
        columns: The table's column that each column of the rows comes from.
        num_features: D, the number of columns of x.
        imputes: Keep rows that lack a feature; rows without target or weight are dropped anyway.
        world: The processes that read the rows, each its part.
    """
    num_rows, num_incomplete = 0, 0
    counts, first_rows = np.zeros(len(columns), np.int64), np.full(len(columns), -1)
    known, used = np.zeros(num_features, bool), np.zeros(num_features, bool)
    for numbers, values in numbered:
        missing = np.isnan(values)
        incomplete = missing.any(axis=1)
        num_rows, num_incomplete = num_rows + len(values), num_incomplete + int(incomplete.sum())
        x = values[~(missing[:, num_features:].any(axis=1) if imputes else incomplete), :num_features]
        known |= (~np.isnan(x)).any(axis=0)
        used |= (np.nan_to_num(x) != 0).any(axis=0)
        fresh = missing.any(axis=0) & (first_rows < 0)
        if fresh.any():
            first_rows[fresh] = numbers[missing[:, fresh].argmax(axis=0)]
        counts += missing.sum(axis=0)
    return gaps_of(Counted(num_rows, num_incomplete, counts, first_rows, known, used), columns, world)


def gaps_of(counted: Counted, columns: Sequence[str], world: World) -> Gaps:
    """Returns what the rows of all processes lack.

    Args:
        counted: What this process's rows lack.
        columns: The table's column that each column of the rows comes from.
        world: The processes.
    """
    num_rows, num_incomplete, counts, first_rows, known, used = world.reduced(counted, Counted.followed_by)
    kept = {name: index for index, name in reversed(list(enumerate(columns))) if counts[index]}
    names = sorted(kept, key=lambda name: kept[name])
    return Gaps(
        num_rows,
        num_incomplete,
        {name: int(counts[kept[name]]) for name in names},
        {name: int(first_rows[kept[name]]) for name in names},
        known,
        used,
    )
