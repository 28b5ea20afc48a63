"""One progress bar for the whole run: epochs, loss, steps a second, time left.

Before it, one for each pass over the rows that takes its time: rows so far, of how many.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SECONDS_BETWEEN_UPDATES = 0.1
"""Drawing takes milliseconds, a step a fraction of one."""


SECONDS_BEFORE_A_PASS_SHOWS = 1.0
"""What is over sooner needs no bar."""


class RunBar(ProgressBar):
    """Counts the run's epochs from the first to the last; what is printed meanwhile scrolls by above it."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._next_update = 0.0
        self._passing = False

    def disable(self) -> None:
        """Draws no more: Lightning asks for it on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Draws again."""
        self._enabled = True

    def watch(self, parts: Iterable[T], num_rows: int | None, size: Callable[[Any], int]) -> Iterator[T]:
        """The same parts, with a bar while they take longer, and the run's own is not there; see `Watch`."""
        if self._passing or self._progress is not None:  # a pass that reads rows for another is that one's matter
            yield from parts
            return
        self._passing, done = True, 0
        next_update = time.monotonic() + SECONDS_BEFORE_A_PASS_SHOWS
        columns = TextColumn("{task.description}"), BarColumn(bar_width=None), TimeRemainingColumn(compact=True)
        progress = Progress(*columns, auto_refresh=False, transient=True)
        task = progress.add_task("", total=num_rows)
        try:
            for part in parts:
                done += size(part)
                if done == num_rows:  # whoever counts them asks for no more
                    progress.stop()
                elif time.monotonic() >= next_update:
                    next_update = time.monotonic() + SECONDS_BETWEEN_UPDATES
                    progress.start()
                    of_all = "" if num_rows is None else f" of {num_rows:,}"
                    progress.update(task, completed=done, description=f"{done:,}{of_all} rows", refresh=True)
                yield part
        finally:
            progress.stop()
            self._passing = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the bar, where a resumed run stands."""
        if not self._enabled:
            return
        self._first_step, self._start = trainer.global_step, time.monotonic()
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[steps_per_second]:,.0f} steps/s"),
            TimeRemainingColumn(compact=True),
            auto_refresh=False,
            transient=True,
        )
        total_steps = trainer.estimated_stepping_batches
        self._task = self._progress.add_task(
            "fit",
            total=total_steps,
            completed=self._first_step,
            epoch=self._first_step // int(trainer.num_training_batches),
            epochs=int(total_steps // trainer.num_training_batches),
            loss="-",
            steps_per_second=0.0,
        )
        self._progress.start()

    def next_due(self, trainer: Trainer, step: int) -> float:
        """None: the bar moves with the clock."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar, a few times a second."""
        now = time.monotonic()
        if self._progress is None or now < self._next_update:
            return
        self._next_update = now + SECONDS_BETWEEN_UPDATES
        step = trainer.global_step
        self._progress.update(
            self._task,
            completed=step,
            epoch=step // int(trainer.num_training_batches),
            loss=f"{outputs['loss'].item():.4g}",
            steps_per_second=(step - self._first_step) / max(now - self._start, 1e-9),
            refresh=True,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the bar away."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Takes the bar away, so that what is said next stands alone."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
