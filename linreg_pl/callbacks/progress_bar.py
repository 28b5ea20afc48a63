"""Draws one progress bar for the whole run: epochs, loss, steps a second, time left.

Before the run, each long pass over the rows has a bar of its own.
"""

import math
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, Timer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from linreg_pl.callbacks.pass_bar import PassBar
from linreg_pl.training.due import has_end


class RunBar(PassBar, ProgressBar):
    """Shows the run's epochs from the first to the last, below the lines that are printed meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._next_update = 0.0

    def disable(self) -> None:
        """Stops drawing; Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Starts drawing again."""
        self._enabled = True

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
