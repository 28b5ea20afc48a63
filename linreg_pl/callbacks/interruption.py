"""Saves the run at Ctrl-C and SIGTERM.

While the run trains, the current step ends, the run is saved, and the program exits with 130 or 143. It exits at once
at a second Ctrl-C.
"""

import math
import signal
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.callbacks.run_end import has_ended
from linreg_pl.signals import SIGNALS, Interrupted, leave_at_signals
from linreg_pl.training.due import validation_follows
from linreg_pl.training.executions import Executions


class Interruption(Checkpoint):
    """Saves the run at the end of the step in which a signal came, and raises `Interrupted`.

    A `Checkpoint` to Lightning, so that it is called after all other callbacks, which have then handled this step.

    Args:
        checkpoints: Saves the run.
        executions: Is told to end, so that the step under way is its last.
    """

    def __init__(self, checkpoints: EpochCheckpoints, executions: Executions) -> None:
        self.checkpoints = checkpoints
        self.executions = executions
        self.received: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes over the signals. Lightning's own handlers save nothing, and exit with 0."""
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise Interrupted(number)
        self.end(number)

    def end(self, number: int) -> None:
        """Lets the run end after the step under way, as at this signal."""
        self.received = number if self.received is None else self.received
        self.executions.end()

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns infinity: a signal ends the execution."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and exits if a signal came and no validation follows."""
        if not validation_follows(trainer):
            self._exit_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves and exits if a signal came before or during this validation."""
        if trainer.state.fn == "fit":
            self._exit_if_asked(trainer)

    def _exit_if_asked(self, trainer: Trainer) -> None:
        if self.received is not None and not has_ended(trainer):  # the last step ends the run anyway
            self.checkpoints.save(trainer)
            raise Interrupted(self.received)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exits at once from here on: the end is saved."""
        leave_at_signals()
