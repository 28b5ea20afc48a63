"""Rows as numbers of their distinct rows of features, in memory or streamed; x is made when it is needed."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import prefetched
from linreg_pl.data.table.memory import MemoryRows
from linreg_pl.data.table.rows import rebatched
from linreg_pl.data.table.streamed import StreamedRows


class CollapsedRows(MemoryRows):
    """Rows that are held as the numbers of their distinct rows of features, from which x is made when it is needed.

    Args:
        kept: Reads all rows: the numbers of their distinct rows, and y with the weights.
        features: Returns x of distinct rows by their numbers.
        widths: As in `MemoryRows`, like the next two.
        shuffled_by: Likewise.
        world: Likewise.
    """

    def __init__(
        self,
        kept: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]],
        features: Callable[[np.ndarray], np.ndarray],
        widths: tuple[int, ...],
        shuffled_by: int | None,
        world: World = ALONE,
    ) -> None:
        parts = [(groups.astype(np.int32, copy=False), others) for groups, others in kept()]
        parts = parts or [(np.zeros(0, np.int32), np.zeros((0, sum(widths[1:]))))]
        self._distinct, self._others = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self._features = features
        super().__init__(lambda size: self._expanded(size), widths, shuffled_by, world)

    @property
    def _num_read(self) -> int:
        return len(self._distinct)

    def restore(self) -> None:
        """Drops the rows that were prepared; see `Rows`."""
        self._tensors, self._shuffled_epochs = (), {}

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Makes all rows, and prepares them; see `Rows`."""
        self._chunks = list(self._read(self.evaluation_batch_size))
        super().prepare(scaling, dtype)

    def in_order(self) -> Iterator[Batch]:
        """Yields all rows, as they were read; see `Rows`."""
        return self._expanded(self.evaluation_batch_size)

    def _expanded(self, size: int) -> Iterator[Batch]:
        for start in range(0, len(self._distinct), size):
            yield self._made(slice(start, start + size))

    def _from_chunks(self, rows: Tensor) -> Batch:
        """Returns rows by their numbers, as they were read."""
        return self._made(rows.numpy())

    def _made(self, rows: slice | np.ndarray) -> Batch:
        x, others = made(self._features, self._distinct[rows]), self._others[rows]
        kind = torch.from_numpy(np.empty(0, np.result_type(x, others))).dtype
        result = tuple(torch.empty(len(x), width, dtype=kind) for width in self._widths)
        result[0].numpy()[:] = x
        for tensor, part in zip(result[1:], np.split(others, self._widths[1:-1], axis=1), strict=True):
            tensor.numpy()[:] = part
        return result


class CollapsedStream(StreamedRows):
    """Streamed rows whose windows hold the numbers of distinct rows of features; x is made of those of a batch alone.

    Args:
        kept: Reads groups; yields the numbers of the rows in the table, those of their distinct rows, and y with the
            weights.
        features: Returns x of distinct rows by their numbers.
        rest: As in `StreamedRows`.
    """

    def __init__(
        self,
        kept: Callable[[Sequence[int] | None], Iterator[tuple[np.ndarray, ...]]],
        features: Callable[[np.ndarray], np.ndarray],
        *rest: Any,
    ) -> None:
        super().__init__(*rest)
        self._whole = self._read, self._widths
        self._kept, self._features = kept, features
        self.restore()

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype | None) -> None:
        """Sets how windows of all columns are prepared; see `Rows`."""
        (self._read, self._widths), self._is_prepared = self._whole, True
        super().prepare(scaling, dtype)

    def restore(self) -> None:
        """Lets windows hold the numbers of distinct rows; see `Rows`."""
        super().restore()
        self._read, self._widths, self._is_prepared = self._numbers, (1, *self._whole[1][1:]), False

    def _numbers(self, groups: Sequence[int] | None) -> Iterator[np.ndarray]:
        return (np.column_stack([distinct, others]) for _, distinct, others in self._kept(groups))

    def in_order(self) -> Iterator[Batch]:
        """Yields its own rows; see `Rows`."""
        read, widths = self._whole
        return prefetched(rebatched(read(None), self.evaluation_batch_size, widths))

    def batch(self, epoch: int, rows: slice) -> Batch:
        """Returns rows of an epoch; see `Rows`."""
        batch = super().batch(epoch, rows)
        if self._is_prepared:
            return batch
        x = torch.empty(len(batch[0]), self._whole[1][0], dtype=torch.float64)
        x.numpy()[:] = made(self._features, batch[0][:, 0].numpy().astype(np.intp))
        return x, *batch[1:]


def made(features: Callable[[np.ndarray], np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Returns x of rows by the numbers of their distinct rows, (n, D), each of which is made once."""
    distinct, places = np.unique(numbers, return_inverse=True)
    return features(distinct).take(places, axis=0)
