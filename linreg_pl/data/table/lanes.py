"""Lanes: parts of a streamed table that are read side by side, so that a window has rows of the whole table.

A lane is some consecutive groups of rows. At every epoch, each lane's groups get a random order. Each window takes the
next rows of all lanes, of each as many as its share of the table. Lanes do not depend on the number of processes, so
windows do not either. Each process reads a consecutive part of the table, so all have about as many rows of a window.
"""

from collections.abc import Sequence

import numpy as np

from linreg_pl.core.world import divided
from linreg_pl.data.table.row_groups import ParquetTable

MOST_LANES = 16
"""More would help many processes only: one that reads a lane and a half has one or two lanes' rows in a window."""
LANES_BYTES = 128e6
"""Size limit of what all lanes hold: a scan each, as float64."""


class Lanes:
    """The windows of an epoch, and the rows that each takes from each lane.

    Args:
        group_rows: Number of rows in each group.
        count: Number of lanes.
        window_rows: Number of rows in a window; a few more where these can't be divided among several lanes.
    """

    def __init__(self, group_rows: np.ndarray, count: int, window_rows: int) -> None:
        self.groups = divided(group_rows.tolist(), count)
        rows = np.array([group_rows[lane.start : lane.stop].sum() for lane in self.groups])
        self.rows_in_window = -(-window_rows * rows // max(1, rows.sum()))  # of each lane
        self.num_windows = int((-(-rows // np.maximum(1, self.rows_in_window))).max())
        before = np.minimum(np.arange(self.num_windows + 1)[:, None] * self.rows_in_window, rows)
        self._starts = before.sum(axis=1)
        sizes = np.diff(before, axis=0)
        self.offsets = sizes.cumsum(axis=1) - sizes
        """Places in each window at which the rows of each lane begin: (num_windows, count)."""

    def span(self, window: int) -> tuple[int, int]:
        """Returns the first of an epoch's rows that is in a window, and the first after it."""
        start, stop = self._starts[[window, window + 1]].tolist()
        return start, stop

    def windows(self, start: int, stop: int) -> range:
        """Returns the windows that have some of these rows of an epoch."""
        first, last = np.searchsorted(self._starts, [start + 1, stop]).tolist()
        return range(first - 1, last)


class OwnRows:
    """The rows of one process among those of a lane, in the order of an epoch: a span for each group.

    Args:
        groups: The lane's groups, in this order.
        group_rows: Number of rows in each group of the table.
        own_rows: The numbers of the process's rows in the table.
        size: Number of the lane's rows in each window.
    """

    def __init__(self, groups: np.ndarray, group_rows: np.ndarray, own_rows: range, size: int) -> None:
        num_rows, first_rows = group_rows[groups], (group_rows.cumsum() - group_rows)[groups]
        bounds = (np.clip(bound - first_rows, 0, num_rows) for bound in (own_rows.start, own_rows.stop))
        self._starts, self._stops = (num_rows.cumsum() - num_rows + bound for bound in bounds)
        self._groups, self._size = groups, size

    def from_window(self, window: int) -> tuple[list[int], int]:
        """Returns the groups that have rows in this window or a later one, and how many rows of them to skip."""
        first = window * self._size
        left = self._stops > np.maximum(self._starts, first)
        skipped = first - self._starts[left][:1].sum()
        return self._groups[left].tolist(), max(0, int(skipped))

    def count(self, window: int) -> int:
        """Returns the number of rows in a window."""
        return sum(stop - start for start, stop in self._spans(window))

    def places(self, window: int) -> np.ndarray:
        """Returns the places of the rows among the lane's rows of a window, ascending."""
        return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop in self._spans(window))])

    def _spans(self, window: int) -> list[tuple[int, int]]:
        first, last = window * self._size, (window + 1) * self._size
        inside = slice(np.searchsorted(self._stops, first, side="right"), np.searchsorted(self._starts, last))
        starts, stops = (np.clip(each[inside], first, last) - first for each in (self._starts, self._stops))
        return list(zip(starts.tolist(), stops.tolist(), strict=True))


def number_of_lanes(group_rows: Sequence[int], num_columns: int) -> int:
    """Returns how many lanes a new run reads; it depends on the table only."""
    scan_bytes = 8 * num_columns * max([ParquetTable.scan_rows, *group_rows])
    return max(1, min(MOST_LANES, len(group_rows), int(LANES_BYTES / scan_bytes)))
