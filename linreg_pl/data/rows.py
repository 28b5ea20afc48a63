"""Where are the rows while a run takes batches of them? In memory, or read anew at every epoch.

A batch is a pure function of (seed, epoch, position) in both. In memory an epoch's order is a permutation of all rows.
A table that is streamed has its groups in an order of their own at every epoch, one group after the other; that row of
rows is cut into windows, and each window is shuffled. Unshuffled both are the table's own order, with the same bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from linreg_pl.data.batches import EVALUATION_BATCH_SIZE, Batch
from linreg_pl.data.streams import Purpose, stream

WINDOW_BYTES = 32e6
"""Of the rows that a streamed table shuffles together; three windows are in memory at once."""

T = TypeVar("T")


class Rows(ABC):
    """Rows of x (N, D) and y (N, K)."""

    num_rows: int

    @abstractmethod
    def in_order(self, size: int = EVALUATION_BATCH_SIZE) -> Iterator[Batch]:
        """All rows in the table's order, `size` at a time, the last fewer."""

    @abstractmethod
    def batch(self, epoch: int, rows: slice) -> Batch:
        """Some consecutive rows of an epoch."""


class MemoryRows(Rows):
    """Rows that are held as tensors.

    Args:
        shuffled_by: Seed of the rows' order at each epoch; None keeps the table's.
    """

    def __init__(self, x: Tensor, y: Tensor, shuffled_by: int | None) -> None:
        self._x, self._y = x, y
        self._seed = shuffled_by
        self.num_rows = len(x)

    def in_order(self, size: int = EVALUATION_BATCH_SIZE) -> Iterator[Batch]:
        """See `Rows`."""
        for start in range(0, self.num_rows, size):
            yield self._x[start : start + size], self._y[start : start + size]

    def batch(self, epoch: int, rows: slice) -> Batch:
        """See `Rows`."""
        if self._seed is None:
            return self._x[rows], self._y[rows]
        chosen = row_order(self._seed, epoch, self.num_rows)[rows]
        return taken(self._x, self._y, chosen)


class StreamedRows(Rows):
    """Rows that are read when they are asked for; a few windows of them are in memory.

    Args:
        chunks: Reads the groups that it is given, in that order, as chunks (n, D+K).
        counts: Rows in each group.
        num_features: D.
        num_targets: K.
        shuffled_by: Seed of the order at each epoch; None keeps the table's.
    """

    def __init__(
        self,
        chunks: Callable[[Sequence[int]], Iterator[np.ndarray]],
        counts: Sequence[int],
        num_features: int,
        num_targets: int,
        dtype: torch.dtype,
        shuffled_by: int | None,
    ) -> None:
        self._chunks, self._counts = chunks, np.array(counts, dtype=np.int64)
        self._widths, self._dtype = (num_features, num_targets), dtype
        self._seed = shuffled_by
        self.num_rows = int(self._counts.sum())
        self._size = max(1, int(WINDOW_BYTES / 4 / sum(self._widths)))  # rows of a window
        self._next = (-1, 0)  # epoch and number of the window that `_windows` gives next
        self._windows: Iterator[Batch] = iter(())
        self._window: Batch = (torch.empty(0), torch.empty(0))

    def in_order(self, size: int = EVALUATION_BATCH_SIZE) -> Iterator[Batch]:
        """See `Rows`."""
        return ahead(self._blocks(self._chunks(range(len(self._counts))), size))

    def batch(self, epoch: int, rows: slice) -> Batch:
        """See `Rows`."""
        parts = []
        for number in range(rows.start // self._size, -(-min(rows.stop, self.num_rows) // self._size)):
            x, y = self._at(epoch, number)
            here = slice(max(rows.start - number * self._size, 0), rows.stop - number * self._size)
            if self._seed is not None:
                order = window_order(self._seed, epoch, number, len(x))[here]
                parts.append(taken(x, y, order))
            else:
                parts.append((x[here], y[here]))
        if len(parts) == 1:
            return parts[0]
        x, y = (torch.from_numpy(np.concatenate(of_parts)) for of_parts in zip(*parts, strict=True))
        return x, y

    def _at(self, epoch: int, number: int) -> Batch:
        """A window; reading goes on where it is the one that comes next."""
        if (epoch, number + 1) == self._next:
            return self._window
        if (epoch, number) != self._next:
            self._windows = ahead(self._from(epoch, number))
        self._window = next(self._windows)
        self._next = (epoch, number + 1)
        return self._window

    def _from(self, epoch: int, number: int) -> Iterator[Batch]:
        """An epoch's windows from some number on; groups that come before are not read."""
        order = np.arange(len(self._counts))
        if self._seed is not None:
            order = stream(self._seed, Purpose.GROUP_ORDER, epoch).permutation(order)
        ends = self._counts[order].cumsum()
        first = int(np.searchsorted(ends, number * self._size, side="right"))
        skipped = number * self._size - (int(ends[first - 1]) if first else 0)
        return self._blocks(without_first(skipped, self._chunks(order[first:].tolist())), self._size)

    def _blocks(self, chunks: Iterator[np.ndarray], size: int) -> Iterator[Batch]:
        """The rows of `chunks`, `size` at a time."""
        return blocks(chunks, size, *self._widths, self._dtype)


class RowsLoader:
    """All rows in order, as Lightning wants them to evaluate."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return -(-self._rows.num_rows // EVALUATION_BATCH_SIZE)

    def __iter__(self) -> Iterator[Batch]:
        return self._rows.in_order()


def blocks(
    chunks: Iterator[np.ndarray], size: int, num_features: int, num_targets: int, dtype: torch.dtype = torch.float32
) -> Iterator[Batch]:
    """The rows of `chunks` (n, D+K), cut anew into x (size, D) and y (size, K); the last are fewer.

    By NumPy, as it runs beside the training: torch's threads would wait for each other, and spin meanwhile.
    """
    filled = 0
    x, y = np.empty((0, num_features)), np.empty((0, num_targets))
    of = np.float64 if dtype == torch.float64 else np.float32
    for values in chunks:
        start = 0
        while start < len(values):
            if not filled:
                x, y = np.empty((size, num_features), of), np.empty((size, num_targets), of)
            taken = min(size - filled, len(values) - start)
            x[filled : filled + taken] = values[start : start + taken, :num_features]
            y[filled : filled + taken] = values[start : start + taken, num_features:]
            start, filled = start + taken, filled + taken
            if filled == size:
                yield torch.from_numpy(x), torch.from_numpy(y)
                filled = 0
    if filled:
        yield torch.from_numpy(x[:filled]), torch.from_numpy(y[:filled])


def without_first(num_rows: int, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The chunks' rows but for the first so many."""
    for values in chunks:
        if num_rows < len(values):
            yield values[num_rows:]
        num_rows = max(0, num_rows - len(values))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end


def taken(x: Tensor, y: Tensor, chosen: Tensor) -> Batch:
    """Some rows of both; by NumPy, which copies whole rows, in a fifth of the time of torch's indexing."""
    return _gathered(x, chosen), _gathered(y, chosen)


def _gathered(rows: Tensor, chosen: Tensor) -> Tensor:
    # Into torch's memory: NumPy's begins at other addresses from run to run, and sums over it may round otherwise.
    into = torch.empty(len(chosen), rows.shape[1], dtype=rows.dtype)
    rows.numpy().take(chosen.numpy(), axis=0, out=into.numpy(), mode="clip")  # the mode that copies to its place
    return into


@lru_cache(maxsize=1)  # every batch of an epoch asks for it
def row_order(seed: int, epoch: int, num_rows: int) -> Tensor:
    """The order of the rows in an epoch, shape (num_rows,): a pure function of its arguments."""
    order: np.ndarray = stream(seed, Purpose.ROW_ORDER, epoch).permutation(num_rows)
    return torch.from_numpy(order)


@lru_cache(maxsize=1)
def window_order(seed: int, epoch: int, number: int, num_rows: int) -> Tensor:
    """The order of the rows in a window of an epoch, shape (num_rows,)."""
    order: np.ndarray = stream(seed, Purpose.ROW_ORDER, epoch, number).permutation(num_rows)
    return torch.from_numpy(order)
