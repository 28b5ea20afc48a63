"""Draws one progress bar for the whole run: epochs, loss, steps a second, time left.

Before the run, each long pass over the rows has a bar of its own: rows read, and how many there are.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from linreg_pl.data.progress import Item
from linreg_pl.training.due import has_end


class RunBar(ProgressBar):
    """Shows the run's epochs from the first to the last, below the lines that are printed meanwhile."""

    seconds_between_updates = 0.1
    """Drawing takes milliseconds, a step a fraction of one."""
    seconds_before_pass_shows = 1.0
    """A shorter pass needs no bar."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._next_update = 0.0
        self._is_in_pass = False

    def disable(self) -> None:
        """Stops drawing; Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Starts drawing again."""
        self._enabled = True

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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the bar, from the step at which the run starts or resumes."""
        if not self._enabled:
            return
        self._first_step, self._start = trainer.global_step, time.monotonic()
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}{task.fields[of_epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[steps_per_second]:,.0f} steps/s"),
            TimeRemainingColumn(compact=True),
            auto_refresh=False,
            transient=True,
        )
        completed, total = position(trainer)
        steps_per_epoch = int(trainer.num_training_batches)
        self._task = self._progress.add_task(
            "fit",
            total=total,
            completed=int(completed),
            epoch=self._first_step // steps_per_epoch,
            of_epochs=f"/{int(trainer.estimated_stepping_batches) // steps_per_epoch}" if has_end(trainer) else "",
            loss="-",
            steps_per_second=0.0,
        )
        self._progress.start()

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns infinity: the bar is updated by the clock."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the bar, a few times a second."""
        time_now = time.monotonic()
        if self._progress is None or time_now < self._next_update:
            return
        self._next_update = time_now + self.seconds_between_updates
        step, (completed, _) = trainer.global_step, position(trainer)
        self._progress.update(
            self._task,
            completed=completed,
            epoch=step // int(trainer.num_training_batches),
            loss=f"{outputs['loss'].item():.4g}",
            steps_per_second=(step - self._first_step) / max(time_now - self._start, 1e-9),
            refresh=True,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the bar."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Removes the bar, so that the error message is on a line of its own."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def position(trainer: Trainer) -> tuple[float, float | None]:
    """Returns how far the run is and how long it is: in steps, or without an end in seconds of `max_time`, if any."""
    if has_end(trainer):
        return trainer.global_step, trainer.estimated_stepping_batches
    callbacks = trainer.callbacks  # type: ignore[attr-defined]  # Lightning sets it with setattr
    timer = next((callback for callback in callbacks if isinstance(callback, Timer)), None)
    elapsed, left = (0.0, None) if timer is None else (timer.time_elapsed(), timer.time_remaining())
    return elapsed, None if left is None else elapsed + left
