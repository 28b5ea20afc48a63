"""Where are the rows while a run takes batches of them? In memory, or read anew at every epoch.

A batch is a pure function of (seed, epoch, position) in both. In memory an epoch's order is a permutation of all rows.
A table that is streamed has its groups in an order of their own at every epoch, one group after the other; that row of
rows is cut into windows, and each window is shuffled. Unshuffled both are the table's own order, with the same bits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.triangle import weight_of
from linreg_pl.data.loaders import EVALUATION_BATCH_SIZE, Batch
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.errors import InputError

WINDOW_BYTES = 32e6
"""Of the rows that a streamed table shuffles together; three windows are in memory at once."""

EVALUATION_BATCH_BYTES = 128e6
"""Where no gradient is taken, of the rows at a time; with fewer, the exact pass would merge more than it factors."""

MANY_ROWS = 2**18
"""From so many on their order does not fit into a processor's cache."""

WIDE = 16
"""Columns of float32 that fill a line of the processor's cache."""

MANY_VALUES = 2**22
"""From so many on a table does not fit into it."""

BYTES_BESIDE = 32
"""Of a row that is shuffled in memory: in two epochs its place, target and weight."""

P = ParamSpec("P")
T = TypeVar("T")


class Rows(ABC):
    """Rows of x (N, D), of y (N, K), and of weights (N, 1) where they have some."""

    num_rows: int
    evaluation_batch_size: int  # rows at a time that `in_order` gives

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """All rows in the table's order, some at a time, the last fewer."""

    @abstractmethod
    def batch(self, epoch: int, rows: slice) -> Batch:
        """Some consecutive rows of an epoch."""


class MemoryRows(Rows):
    """Rows that are held as tensors.

    Args:
        parts: x, y, and weights if there are any.
        shuffled_by: Seed of the rows' order at each epoch; None keeps the table's.
    """

    def __init__(self, parts: Batch, shuffled_by: int | None) -> None:
        self._parts = parts
        self._seed = shuffled_by
        self._epochs: dict[int, Future[Batch]] = {}  # this one, and the next
        self.num_rows = len(parts[0])
        self.evaluation_batch_size = evaluation_batch_size(sum(part.shape[1] for part in parts))

    def in_order(self) -> Iterator[Batch]:
        """See `Rows`."""
        for start in range(0, self.num_rows, self.evaluation_batch_size):
            yield tuple(part[start : start + self.evaluation_batch_size] for part in self._parts)

    def batch(self, epoch: int, rows: slice) -> Batch:
        """See `Rows`."""
        if self._seed is None:
            return tuple([part[rows] for part in self._parts])
        if self.num_rows < MANY_ROWS:
            return taken(self._parts, row_order(self._seed, epoch, self.num_rows)[rows])
        order, *ready = self._shuffled(self._seed, epoch)
        first = len(self._parts) - len(ready)
        return (*taken(self._parts[:first], order[rows]), *[part[rows] for part in ready])

    def _shuffled(self, seed: int, epoch: int) -> Batch:
        """The order, and in it the parts behind x that are one column; a thread makes the next epoch's meanwhile."""
        if not {epoch, epoch + 1} <= self._epochs.keys():
            coming = {each: self._epochs.get(each) for each in (epoch, epoch + 1)}
            self._epochs = {each: of or soon(self._shuffle, seed, each) for each, of in coming.items()}
        return self._epochs[epoch].result()

    def _shuffle(self, seed: int, epoch: int) -> Batch:
        order = row_order(seed, epoch, self.num_rows)
        return (order, *taken([part for part in self._parts[1:] if part.shape[1] == 1], order))


class StreamedRows(Rows):
    """Rows that are read when they are asked for; a few windows of them are in memory.

    Args:
        chunks: Reads the groups that it is given, in that order, or all, as chunks (n, sum of widths).
        counts: Rows in each group.
        widths: Columns of x, of y, and of the weights if there are any.
        shuffled_by: Seed of the order at each epoch; None keeps the table's.
    """

    def __init__(
        self,
        chunks: Callable[[Sequence[int] | None], Iterator[np.ndarray]],
        counts: Sequence[int],
        widths: Sequence[int],
        dtype: torch.dtype,
        shuffled_by: int | None,
    ) -> None:
        self._chunks, self._counts = chunks, np.array(counts, dtype=np.int64)
        self._widths, self._dtype = widths, dtype
        self._seed = shuffled_by
        self.num_rows = int(self._counts.sum())
        self.evaluation_batch_size = evaluation_batch_size(sum(widths))
        self._size = max(1, int(WINDOW_BYTES / 4 / sum(widths)))  # rows of a window
        self._next = (-1, 0)  # epoch and number of the window that `_windows` gives next
        self._windows: Iterator[Batch] = iter(())
        self._window: Batch = ()

    def in_order(self) -> Iterator[Batch]:
        """See `Rows`."""
        return ahead(self._blocks(self._chunks(None), self.evaluation_batch_size))

    def batch(self, epoch: int, rows: slice) -> Batch:
        """See `Rows`."""
        parts = []
        for number in range(rows.start // self._size, -(-min(rows.stop, self.num_rows) // self._size)):
            window = self._at(epoch, number)
            here = slice(max(rows.start - number * self._size, 0), rows.stop - number * self._size)
            if self._seed is not None:
                parts.append(taken(window, window_order(self._seed, epoch, number, len(window[0]))[here]))
            else:
                parts.append(tuple([part[here] for part in window]))
        return parts[0] if len(parts) == 1 else tuple(map(torch.cat, zip(*parts, strict=True)))

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
        return blocks(chunks, size, self._widths, self._dtype)


class RowsLoader:
    """All rows in order, as Lightning wants them to evaluate; `name` is what messages call them."""

    def __init__(self, rows: Rows, name: str) -> None:
        self._rows, self.name = rows, name
        self.num_rows = rows.num_rows

    def __len__(self) -> int:
        return -(-self._rows.num_rows // self._rows.evaluation_batch_size)

    def __iter__(self) -> Iterator[Batch]:
        total = 0.0
        for number, batch in enumerate(self._rows.in_order(), start=1):
            total += weight_of([batch])
            if number == len(self):  # Lightning asks for no more
                require_weight(self.name, total)
            yield batch


def require_weight(name: str, total: float) -> None:
    """Checks the total weight of some rows.

    Raises:
        InputError: it is 0, and there is no mean over these rows.
    """
    if total == 0:
        raise InputError(f"{name}: the weights of all rows are 0; give --data.weight another column")


def evaluation_batch_size(num_columns: int) -> int:
    """Rows at a time where no gradient is taken, of so many columns of float32."""
    return max(1, min(EVALUATION_BATCH_SIZE, int(EVALUATION_BATCH_BYTES / 4 / max(1, num_columns))))


def blocks(chunks: Iterator[np.ndarray], size: int, widths: Sequence[int], dtype: torch.dtype) -> Iterator[Batch]:
    """The rows of `chunks` (n, sum of widths), cut anew into parts (size, width) of these widths; the last are fewer.

    Filled by NumPy, as it runs beside the training: torch's threads would wait for each other, and spin meanwhile. In
    torch's memory, as sums over slices of another's may round otherwise from run to run.
    """
    filled, parts = 0, tuple[Tensor, ...]()
    ends = np.cumsum(widths)
    columns = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
    for values in chunks:
        start = 0
        while start < len(values):
            if not filled:
                parts = tuple(torch.empty(size, width, dtype=dtype) for width in widths)
            taken = min(size - filled, len(values) - start)
            for part, of in zip(parts, columns, strict=True):
                part.numpy()[filled : filled + taken] = values[start : start + taken, of]
            start, filled = start + taken, filled + taken
            if filled == size:
                yield parts
                filled = 0
    if filled:
        yield tuple(part[:filled] for part in parts)


def without_first(num_rows: int, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The chunks' rows but for the first so many."""
    for values in chunks:
        if num_rows < len(values):
            yield values[num_rows:]
        num_rows = max(0, num_rows - len(values))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while this one is used."""
    thread, end = ThreadPoolExecutor(1), object()
    try:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        # Not waited for: the garbage collector may close this while a thread begins, and would hold up both for ever.
        thread.shutdown(wait=False, cancel_futures=True)


def soon(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
    """Its result, from a thread of its own."""
    thread = ThreadPoolExecutor(1)
    coming = thread.submit(work, *arguments, **named)
    thread.shutdown(wait=False)  # of its waiting for more
    return coming


def taken(parts: Sequence[Tensor], chosen: Tensor) -> Batch:
    """Some rows of all."""
    return tuple([_gathered(part, chosen) for part in parts])


def _gathered(rows: Tensor, chosen: Tensor) -> Tensor:
    """Wide rows that lie in the memory as sums of one each, for which torch prefetches those to come; others by NumPy.

    Each takes about half of the time of torch's `index_select` there.
    """
    if rows.shape[1] >= WIDE and rows.numel() >= MANY_VALUES:
        return torch.embedding_bag(rows, chosen, torch.arange(len(chosen)))[0]
    # Into torch's memory: NumPy's begins at other addresses from run to run, and sums over it may round otherwise.
    into = torch.empty(len(chosen), rows.shape[1], dtype=rows.dtype)
    rows.numpy().take(chosen.numpy(), axis=0, out=into.numpy(), mode="wrap")  # "raise" would copy twice
    return into


@lru_cache(maxsize=1)  # every batch of an epoch asks for it
def row_order(seed: int, epoch: int, num_rows: int) -> Tensor:
    """The order of the rows in an epoch, shape (num_rows,): a pure function of its arguments.

    Many rows are sorted by random bits, with their own numbers in the last: a shuffle would leave the processor's cache
    at every row. All orders are as likely, but that two rows of the same random bits keep theirs: of 2^23 rows, one
    pair in 2^41.
    """
    random = stream(seed, Purpose.ROW_ORDER, epoch)
    if num_rows < MANY_ROWS:
        return torch.from_numpy(random.permutation(num_rows))
    numbers = np.uint64((1 << (num_rows - 1).bit_length()) - 1)
    keys = random.integers(2**64, size=num_rows, dtype=np.uint64)
    keys &= ~numbers
    keys |= np.arange(num_rows, dtype=np.uint64)
    keys.sort()
    keys &= numbers
    return torch.from_numpy(keys.view(np.int64))


@lru_cache(maxsize=1)
def window_order(seed: int, epoch: int, number: int, num_rows: int) -> Tensor:
    """The order of the rows in a window of an epoch, shape (num_rows,)."""
    order: np.ndarray = stream(seed, Purpose.ROW_ORDER, epoch, number).permutation(num_rows)
    return torch.from_numpy(order)
