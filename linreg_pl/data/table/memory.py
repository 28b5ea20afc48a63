"""Rows in memory: an epoch's order is a permutation of all of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import in_thread
from linreg_pl.data.table.order import LARGE_TABLE_ROWS, row_order
from linreg_pl.data.table.rows import Rows, evaluation_batch_size, free_bytes, standardized, take_rows


class MemoryRows(Rows):
    """Rows that are held in memory: as they are read, until they are prepared for training.

    Args:
        read: Reads all rows: batches of so many rows, of x, y, and the weights if there are any.
        widths: Number of columns of x, of y, and of the weights if there are any.
        shuffled_by: Seed of the row order of each epoch; None keeps the table's order.
        world: The processes that share the rows; each holds those that it reads.
    """

    bytes_per_value = 8
    shuffle_bytes_per_row = 32
    """Memory that shuffling a large table adds: a row's number, target and weight, for two epochs."""

    def __init__(
        self,
        read: Callable[[int], Iterator[Batch]],
        widths: tuple[int, ...],
        shuffled_by: int | None,
        world: World = ALONE,
    ) -> None:
        self.evaluation_batch_size = evaluation_batch_size(sum(widths))
        self._read = read
        self._seed, self._widths = shuffled_by, widths
        self._chunks: list[Batch] = []  # in the user's units; empty once the rows are prepared
        self._tensors: Batch = ()  # prepared
        self._far: Batch = ()  # the same on a device, if there is room
        self._far_order: tuple[int, Tensor] | None = None  # an epoch, and its order there
        self._shuffled_epochs: dict[int, Future[Batch]] = {}  # this epoch and the next
        self._own_order: tuple[int, Tensor, Tensor] | None = None  # an epoch, its own rows' places, and their numbers
        self.restore()
        counts = world.gathered(self._num_read)
        self.num_rows, before = sum(counts), sum(counts[: world.rank])
        self.own_rows = range(before, before + counts[world.rank])

    @property
    def _num_read(self) -> int:
        return sum(len(x) for x, *_ in self._chunks)

    def restore(self) -> None:
        """Reads the rows again if they were prepared; see `Rows`."""
        if not self._chunks:
            self._tensors, self._shuffled_epochs, self._far = (), {}, ()
            self._chunks = list(self._read(self.evaluation_batch_size))

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Replaces each chunk by its prepared rows, so that few are held twice; see `Rows`."""
        self.restore()
        tensors = [torch.empty(len(self.own_rows), width, dtype=dtype) for width in self._widths]
        self._chunks.reverse()
        start, cached = 0, 2048  # rows, whose float64 copies stay in the processor's cache
        while self._chunks:
            for pieces in zip(*(torch.split(part, cached) for part in self._chunks.pop()), strict=True):
                prepared = standardized([piece.numpy() for piece in pieces], scaling)
                for tensor, part in zip(tensors, prepared, strict=True):
                    tensor.numpy()[start : start + len(part)] = part
                start += len(prepared[0])
        self._tensors = tuple(tensors)

    def hold_on(self, device: torch.device) -> None:
        """Holds prepared rows on a device, if they take at most half of its free memory; see `Rows`."""
        fits = 0 < sum(tensor.nbytes for tensor in self._tensors) <= free_bytes(device) / 2
        self._far, self._far_order = tuple(tensor.to(device) for tensor in self._tensors) if fits else (), None

    def in_order(self) -> Iterator[Batch]:
        """Yields all rows, as they were read; see `Rows`."""
        if self._tensors:
            raise RuntimeError("the rows are prepared for training: call restore before reading them")
        yield from self._chunks

    def batch(self, epoch: int, rows: slice) -> Batch:
        """Returns rows of an epoch; see `Rows`."""
        if not self._tensors:
            order = torch.arange(self.num_rows) if self._seed is None else row_order(self._seed, epoch, self.num_rows)
            return self._from_chunks(self._own(order[rows]))
        if self._far:
            return self._batch_there(epoch, rows)
        if len(self.own_rows) < self.num_rows:
            return take_rows(self._tensors, self._own_in_epoch(epoch, rows))
        if self._seed is None:
            return tuple([tensor[rows] for tensor in self._tensors])
        if self.num_rows < LARGE_TABLE_ROWS:
            return take_rows(self._tensors, row_order(self._seed, epoch, self.num_rows)[rows])
        order, *shuffled = self._shuffled(self._seed, epoch)
        first_shuffled = len(self._tensors) - len(shuffled)
        return (*take_rows(self._tensors[:first_shuffled], order[rows]), *[tensor[rows] for tensor in shuffled])

    def _batch_there(self, epoch: int, rows: slice) -> Batch:
        """Returns rows of an epoch, made on the device."""
        if self._seed is None:
            return tuple([tensor[rows] for tensor in self._far])
        if self._far_order is None or self._far_order[0] != epoch:
            self._far_order = epoch, row_order(self._seed, epoch, self.num_rows).to(self._far[0].device)
        numbers = self._far_order[1][rows]
        return tuple([tensor.index_select(0, numbers) for tensor in self._far])

    def _own(self, rows: Tensor) -> Tensor:
        """Returns which of these rows this process has, by their numbers there."""
        if len(self.own_rows) == self.num_rows:
            return rows
        return rows[(rows >= self.own_rows.start) & (rows < self.own_rows.stop)] - self.own_rows.start

    def _own_in_epoch(self, epoch: int, rows: slice) -> Tensor:
        """Returns which of an epoch's rows this process has, by their numbers there."""
        if self._own_order is None or self._own_order[0] != epoch:
            order = torch.arange(self.num_rows) if self._seed is None else row_order(self._seed, epoch, self.num_rows)
            is_own = (order >= self.own_rows.start) & (order < self.own_rows.stop)
            self._own_order = epoch, is_own.nonzero().flatten(), order[is_own] - self.own_rows.start
        _, places, numbers = self._own_order
        first, last = torch.searchsorted(places, torch.tensor([rows.start, rows.stop])).tolist()
        return numbers[first:last]

    def _from_chunks(self, rows: Tensor) -> Batch:
        """Returns rows by their numbers, as they were read.

        By NumPy, on one thread: torch's threads would wait for each other at each of many short copies.
        """
        kinds = [part.dtype for part in self._chunks[0]] if self._chunks else [torch.float64] * len(self._widths)
        result = tuple(
            torch.empty(len(rows), width, dtype=kind) for width, kind in zip(self._widths, kinds, strict=True)
        )
        numbers, places = np.divmod(rows.numpy(), self.evaluation_batch_size)
        for number in np.unique(numbers):
            chosen = np.flatnonzero(numbers == number)
            for tensor, part in zip(result, self._chunks[number], strict=True):
                tensor.numpy()[chosen] = part.numpy()[places[chosen]]
        return result

    def _shuffled(self, seed: int, epoch: int) -> Batch:
        """Returns the order, and y and weights of one column in that order; a thread prepares the next epoch."""
        if not {epoch, epoch + 1} <= self._shuffled_epochs.keys():
            known = {each: self._shuffled_epochs.get(each) for each in (epoch, epoch + 1)}
            self._shuffled_epochs = {
                each: future or in_thread(self._shuffle, seed, each) for each, future in known.items()
            }
        return self._shuffled_epochs[epoch].result()

    def _shuffle(self, seed: int, epoch: int) -> Batch:
        order = row_order(seed, epoch, self.num_rows)
        return (order, *take_rows([tensor for tensor in self._tensors[1:] if tensor.shape[1] == 1], order))
