"""Rows in memory: an epoch's order is a permutation of all of them."""

from collections.abc import Iterator
from concurrent.futures import Future

from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import in_thread
from linreg_pl.data.table.order import LARGE_TABLE_ROWS, row_order
from linreg_pl.data.table.rows import Rows, evaluation_batch_size, take_rows


class MemoryRows(Rows):
    """Rows that are tensors in memory.

    Args:
        tensors: x, y, and the weights if there are any.
        shuffled_by: Seed of the row order of each epoch; None keeps the table's order.
    """

    shuffle_bytes_per_row = 32
    """Memory that shuffling a large table adds: a row's number, target and weight, for two epochs."""

    def __init__(self, tensors: Batch, shuffled_by: int | None) -> None:
        self._tensors = tensors
        self._seed = shuffled_by
        self._shuffled_epochs: dict[int, Future[Batch]] = {}  # this epoch and the next
        self.num_rows = len(tensors[0])
        self.evaluation_batch_size = evaluation_batch_size(sum(tensor.shape[1] for tensor in tensors))

    def in_order(self) -> Iterator[Batch]:
        """Yields all rows; see `Rows`."""
        for start in range(0, self.num_rows, self.evaluation_batch_size):
            yield tuple(tensor[start : start + self.evaluation_batch_size] for tensor in self._tensors)

    def batch(self, epoch: int, rows: slice) -> Batch:
        """Returns rows of an epoch; see `Rows`."""
        if self._seed is None:
            return tuple([tensor[rows] for tensor in self._tensors])
        if self.num_rows < LARGE_TABLE_ROWS:
            return take_rows(self._tensors, row_order(self._seed, epoch, self.num_rows)[rows])
        order, *shuffled = self._shuffled(self._seed, epoch)
        first_shuffled = len(self._tensors) - len(shuffled)
        return (*take_rows(self._tensors[:first_shuffled], order[rows]), *[tensor[rows] for tensor in shuffled])

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
