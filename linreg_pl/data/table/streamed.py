"""Rows of a table larger than memory: read anew at every epoch, and shuffled in windows.

At every epoch the groups of each lane of the table get a random order. The next rows of all lanes are a window, which
is shuffled; see `lanes`. Unshuffled, the rows keep the table's order, with the same bits as in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from typing import TypeAlias

import numpy as np
import torch

from linreg_pl.core.scaling import Scaling
from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import prefetched
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.data.table.lanes import Lanes, OwnRows, number_of_lanes
from linreg_pl.data.table.order import window_order
from linreg_pl.data.table.rows import Rows, evaluation_batch_size, rebatched

Window: TypeAlias = tuple[Batch, np.ndarray | None]
"""The rows of a process in a window, and their places in it, ascending; None for all rows."""


class StreamedRows(Rows):
    """Rows that are read when they are needed, by a thread for each lane; up to three windows of them are in memory.

    Args:
        read: Reads groups, in the order given, or all groups for None; yields arrays (n, sum of widths).
        group_rows: Number of rows in each group.
        widths: Number of columns of x, of y, and of the weights if there are any.
        shuffled_by: Seed of the row order of each epoch; None keeps the table's order.
        own_rows: The numbers of the rows that this process reads, of all that the processes of its world share; None
            for all.
        lanes: Number of lanes; None for that of a new run. Unshuffled rows always have one.
    """

    window_bytes = 32e6
    """Size of a window, as float32. Three windows are in memory at once."""

    def __init__(
        self,
        read: Callable[[Sequence[int] | None], Iterator[np.ndarray]],
        group_rows: Sequence[int],
        widths: Sequence[int],
        shuffled_by: int | None,
        own_rows: range | None = None,
        lanes: int | None = None,
    ) -> None:
        self._read, self._group_rows = read, np.array(group_rows, dtype=np.int64)
        self._widths = widths
        self._scaling: Scaling | None = None
        self._dtype: torch.dtype | None = None
        self._seed = shuffled_by
        self.num_rows = int(self._group_rows.sum())
        self.own_rows = range(self.num_rows) if own_rows is None else own_rows
        self.evaluation_batch_size = evaluation_batch_size(sum(widths))
        self.num_lanes = 1 if shuffled_by is None else int(lanes or number_of_lanes(group_rows, sum(widths)))
        self._lanes = Lanes(self._group_rows, self.num_lanes, max(1, int(self.window_bytes / 4 / sum(widths))))
        self._next = (-1, 0)  # epoch and number of the window that `_windows` yields next
        self._windows: Iterator[Window] = iter(())
        self._window: Window = ((), None)

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
        for number in self._lanes.windows(rows.start, min(rows.stop, self.num_rows)):
            window, places = self._window_at(epoch, number)
            first, last = self._lanes.span(number)
            start, stop = max(rows.start - first, 0), min(rows.stop, last) - first
            if places is not None:
                start, stop = np.searchsorted(places, [start, stop]).tolist()
            pieces.append(tuple([tensor[start:stop] for tensor in window]))
        return pieces[0] if len(pieces) == 1 else tuple(map(torch.cat, zip(*pieces, strict=True)))

    def _window_at(self, epoch: int, number: int) -> Window:
        """Returns a window as `_windows_from` yields it; continues reading if it is the next one, else starts there."""
        if (epoch, number + 1) == self._next:
            return self._window
        if (epoch, number) != self._next:
            self._windows = prefetched(self._windows_from(epoch, number))
        self._window = next(self._windows)
        self._next = (epoch, number + 1)
        return self._window

    def _windows_from(self, epoch: int, number: int) -> Iterator[Window]:
        """Yields an epoch's windows from this number on, shuffled, without reading the groups before it.

        Each is the rows of this process, with their places in the window, (n,), ascending; None for all rows.
        """
        orders = [np.array(groups, dtype=np.int64) for groups in self._lanes.groups]
        if self._seed is not None:
            random = stream(self._seed, Purpose.GROUP_ORDER, epoch)
            orders = [random.permutation(groups) for groups in orders]
        lanes = [
            OwnRows(groups, self._group_rows, self.own_rows, size)
            for groups, size in zip(orders, self._lanes.rows_in_window.tolist(), strict=True)
        ]
        windows = range(number, self._lanes.num_windows)
        chunks = interleaved(
            [prefetched(self._rows_from(number, lane)) for lane in lanes],
            ([lane.count(window) for lane in lanes] for window in windows),
        )
        sizes = filter(None, (sum(lane.count(window) for lane in lanes) for window in windows))
        of_windows, of_batches = tee(self._places(lanes, epoch, window) for window in windows)
        has_all = len(self.own_rows) == self.num_rows
        ranks = (places if has_all else inverse(np.argsort(places)) for places in of_batches if len(places))
        shuffled = None if self._seed is None else ranks
        batches = rebatched(chunks, sizes, self._widths, self._dtype, self._scaling, shuffled)
        nothing = tuple(torch.empty(0, width, dtype=self._dtype or torch.float64) for width in self._widths)
        for places in of_windows:
            yield next(batches) if len(places) else nothing, None if has_all else np.sort(places)

    def _places(self, lanes: Sequence[OwnRows], epoch: int, window: int) -> np.ndarray:
        """Returns the places in a window of this process's rows, in the order in which they are read: (n,)."""
        offsets = self._lanes.offsets[window].tolist()
        of_lanes = [lane.places(window) + offset for lane, offset in zip(lanes, offsets, strict=True)]
        places: np.ndarray = np.concatenate(of_lanes)
        if self._seed is None:
            return places
        first, last = self._lanes.span(window)
        places_of = inverse(window_order(self._seed, epoch, window, last - first))
        own: np.ndarray = places_of[places]
        return own

    def _rows_from(self, number: int, lane: OwnRows) -> Iterator[np.ndarray]:
        """Yields this process's rows of a lane from this window on."""
        groups, skipped = lane.from_window(number)
        return without_first(skipped, self._read(groups))


def inverse(order: np.ndarray) -> np.ndarray:
    """Returns the place of each number in an order of all numbers from 0: (n,)."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def without_first(num_rows: int, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the rows of the chunks except the first `num_rows`."""
    for values in chunks:
        if num_rows < len(values):
            yield values[num_rows:]
        num_rows = max(0, num_rows - len(values))


def interleaved(lanes: Sequence[Iterator[np.ndarray]], counts: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
    """Yields the next rows of each lane in turn, as many as `counts` says for each round."""
    left = [np.empty((0, 0)) for _ in lanes]
    for count_of_lane in counts:
        for index, count in enumerate(count_of_lane):
            while count:
                if not len(left[index]):
                    left[index] = next(lanes[index])
                rows, left[index] = left[index][:count], left[index][count:]
                count -= len(rows)
                yield rows
