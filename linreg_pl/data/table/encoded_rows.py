"""Reads a table's rows as numbers: encoded, split into parts, with missing values refused, dropped or imputed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.column_types import filtered
from linreg_pl.data.table.design import Missing
from linreg_pl.data.table.encoding import Encoding
from linreg_pl.data.table.gaps import Gaps, MissingValues, count_gaps, refused
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.split import Part, Split
from linreg_pl.data.table.unseen import UnseenText
from linreg_pl.errors import InputError, flag_text, shortened


@dataclass(frozen=True)
class EncodedRows:
    """The rows of a table as arrays of numbers (n, sum of widths).

    Args:
        table: The table.
        encoding: How its columns become numbers.
        split: Which rows to fit, to validate and to test.
        widths: D and K, and 1 if the last column is the weight; K is 0 for rows to predict.
        missing: What to do with missing values; None if that is undecided, so that they are refused.
        means: Values to impute in the features, (D,), if `missing` is "mean" or "indicator".
    """

    table: Table
    encoding: Encoding
    split: Split
    widths: tuple[int, ...]
    missing: Missing
    means: np.ndarray | None = field(default=None, compare=False)

    @property
    def predicts(self) -> bool:
        """Returns whether these are rows to predict: none is refused or dropped."""
        return self.widths[1] == 0

    def read(self, part: Part, groups: Sequence[int] | None = None) -> Iterator[np.ndarray]:
        """Yields the rows of a part, some at a time, in order.

        Args:
            part: Which rows: all, or those to fit, to validate or to test.
            groups: The groups of rows to read, in this order; all groups if not given.

        Raises:
            MissingValues: a value is missing, and `missing` is "error" or undecided.
            InputError: a value is not finite in float32, or is a text that the fit has not seen; or a weight is
                negative.
        """
        return (values for _, values in self.numbered(part, groups))

    def numbered(
        self, part: Part, groups: Sequence[int] | None = None, keeps_missing: bool = False
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the same arrays, each with the numbers of its rows in the table, from 0.

        Where `missing` drops rows, the numbers are those of all rows of the part.
        """
        self.encoding.unseen_values.clear()
        columns = list(dict.fromkeys(self.encoding.columns))
        batches = self.table.all_batches(columns) if groups is None else self.table.batches(groups, columns)
        for first, batch in batches:
            mask = self.split.mask(part, first, batch.num_rows)
            rows = first + (np.arange(batch.num_rows) if mask is None else np.flatnonzero(mask))
            kept = filtered(batch, mask)
            try:
                values = self.encoding.numbers(kept)
            except UnseenText as error:
                name, row = self.table.place(int(rows[error.row]))
                place = f"{name}: column {shortened(error.column)}, row {row}"
                flags = {"unseen": "missing"} if "--data.unseen missing" in error.remedy else {}
                if flags and not self.predicts and self.missing in ("error", None):
                    flags["missing"] = "drop"
                raise InputError(f"{place}: {error.message}; {error.remedy}", flags) from error
            is_finite = all_finite(values)
            if not is_finite and not self.predicts:
                values = self._without_infinity(values, rows, kept)
            if len(self.widths) > 2:
                self._require_weights(values[:, -1], rows)
            if self.means is not None:
                values = values.astype(np.float64)  # as the means are, in any batch
            yield rows, values if is_finite or keeps_missing else self._completed(values, part)

    def complete(self, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the same rows as `read`, each with its number in the table, from 0."""
        for rows, values in self.numbered(part, keeps_missing=True):
            imputed, missing = self._imputed(values)
            kept = ~missing.any(axis=1)
            yield rows[kept], imputed[kept]

    def gaps(self, part: Part = "fit") -> Gaps:
        """Counts the missing values in a part of the rows; takes a pass over them."""
        imputes = self.missing in ("mean", "indicator")
        rows, world = self.numbered(part, keeps_missing=True), self.table.world
        return count_gaps(rows, self.encoding.sources, self.widths[0], imputes, world)

    def refused(self, part: Part) -> MissingValues:
        """Returns the error that rows of a part lack values; takes a pass over them."""
        return refused(self.gaps(part), self.table.place)

    def group_rows(self, part: Part, kept: Iterator[np.ndarray] | None = None) -> tuple[list[int], range]:
        """Returns each group's number of rows in a part, and the numbers of those that this process reads.

        Takes a pass over the rows if `missing` drops some.

        Args:
            part: Which rows.
            kept: A pass over the numbers of the rows that are not dropped, in order, if there is one in less time.
        """
        own, world = self.table.own_rows, self.table.world
        starts = np.cumsum([0, *self.table.group_rows])
        counts = np.zeros(len(self.table.group_rows), dtype=np.int64)
        if self.missing in ("error", None):
            for group in self.table.groups:
                start, stop = np.clip(starts[[group, group + 1]], own.start, own.stop).tolist()
                counts[group] = self.split.count(part, start, stop - start)
        else:
            for rows, values in self.numbered(part) if kept is None else ((rows, rows) for rows in kept):
                if len(rows):  # all of one group
                    counts[np.searchsorted(starts, rows[0], side="right") - 1] += len(values)
        shares = world.gathered(int(counts.sum()))
        first = sum(shares[: world.rank])
        return world.reduced(counts, np.add).tolist(), range(first, first + shares[world.rank])

    def _completed(self, values: np.ndarray, part: Part) -> np.ndarray:
        """Returns the rows without missing values: imputed, dropped, or refused."""
        missing = np.isnan(values)
        if self.missing in ("error", None) and not self.predicts and missing.any():
            if self.table.world.size > 1:
                raise MissingValues(f"{self.table.name}: a value is missing")
            raise self.refused(part)
        values, missing = self._imputed(values)
        if self.predicts:
            return np.where(are_infinite(values), np.nan, values)
        complete: np.ndarray = values[~missing.any(axis=1)]
        return complete

    def _imputed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Fills in the means, if there are any, in place; returns the rows, and which values are missing still."""
        missing = np.isnan(values)
        if self.means is None:
            return values, missing
        num_features = len(self.means)
        np.copyto(values[:, :num_features], self.means, where=missing[:, :num_features])
        return values, np.isnan(values)

    def _require_weights(self, weights: np.ndarray, rows: np.ndarray) -> None:
        negative = weights < 0
        if negative.any():
            index = int(negative.argmax())
            name, row = self.table.place(int(rows[index]))
            raise InputError(
                f"{name}: column {shortened(self.encoding.columns[-1])}, row {row}: the weight is {weights[index]:g};"
                " weights are 0 or more: correct it, or give --data.weight another column"
            )

    def _without_infinity(self, values: np.ndarray, rows: np.ndarray, batch: pa.RecordBatch) -> np.ndarray:
        """Returns the values of a batch, all finite in float32 or missing.

        Raises:
            InputError: a value is not finite in float32.
        """
        infinite = are_infinite(values)
        if not infinite.any():
            return values
        index, position = (int(each) for each in np.argwhere(infinite)[0])
        column = self.encoding.sources[position]
        name, row = self.table.place(int(rows[index]))
        value = batch.column(column)[index].as_py()
        remedy = "correct it, or write the column in a larger unit"
        if np.isinf(values[index, position]):
            remedy = f"correct it, or give --data.missing_values {flag_text([f'{values[index, position]:g}'])}"
        raise InputError(
            f"{name}: column {shortened(column)}, row {row}: {value} is not a finite number in float32, whose largest"
            f" is 3.4e38; {remedy}"
        )


def are_infinite(values: np.ndarray) -> np.ndarray:
    """Returns which values are infinite in float32: (n, number of columns)."""
    with np.errstate(over="ignore"):
        infinite: np.ndarray = np.isinf(values.astype(np.float32))
    return infinite


def all_finite(values: np.ndarray) -> bool:
    """Says whether all values are finite in float32; may say no if only their sum is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.astype(np.float32, copy=False).sum()))
