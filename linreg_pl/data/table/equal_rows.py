"""Collapses the rows to fit that have equal features, in one pass, where a sample shows that this pays.

A table of categories and small numbers has few distinct rows of features. Only these are encoded as numbers: one-hot
columns are never made row by row.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from linreg_pl.core.decimals import noting_decimals
from linreg_pl.core.group_sums import GroupSums, add_to
from linreg_pl.core.triangle import Triangle
from linreg_pl.core.world import known
from linreg_pl.data.loaders import Batch
from linreg_pl.data.table.column_types import filtered
from linreg_pl.data.table.distinct_rows import MOST_ROWS, DistinctRows, TooVariedError
from linreg_pl.data.table.encoded_rows import EncodedRows, all_finite, are_infinite
from linreg_pl.data.table.encoding import Encoding
from linreg_pl.data.table.gaps import Counted, Gaps, gaps_of
from linreg_pl.data.table.memory import MemoryRows
from linreg_pl.data.table.rows import evaluation_batch_size
from linreg_pl.data.table.unseen import UnseenText

SAMPLE_ROWS = 131_072
"""Rows that decide whether collapsing pays."""

LEAST_VALUES = 10_000_000
"""Values of the smallest table that is collapsed; a smaller one is read again anyway, to refine its solution."""

MOST_TARGETS = 16
"""Of more targets, the products take longer than a pass over all rows."""


class EqualRows:
    """The distinct rows of features among the rows to fit, with sums of the targets over the rows of each.

    Args:
        features: The features of the rows to fit.
        others: Their targets and weight.
        memory_limit: Bytes up to which the rows are to be held in memory: `read` then keeps what they need.
    """

    def __init__(self, features: EncodedRows, others: EncodedRows, memory_limit: float = 0) -> None:
        self._table, self._split = features.table, features.split
        self._encoding, self._others = features.encoding, others.encoding
        self._names = features.encoding.columns
        self._distinct = DistinctRows([self._table.schema.field(name).type for name in self._names])
        self._num_targets = others.widths[1]
        self._sums = GroupSums(self._num_targets)
        self._is_complete = np.zeros(0, bool)  # whether a distinct row lacks no value
        self._counts = np.zeros((2, 0), np.int64)  # of its rows, and of those that lack a target or weight
        self._first_rows = np.zeros(0, np.int64)
        self._missing = Counted.nothing(sum(others.widths))
        needed = self._table.num_rows * (features.widths[0] + sum(others.widths)) * MemoryRows.bytes_per_value
        self._held: list[tuple[np.ndarray, np.ndarray]] | None = [] if needed <= memory_limit else None

    def __len__(self) -> int:
        return len(self._distinct)

    @property
    def num_rows(self) -> int:
        """Returns the number of rows of this process that lack no value."""
        num_rows, num_lacking = self._counts[:, self._is_complete].sum(axis=1)
        return int(num_rows - num_lacking)

    @property
    def _is_fitted(self) -> np.ndarray:
        """Returns which distinct rows have rows that lack no value, (g,)."""
        is_fitted: np.ndarray = self._is_complete & (self._counts[0] > self._counts[1])
        return is_fitted

    @property
    def has_weight(self) -> bool:
        """Returns whether a row of this process that lacks no value has a weight above 0."""
        return self._sums.num_rows > 0

    @cached_property
    def lacks_values(self) -> bool:
        """Returns whether some row, of any process, lacks a value."""
        return any(self._table.world.gathered(self.num_rows < self._counts[0].sum()))

    @cached_property
    def remark(self) -> str:
        """Returns how many distinct rows there are; several processes may have the same ones."""
        counts = self._table.world.gathered(int(self._is_fitted.sum()))
        return f"equal rows are collapsed: {'at most ' * (len(counts) > 1)}{sum(counts)} distinct rows of features"

    def pays(self) -> bool:
        """Returns whether the first rows of this process tell of at most one distinct row for every eight rows.

        Raises:
            TooVariedError: there are too many distinct rows.
            pa.ArrowNotImplementedError: a column has a type that can't be numbered.
        """
        counts, num_seen = np.zeros(0, np.int64), 0
        for _, batch in self._to_fit(self._table.batches(self._table.groups, self._names, keeps_codes=True)):
            if not num_seen and any(len(each.unique()) > 0.9 * len(each) > 1000 for each in batch.columns):
                return False
            numbers = self._distinct.numbers(batch.columns)
            num_seen += len(numbers)
            counts = np.bincount(numbers, minlength=len(self)) + with_length(counts, len(self))
            if num_seen >= SAMPLE_ROWS:
                break
        # Rows that were met once, beside those that were met twice, tell how many were not met (Chao, "Nonparametric
        # estimation of the number of classes in a population", 1984).
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        number = min(self._distinct.most_combinations, len(self) + once * (once - 1) / (2 * (twice + 1)))
        return 8 * number <= len(self._table.own_rows) and number <= MOST_ROWS

    def read(self) -> bool:
        """Reads all rows of this process; returns whether they can be collapsed.

        Raises:
            TooVariedError: there are too many distinct rows.
            UnseenText: a text is no number.
        """
        for rows, batch in self._to_fit(self._table.all_batches(self._columns, keeps_codes=True)):
            groups, others = self._numbers(batch)
            if not self._meet(rows, groups) or (others[:, self._num_targets :] < 0).any():
                return False
            if not (all_finite(others) and self._is_complete.all()):
                if are_infinite(others).any():
                    return False
                missing = np.isnan(others)
                lacks = missing.any(axis=1)
                add_to(self._counts[1:].T, groups[lacks])
                self._missing = self._missing.followed_by(Counted.of(rows, missing))
                is_kept = self._is_complete.take(groups) & ~lacks
                groups, others = groups[is_kept], others[is_kept]
            y, weights = np.split(others.astype(np.float64), [self._num_targets], axis=1)
            self._sums.add(groups, y, weights if weights.shape[1] else None)
            if self._held is not None:
                self._held.append((groups.astype(np.int32), others))
        return len(self) + self._num_targets <= self._sums.num_rows or not self._sums.num_rows

    @property
    def _columns(self) -> list[str]:
        return list(dict.fromkeys([*self._names, *self._others.columns]))

    def _to_fit(self, batches: Iterator[tuple[int, pa.RecordBatch]]) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
        """Yields the rows to fit, with their numbers in the table."""
        for first, batch in batches:
            mask = self._split.mask("fit", first, batch.num_rows)
            rows = first + (np.arange(batch.num_rows) if mask is None else np.flatnonzero(mask))
            if len(rows):
                yield rows, filtered(batch, mask)

    def _numbers(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """Returns the number of each row's distinct row, (n,), and its targets and weight."""
        return self._distinct.numbers([batch.column(name) for name in self._names]), self._others.numbers(batch)

    def _meet(self, rows: np.ndarray, groups: np.ndarray) -> bool:
        """Counts rows; returns whether all values of the distinct rows that are new are finite."""
        known = len(self._is_complete)
        self._counts = with_length(self._counts, len(self))
        self._first_rows = with_length(self._first_rows, len(self), -1)
        add_to(self._counts[:1].T, groups)
        if len(self) > known or (self._first_rows < 0).any():
            is_first = self._first_rows.take(groups) < 0
            self._first_rows[groups[is_first][::-1]] = rows[is_first][::-1]  # the last one written is the first row
        for _, x in self._encoded(self._encoding, known):
            self._is_complete = np.append(self._is_complete, ~np.isnan(x).any(axis=1))
            if are_infinite(x).any():
                return False
        return True

    def _encoded(self, encoding: Encoding, start: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields distinct rows from a number on, (g, D), with their numbers."""
        size = evaluation_batch_size(len(encoding.feature_names))
        for first in range(start, len(self), size):
            numbers = slice(first, min(first + size, len(self)))
            yield numbers, encoding.numbers(self._distinct.rows(np.arange(numbers.start, numbers.stop), self._names))

    def _complete(self, encoding: Encoding) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the distinct rows of the rows that lack no value, (g, D), with their numbers, (g,)."""
        is_fitted = self._is_fitted
        for numbers, x in self._encoded(encoding):
            kept = is_fitted[numbers]
            yield np.arange(numbers.start, numbers.stop)[kept], x[kept]

    def gaps(self) -> Gaps:
        """Counts the missing values; see `EncodedRows.gaps`."""
        D = len(self._encoding.feature_names)
        counts, firsts = np.zeros(D, np.int64), np.full(D, -1)
        has_value, used = np.zeros((2, D), bool)
        num_rows, is_fitted = self._counts[0], self._is_fitted
        for numbers, x in self._encoded(self._encoding):
            missing = np.isnan(x)
            counts += num_rows[numbers] @ missing
            for column in np.flatnonzero(missing.any(axis=0)).tolist():
                first = self._first_rows[numbers][missing[:, column]].min()
                firsts[column] = first if firsts[column] < 0 else min(first, firsts[column])
            kept = x[is_fitted[numbers]]
            has_value |= bool(len(kept))
            used |= (kept != 0).any(axis=0)
        num_incomplete = int(num_rows.sum()) - self.num_rows
        counted = Counted(
            int(num_rows.sum()),
            num_incomplete,
            np.append(counts, self._missing.counts),
            np.append(firsts, self._missing.first_rows),
            has_value,
            used,
        )
        return gaps_of(counted, [*self._encoding.sources, *self._others.sources], self._table.world)

    def triangle(self, encoding: Encoding, center: Tensor, first_rows: Sequence[Batch]) -> Triangle:
        """Returns the triangle of the rows that lack no value, about a center (D+K,).

        Args:
            encoding: Of the features.
            center: Of the columns of x and y.
            first_rows: A batch of the first rows, which show whether the columns hold decimal fractions.
        """
        decimals: list[Tensor] = []
        deque(noting_decimals(first_rows, decimals), maxlen=0)
        of_targets = center[len(encoding.feature_names) :].numpy()
        chunks = ((x, *self._sums.rows(numbers, of_targets)) for numbers, x in self._complete(encoding))
        total = self._sums.triangle((tuple(map(torch.from_numpy, chunk)) for chunk in chunks), center)
        total = total and replace(total, decimals=decimals[0])
        merged = self._table.world.reduced(total, known(Triangle.merge))
        assert merged is not None, "there are rows to fit"
        return merged

    def squared_rows(self, encoding: Encoding) -> Iterator[Batch]:
        """Yields x (g, D) and y (g, K) of distinct rows, and weights (g, 1) whose squares sum up those of the rows."""
        for numbers, x in self._complete(encoding):
            yield tuple(map(torch.from_numpy, (x, *self._sums.squared_rows(numbers))))

    def kept(self, groups: Sequence[int] | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Reads the rows again, those of some groups of the table or all, without those that lack a value.

        Yields:
            The rows' numbers in the table (n,), those of their distinct rows (n,), and y with the weights (n, K+1).
        """
        read = self._table.all_batches if groups is None else partial(self._table.batches, groups)
        for rows, batch in self._to_fit(read(self._columns, keeps_codes=True)):
            numbers, others = self._numbers(batch)
            is_kept = self._is_complete.take(numbers) & ~np.isnan(others).any(axis=1)
            yield rows[is_kept], numbers[is_kept], others[is_kept]

    def in_memory(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the same of all rows, without their numbers in the table; reads them again unless `read` kept them."""
        kept, self._held = self._held, None
        yield from ((numbers, others) for _, numbers, others in self.kept()) if kept is None else kept

    def forget(self) -> None:
        """Drops the rows that `read` kept."""
        self._held = None

    def features(self, encoding: Encoding, groups: np.ndarray) -> np.ndarray:
        """Returns x of distinct rows by their numbers, (g, D)."""
        return encoding.numbers(self._distinct.rows(groups, self._names))


def collapsed(features: EncodedRows, others: EncodedRows, memory_limit: float) -> EqualRows | None:
    """Returns the rows to fit with equal features collapsed; None where that does not pay.

    Args:
        features: The features of the rows to fit.
        others: Their targets and weight.
        memory_limit: As in `EqualRows`.
    """
    table = features.table
    if not features.encoding.columns or table.num_rows * (features.widths[0] + sum(others.widths)) <= LEAST_VALUES:
        return None
    if others.widths[1] > MOST_TARGETS:
        return None
    rows = EqualRows(features, others, memory_limit)
    for step in (rows.pays, rows.read):
        try:
            is_done = step()
        except (TooVariedError, UnseenText, pa.ArrowNotImplementedError):
            is_done = False
        if not all(table.world.gathered(is_done)):
            return None
    if not any(table.world.gathered(rows.has_weight)):
        return None  # the ordinary pass says what to do
    _ = rows.lacks_values, rows.remark  # which all processes find together
    return rows


def with_length(values: np.ndarray, length: int, fill: int = 0) -> np.ndarray:
    """Returns an array with `fill` at the end of its last axis, up to a length."""
    added = length - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, added)], constant_values=fill) if added else values
