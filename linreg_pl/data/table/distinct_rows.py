"""Numbers the distinct rows of some columns, so that equal rows get the same number.

The values of each column are numbered first. These numbers are the digits of a row's place in a table, which has the
row's number: one lookup for a row, and no hash. Where the values could make too many rows for one table, the table is
of the first columns. Each further column then has a table for the number of the row so far and the next value.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.distinct_values import DistinctValues

MOST_ROWS = 2**20
"""Of more distinct rows, the numbers no longer fit the processor's cache."""


class TooVariedError(Exception):
    """Raised where there are too many distinct rows."""


class DistinctRows:
    """The distinct rows of some columns, in the order of their numbers: that in which they were first met.

    Args:
        types: Types of the columns.
    """

    most_entries = 2**24
    """Size limit of all tables: 128 MB."""
    most_at_once = 2**20
    """Size limit of the table of several columns: a larger one no longer fits the processor's cache."""

    def __init__(self, types: Sequence[pa.DataType]) -> None:
        self._values = [DistinctValues(kind) for kind in types]
        self._codes = np.zeros((len(types), 0), np.int32)  # of the values in each distinct row
        self._sizes = [0] * len(types)  # bases of the digits
        self._levels: list[range] = []  # columns of each table
        self._tables: list[np.ndarray] = []
        self._counts: list[int] = []  # of the rows that each table numbers

    def __len__(self) -> int:
        return self._codes.shape[1]

    def numbers(self, columns: Sequence[pa.Array]) -> np.ndarray:
        """Returns the number of each row of some columns, (n,), from 0 on.

        Raises:
            TooVariedError: there are too many distinct rows.
            pa.ArrowNotImplementedError: a type is not supported.
        """
        codes = [values.numbers(column) for values, column in zip(self._values, columns, strict=True)]
        if not self._levels or any(len(values) > size for values, size in zip(self._values, self._sizes, strict=True)):
            self._set_sizes()
        numbers, first = self._looked_up(codes)
        if len(first):
            self._codes = np.hstack([self._codes, np.array([each[first] for each in codes], np.int32)])
        return numbers

    def _set_sizes(self) -> None:
        """Makes room for the values of all columns, and numbers the known rows anew: they keep their numbers."""
        for column, values in enumerate(self._values):
            if len(values) > self._sizes[column]:
                self._sizes[column] = len(values) * (2 if self._sizes[column] else 1)
        at_once = max(1, int((np.cumprod(self._sizes, dtype=np.float64) <= self.most_at_once).sum()))
        self._levels = [range(at_once), *(range(column, column + 1) for column in range(at_once, len(self._sizes)))]
        self._tables, self._counts = [np.zeros(0, np.intp) for _ in self._levels], [0] * len(self._levels)
        self._looked_up(list(self._codes))

    def _looked_up(self, codes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Returns the numbers of rows by the numbers of their values, (n,), and which are the first of new ones."""
        numbers = np.zeros(len(codes[0]), np.intp)
        for level, columns in enumerate(self._levels):
            places, first = numbers, np.zeros(0, np.intp)
            for column in columns:
                places *= self._sizes[column]
                places += codes[column]
            table, count = self._with_room(level, int(places.max(initial=-1)) + 1), self._counts[level]
            numbers = table.take(places)
            if numbers.min(initial=0) < 0:
                new = np.flatnonzero(numbers < 0)
                first = new[np.sort(np.unique(places[new], return_index=True)[1])]
                self._counts[level] += len(first)
                if self._counts[level] > MOST_ROWS:
                    raise TooVariedError
                table[places[first]] = np.arange(count, self._counts[level])
                numbers = table.take(places)
        return numbers, first

    def _with_room(self, level: int, length: int) -> np.ndarray:
        """Returns the table of some columns with at least so many entries."""
        table = self._tables[level]
        added = max(length, 2 * len(table)) - len(table)
        if length > len(table):
            if sum(map(len, self._tables)) + added > self.most_entries:
                raise TooVariedError
            table = self._tables[level] = np.pad(table, (0, added), constant_values=-1)
        return table

    @property
    def most_combinations(self) -> float:
        """Returns how many distinct rows the values of the columns could make."""
        return float(np.prod([float(len(values)) for values in self._values]))

    def rows(self, numbers: np.ndarray, names: Sequence[str]) -> pa.RecordBatch:
        """Returns distinct rows by their numbers, as columns of these names."""
        codes = self._codes[:, numbers]
        columns = [values.take(of_rows) for values, of_rows in zip(self._values, codes, strict=True)]
        return pa.RecordBatch.from_arrays(columns, list(names))
