"""Numbers the distinct rows of some columns, so that equal rows get the same number.

The values of each column are numbered first. Then a table for each column maps the number of the row so far and that of
the next value to the number of the longer row: a lookup for each value, and no hash.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_labels, is_text

MOST_ROWS = 2**20
"""Of more distinct rows, the numbers no longer fit the processor's cache."""


class TooVariedError(Exception):
    """Raised where there are too many distinct rows."""


class DistinctRows:
    """The distinct rows of some columns, in the order of their numbers.

    Args:
        types: Types of the columns.
    """

    most_entries = 2**24
    """Size limit of all tables: 128 MB."""

    def __init__(self, types: Sequence[pa.DataType]) -> None:
        self._values = [pa.array([], pa.string() if is_text(kind) else kind) for kind in types]
        self._tables = [np.full((1, 2), -1) for _ in types]
        self._lasts = [
            np.zeros((2, 0), np.int32) for _ in types
        ]  # of each row: the row without its last value, that value

    def __len__(self) -> int:
        return self._lasts[-1].shape[1]

    def numbers(self, columns: Sequence[pa.Array]) -> np.ndarray:
        """Returns the number of each row of some columns, (n,), from 0 on.

        Raises:
            TooVariedError: there are too many distinct rows.
            pa.ArrowNotImplementedError: a type is not supported.
        """
        rows = np.zeros(len(columns[0]), np.intp)
        for level, column in enumerate(columns):
            rows = self._longer_rows(level, rows, self._codes(level, column))
        return rows

    def _codes(self, level: int, column: pa.Array) -> np.ndarray:
        """Returns the number of each value of a column, (n,)."""
        if pa.types.is_integer(column.type) and not column.null_count:
            of_integers = self._integer_codes(level, column)
            if of_integers is not None:
                return of_integers
        if is_text(column.type):
            column = as_labels(column, keeps_codes=True)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode(null_encoding="encode")
        values, indices = column.dictionary, column.indices
        if indices.null_count:
            indices = indices.cast(pa.int64()).fill_null(len(values))
            values = pa.concat_arrays([values, pa.nulls(1, values.type)])
        of_rows: np.ndarray = self._known(level, values).take(indices.to_numpy())
        return of_rows

    def _integer_codes(self, level: int, column: pa.Array) -> np.ndarray | None:
        """Returns the same for integers that are close together; None if they are not."""
        numbers = column.to_numpy()
        least, span = (numbers.min(), int(numbers.max()) - int(numbers.min())) if len(numbers) else (0, 0)
        if span >= len(numbers):
            return None
        offsets = (numbers - least).astype(np.intp) if numbers.itemsize == 8 else numbers.astype(np.intp) - int(least)
        is_present = np.zeros(span + 1, bool)
        is_present[offsets] = True
        values, codes = np.flatnonzero(is_present), np.zeros(span + 1, np.int32)
        codes[values] = self._known(level, pa.array(values.astype(numbers.dtype) + least, column.type))
        of_rows: np.ndarray = codes.take(offsets)
        return of_rows

    def _known(self, level: int, values: pa.Array) -> np.ndarray:
        """Returns the numbers of distinct values of a column, (n,), and numbers those that are new."""
        codes = pc.index_in(values, value_set=self._values[level])
        if codes.null_count:
            new = values.filter(pc.is_null(codes)).unique()
            self._values[level] = pa.concat_arrays([self._values[level], new])
            codes = pc.index_in(values, value_set=self._values[level])
        numbers: np.ndarray = codes.to_numpy()
        return numbers

    def _longer_rows(self, level: int, rows: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Returns the numbers of rows that are longer by the value with these codes."""
        num_before = 1 if level == 0 else self._lasts[level - 1].shape[1]
        table = self._tables[level] = self._with_room(self._tables[level], num_before, len(self._values[level]))
        places = rows
        places *= table.shape[1]
        places += codes
        flat = table.reshape(-1)
        longer: np.ndarray = flat.take(places)
        if longer.min(initial=0) < 0:
            new, count = np.unique(places[longer < 0]), self._lasts[level].shape[1]
            if count + len(new) > MOST_ROWS:
                raise TooVariedError
            flat[new] = np.arange(count, count + len(new))
            self._lasts[level] = np.hstack([self._lasts[level], np.array(np.divmod(new, table.shape[1]), np.int32)])
            longer = flat.take(places)
        return longer

    def _with_room(self, table: np.ndarray, num_rows: int, num_values: int) -> np.ndarray:
        """Returns a table with at least so many rows and columns."""
        if table.shape[0] >= num_rows and table.shape[1] >= num_values:
            return table
        shape = [
            size if size >= least else 2 * least
            for size, least in zip(table.shape, (num_rows, num_values), strict=True)
        ]
        if sum(each.size for each in self._tables) - table.size + shape[0] * shape[1] > self.most_entries:
            raise TooVariedError
        larger = np.full(shape, -1)
        larger[: table.shape[0], : table.shape[1]] = table
        return larger

    @property
    def most_combinations(self) -> float:
        """Returns how many distinct rows the values of the columns could make."""
        return float(np.prod([float(len(values)) for values in self._values]))

    def rows(self, numbers: np.ndarray, names: Sequence[str]) -> pa.RecordBatch:
        """Returns distinct rows by their numbers, as columns of these names."""
        columns = list[pa.Array]()
        for values, lasts in zip(reversed(self._values), reversed(self._lasts), strict=True):
            numbers, codes = lasts[:, numbers]
            columns.append(values.take(pa.array(codes)))
        return pa.RecordBatch.from_arrays(columns[::-1], list(names))
