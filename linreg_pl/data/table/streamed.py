"""Rows of a table larger than memory: read anew at every epoch, and shuffled in windows.

At every epoch the table's groups of rows get a random order. The rows of all groups, one after the other, are cut into
windows, and each window is shuffled. Unshuffled, the rows keep the table's order, with the same bits as in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.scaling import Scaling
from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import prefetched
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.data.table.order import window_order
from linreg_pl.data.table.rows import Rows, evaluation_batch_size, rebatched, take_rows


class StreamedRows(Rows):
    """Rows that are read when they are needed; up to three windows of them are in memory.

    Args:
        read: Reads groups, in the order given, or all groups for None; yields arrays (n, sum of widths).
        group_rows: Number of rows in each group.
        widths: Number of columns of x, of y, and of the weights if there are any.
        shuffled_by: Seed of the row order of each epoch; None keeps the table's order.
        own_groups: The groups that this process reads, of all that the processes of its world share; None for all.
    """

    window_bytes = 32e6
    """Size of a window, as float32. Three windows are in memory at once."""

    def __init__(
        self,
        read: Callable[[Sequence[int] | None], Iterator[np.ndarray]],
        group_rows: Sequence[int],
        widths: Sequence[int],
        shuffled_by: int | None,
        own_groups: range | None = None,
    ) -> None:
        self._read, self._group_rows = read, np.array(group_rows, dtype=np.int64)
        self._own_groups = range(len(group_rows)) if own_groups is None else own_groups
        self.own_rows = range(*np.cumsum([0, *group_rows])[[self._own_groups.start, self._own_groups.stop]].tolist())
        self._widths = widths
        self._scaling: Scaling | None = None
        self._dtype: torch.dtype | None = None
        self._seed = shuffled_by
        self.num_rows = int(self._group_rows.sum())
        self.evaluation_batch_size = evaluation_batch_size(sum(widths))
        self._window_rows = max(1, int(self.window_bytes / 4 / sum(widths)))
        self._next = (-1, 0)  # epoch and number of the window that `_windows` yields next
        self._windows: Iterator[tuple[Batch, Tensor | None]] = iter(())
        self._window: tuple[Batch, Tensor | None] = ((), None)

    def prepare(self, scaling: Scaling | None, dtype: torch.dtype | None) -> None:
        """Sets how windows are prepared; see `Rows`."""
        self._scaling, self._dtype, self._next = scaling, dtype, (-1, 0)

    def restore(self) -> None:
        """Undoes `prepare`; see `Rows`."""
        self.prepare(None, None)

    def in_order(self) -> Iterator[Batch]:
        """Yields its own rows; see `Rows`."""
        return prefetched(rebatched(self._read(None), self.evaluation_batch_size, self._widths))

    def batch(self, epoch: int, rows: slice) -> Batch:
        """Returns rows of an epoch; see `Rows`."""
        pieces = []
        for number in range(rows.start // self._window_rows, -(-min(rows.stop, self.num_rows) // self._window_rows)):
            window, places = self._window_at(epoch, number)
            first = number * self._window_rows
            inside, size = (
                slice(max(rows.start - first, 0), rows.stop - first),
                min(self._window_rows, self.num_rows - first),
            )
            if self._seed is not None:
                order = window_order(self._seed, epoch, number, size)[inside]
                pieces.append(take_rows(window, order if places is None else among(places, order, size)))
            elif places is None:
                pieces.append(tuple([tensor[inside] for tensor in window]))
            else:
                pieces.append(take_rows(window, among(places, torch.arange(size)[inside], size)))
        return pieces[0] if len(pieces) == 1 else tuple(map(torch.cat, zip(*pieces, strict=True)))

    def _window_at(self, epoch: int, number: int) -> tuple[Batch, Tensor | None]:
        """Returns a window as `_windows_from` yields it; continues reading if it is the next one, else starts there."""
        if (epoch, number + 1) == self._next:
            return self._window
        if (epoch, number) != self._next:
            self._windows = prefetched(self._windows_from(epoch, number))
        self._window = next(self._windows)
        self._next = (epoch, number + 1)
        return self._window

    def _windows_from(self, epoch: int, number: int) -> Iterator[tuple[Batch, Tensor | None]]:
        """Yields an epoch's windows from this number on, without reading the groups before it.

        Each is the rows of this process, with their places in the window, (n,), ascending; None for all rows.
        """
        groups = np.arange(len(self._group_rows))
        if self._seed is not None:
            groups = stream(self._seed, Purpose.GROUP_ORDER, epoch).permutation(groups)
        group_ends = self._group_rows[groups].cumsum()
        start = number * self._window_rows
        first = int(np.searchsorted(group_ends, start, side="right"))
        skipped = start - (int(group_ends[first - 1]) if first else 0)
        if len(self._own_groups) == len(groups):
            chunks = without_first(skipped, self._read(groups[first:].tolist()))
            whole = rebatched(chunks, self._window_rows, self._widths, self._dtype, self._scaling)
            yield from ((window, None) for window in whole)
            return
        stops = group_ends[first:]
        starts = np.maximum(stops - self._group_rows[groups[first:]], start)
        is_own = np.isin(groups[first:], self._own_groups)
        chunks = self._read(groups[first:][is_own].tolist())
        chunks = without_first(skipped if is_own[0] else 0, chunks)
        windows = range(number, -(-self.num_rows // self._window_rows))
        own_places = partial(self._places, starts[is_own], stops[is_own])
        sizes = filter(None, (len(own_places(window)) for window in windows))
        batches = rebatched(chunks, sizes, self._widths, self._dtype, self._scaling)
        nothing = tuple(torch.empty(0, width, dtype=self._dtype or torch.float64) for width in self._widths)
        for window in windows:
            places = own_places(window)
            yield next(batches) if len(places) else nothing, places

    def _places(self, starts: np.ndarray, stops: np.ndarray, number: int) -> Tensor:
        """Returns the places in a window of rows from `starts` to `stops`, numbered in the order of groups."""
        first, last = number * self._window_rows, (number + 1) * self._window_rows
        spans = slice(np.searchsorted(stops, first, side="right"), np.searchsorted(starts, last))
        pieces = zip(starts[spans].tolist(), stops[spans].tolist(), strict=True)
        return torch.cat([torch.arange(0), *(torch.arange(max(a, first), min(b, last)) - first for a, b in pieces)])


def among(places: Tensor, order: Tensor, size: int) -> Tensor:
    """Returns the indices, in some places of a window of `size` rows, of those that `order` lists, in its order."""
    indices = torch.full((size,), -1)
    indices[places] = torch.arange(len(places))
    chosen = indices[order]
    return chosen[chosen >= 0]


def without_first(num_rows: int, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the rows of the chunks except the first `num_rows`."""
    for values in chunks:
        if num_rows < len(values):
            yield values[num_rows:]
        num_rows = max(0, num_rows - len(values))
