"""Reads a table's rows as numbers: encoded, split into parts, with missing values refused, dropped or imputed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.design import Missing
from linreg_pl.data.table.encoding import Encoding, UnknownCategory, is_text
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.split import Part, Split
from linreg_pl.errors import InputError, shortened


@dataclass(frozen=True)
class EncodedRows:
    """The rows of a table as arrays of numbers (n, sum of widths).

    Args:
        table: The table.
        encoding: How its columns become numbers.
        split: Which rows to fit, to validate and to test.
        widths: D and K, and 1 if the last column is the weight.
        missing: What to do with missing values.
        means: Values to impute in the features, (D,), if `missing` is "mean".
    """

    table: Table
    encoding: Encoding
    split: Split
    widths: tuple[int, ...]
    missing: Missing
    means: np.ndarray | None = field(default=None, compare=False)

    def read(
        self, part: Part, groups: Sequence[int] | None = None, keeps_missing: bool = False
    ) -> Iterator[np.ndarray]:
        """Yields the rows of a part, some at a time, in order.

        Args:
            part: Which rows: all, or those to fit, to validate or to test.
            groups: The groups of rows to read, in this order; all groups if not given.
            keeps_missing: Leave missing values as NaN.

        Raises:
            InputError: a value is missing and `missing` is "error", is not finite in float32, or is a new category; or
                a weight is negative.
        """
        return (values for _, values in self._numbered(part, groups, keeps_missing))

    def _numbered(
        self, part: Part, groups: Sequence[int] | None = None, keeps_missing: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the same arrays, each with the number of the first row of the batch that it comes from."""
        columns = list(dict.fromkeys(self.encoding.columns))
        batches = self.table.all_batches(columns) if groups is None else self.table.batches(groups, columns)
        for first, batch in batches:
            try:
                values = self.encoding.numbers(batch)
            except UnknownCategory as error:
                name, row = self.table.place(first + error.row)
                place = f"{name}: column {shortened(error.column)}, row {row}"
                raise InputError(f"{place}: {error.message}") from error
            mask = self.split.mask(part, first, len(values))
            all_finite = _all_finite(values)
            if not all_finite:
                self._require_finite(values, first, batch)
            if len(self.widths) > 2:
                self._require_weights(values[:, -1], first)
            values = values if mask is None else values[mask]
            if self.means is not None:
                values = values.astype(np.float64)  # as the means are, in any batch
            yield first, values if all_finite or keeps_missing else self._completed(values)

    def group_rows(self, part: Part) -> list[int]:
        """Returns each group's number of rows in a part; takes a pass over the rows if `missing` drops some."""
        starts = np.cumsum([0, *self.table.group_rows[:-1]])
        if self.missing == "error":
            groups = zip(starts.tolist(), self.table.group_rows, strict=True)
            return [self.split.count(part, start, num_rows) for start, num_rows in groups]
        counts = np.zeros(len(starts), dtype=np.int64)
        for first, values in self._numbered(part):
            counts[np.searchsorted(starts, first, side="right") - 1] += len(values)
        group_rows: list[int] = counts.tolist()
        return group_rows

    def _completed(self, values: np.ndarray) -> np.ndarray:
        """Returns the rows without missing values: imputed, dropped, or refused."""
        missing = np.isnan(values)
        if not missing.any():
            return values
        if self.missing == "error":
            raise InputError(self._missing_values())
        if self.means is not None:
            num_features = len(self.means)
            np.copyto(values[:, :num_features], self.means, where=missing[:, :num_features])
            missing = np.isnan(values)
        complete: np.ndarray = values[~missing.any(axis=1)]
        return complete

    def _require_weights(self, weights: np.ndarray, first: int) -> None:
        negative = weights < 0
        if negative.any():
            index = int(negative.argmax())
            name, row = self.table.place(first + index)
            raise InputError(
                f"{name}: column {shortened(self.encoding.columns[-1])}, row {row}: the weight is {weights[index]:g};"
                " weights are 0 or more: correct it, or give --data.weight another column"
            )

    def _require_finite(self, values: np.ndarray, first: int, batch: pa.RecordBatch) -> None:
        with np.errstate(over="ignore"):
            infinite = np.isinf(values.astype(np.float32)).any(axis=1)
        if not infinite.any():
            return
        index = int(infinite.argmax())
        column = next(name for name in self.encoding.columns if _is_infinite(batch.column(name)[index]))
        name, row = self.table.place(first + index)
        raise InputError(
            f"{name}: column {shortened(column)}, row {row}: {batch.column(column)[index].as_py()} is not a finite"
            " number in float32, whose largest is 3.4e38; correct it, or leave such rows out"
        )

    def _missing_values(self) -> str:
        """Returns a message with the place of the first missing value, and the counts of the first columns."""
        counts = dict.fromkeys(self.encoding.columns, 0)
        first_rows: dict[str, int] = {}
        for first, batch in self.table.all_batches(list(counts)):
            for name in counts:
                is_missing = pc.is_null(batch.column(name), nan_is_null=True)
                count = pc.sum(is_missing).as_py() or 0
                if count and not counts[name]:
                    first_rows[name] = first + pc.index(is_missing, True).as_py()
                counts[name] += count
        incomplete = sorted(first_rows, key=lambda name: first_rows[name])
        named = 3  # columns
        listed = [f"{shortened(name)} in {counts[name]} of {self.table.num_rows} rows" for name in incomplete[:named]]
        more = f" and {len(incomplete) - named} more columns" if len(incomplete) > named else ""
        name, row = self.table.place(first_rows[incomplete[0]])
        return (
            f"{name}: column {shortened(incomplete[0])}, row {row}: a value is missing (empty, NA, NaN or null), in all"
            f" {', '.join(listed)}{more}; fill them in, or give --data.missing drop, or mean"
        )


def _all_finite(values: np.ndarray) -> bool:
    """Says whether all values are finite in float32; may say no if only their sum is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.astype(np.float32, copy=False).sum()))


def _is_infinite(value: pa.Scalar) -> bool:
    number = value.as_py()
    if number is None or is_text(value.type):
        return False
    with np.errstate(over="ignore"):
        return bool(np.isinf(np.float32(number)))
