"""Numbers the distinct values of a column, so that equal values get the same number."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.column_types import as_labels, is_text


class DistinctValues:
    """The distinct values of a column, in the order of their numbers; a missing value is one of them.

    Args:
        kind: The column's type.
    """

    most_apart = 2**16
    """Integers that are no further apart are looked up in a table: it stays in the processor's cache."""

    def __init__(self, kind: pa.DataType) -> None:
        self._values = pa.array([], pa.string() if is_text(kind) else kind)
        # Pairs are read and written at once, as lanes of a streamed table have a thread each.
        self._integers = 0, np.zeros(0, np.intp)  # the least one, and the numbers of those from there on, or -1
        self._dictionary = self._values, np.zeros(0, np.intp)  # of the last column, and its numbers

    def __len__(self) -> int:
        return len(self._values)

    def take(self, numbers: np.ndarray) -> pa.Array:
        """Returns values by their numbers."""
        return self._values.take(pa.array(numbers))

    def numbers(self, column: pa.Array) -> np.ndarray:
        """Returns the number of each value of a column, (n,), from 0 on.

        Raises:
            pa.ArrowNotImplementedError: the type is not supported.
        """
        if pa.types.is_integer(column.type) and not column.null_count and len(column):
            of_integers = self._integer_numbers(column.to_numpy())
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
        dictionary, numbers = self._dictionary
        if not values.equals(dictionary):
            numbers = self._known(values)
            self._dictionary = values, numbers
        of_rows: np.ndarray = numbers.take(indices.to_numpy().astype(np.intp))
        return of_rows

    def _integer_numbers(self, integers: np.ndarray) -> np.ndarray | None:
        """Returns the same for integers, (n,), one or more; None if they are far apart."""
        least, most, (first, table) = int(integers.min()), int(integers.max()), self._integers
        if least < first or most >= first + len(table):
            if len(table):
                least, most = min(least, first), max(most, first + len(table) - 1)
            if most - least >= self.most_apart:
                return None
            longer = np.full(most - least + 1, -1)
            longer[first - least :][: len(table)] = table
            self._integers = first, table = least, longer
        start, size = integers.dtype.type(first), integers.itemsize
        offsets = (integers - start).view(f"u{size}").astype(np.intp, copy=False)  # small, though signed ones may wrap
        numbers: np.ndarray = table.take(offsets)
        if numbers.min() < 0:
            new = np.unique(offsets[numbers < 0])
            table[new] = self._known(pa.array(new.astype(integers.dtype) + start))
            numbers = table.take(offsets)
        return numbers

    def _known(self, values: pa.Array) -> np.ndarray:
        """Returns the numbers of distinct values, (n,), and numbers those that are new."""
        numbers = pc.index_in(values, value_set=self._values)
        if numbers.null_count:
            new = values.filter(pc.is_null(numbers)).unique()
            self._values = pa.concat_arrays([self._values, new])
            numbers = pc.index_in(values, value_set=self._values)
        of_values: np.ndarray = numbers.to_numpy().astype(np.intp)
        return of_values
