"""Draws a progress bar for each long pass over the rows: rows read, and how many there are."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from linreg_pl.data.progress import Item


class PassBar:
    """Shows a bar during passes that take long."""

    seconds_between_updates = 0.1
    """Drawing takes milliseconds, a step a fraction of one."""
    seconds_before_pass_shows = 1.0
    """A shorter pass needs no bar."""
    _progress: Progress | None = None  # another bar, which is shown already
    _is_in_pass = False

    def watch(self, parts: Iterable[Item], num_rows: int | None, size: Callable[[Any], int]) -> Iterator[Item]:
        """Yields the same parts, and draws a bar if they take long and the run's own bar is not shown; see `Watch`."""
        if self._is_in_pass or self._progress is not None:  # one bar is shown already
            yield from parts
            return
        self._is_in_pass, done = True, 0
        next_update = time.monotonic() + self.seconds_before_pass_shows
        columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn(compact=True)
        progress = Progress(*columns, auto_refresh=False, transient=True)
        task = progress.add_task("", total=num_rows)
        try:
            for part in parts:
                done += size(part)
                if done == num_rows:  # the caller may ask for no more parts
                    progress.stop()
                elif time.monotonic() >= next_update:
                    next_update = time.monotonic() + self.seconds_between_updates
                    progress.start()
                    total = "" if num_rows is None else f" of {num_rows:,}"
                    progress.update(task, completed=done, description=f"{done:,}{total} rows", refresh=True)
                yield part
        finally:
            progress.stop()
            self._is_in_pass = False
