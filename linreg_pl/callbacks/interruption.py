"""What happens at Ctrl-C and at SIGTERM?

While training, the step that is under way ends, the run is saved, and the program leaves with 130 or 143. Before and
after, there is nothing to save, and it leaves at once; so it does at a second Ctrl-C.
"""

import math
import signal
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.training.due import has_ended, validation_follows
from linreg_pl.training.executions import Executions

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The program was asked to leave; whatever could be saved is saved.

    No `Exception`, as KeyboardInterrupt is none: what catches all errors must not swallow it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


def leave_at_once(number: int, frame: FrameType | None) -> None:
    """The signal's handler where there is nothing to save."""
    raise Interrupted(number)


def leave_at_signals() -> None:
    """Leaves with the right code at a signal that comes before training."""
    for number in SIGNALS:
        signal.signal(number, leave_at_once)


class Interruption(Checkpoint):
    """Turns a signal into a checkpoint at the step's end, and `Interrupted`.

    A `Checkpoint` to Lightning, so that it comes after all other callbacks: what they do at this step is done.
    """

    def __init__(self, checkpoints: EpochCheckpoints, executions: Executions) -> None:
        self.checkpoints = checkpoints
        self.executions = executions
        self.received: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on there is something to save. Lightning's own way out would save nothing, and exit with 0."""
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise Interrupted(number)
        self.received = number
        self.executions.end()

    def next_due(self, trainer: Trainer, step: int) -> float:
        """None: a signal ends the execution."""
        return math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and leaves, where a signal came."""
        if not validation_follows(trainer):
            self._leave_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, where the step was followed by a validation."""
        if trainer.state.fn == "fit":
            self._leave_if_asked(trainer)

    def _leave_if_asked(self, trainer: Trainer) -> None:
        if self.received is not None and not has_ended(trainer):  # the last step just ends the run
            self.checkpoints.save(trainer)
            raise Interrupted(self.received)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end is saved."""
        leave_at_signals()
