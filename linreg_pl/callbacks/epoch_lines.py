"""Prints the tutorial's line every few epochs: epoch, training loss, W and b, with three decimals."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.training.coefficient_names import shown, trained_module
from linreg_pl.training.due import Interval
from linreg_pl.tutorial import DISPLAY_STEP


class EpochLines(Callback):
    """Prints a line after the last step of an epoch, every `display_every_n_epochs` epochs.

    The loss is that of the epoch's last batch, before its update. A live progress bar stays below the lines.

    Args:
        display_every_n_epochs: Epochs from one printed line to the next; null for a twentieth of the run.
    """

    def __init__(self, display_every_n_epochs: int | None = DISPLAY_STEP) -> None:
        self.interval = Interval("display_every_n_epochs", display_every_n_epochs)

    def next_due(self, trainer: Trainer, step: int) -> int:
        """Returns the next step after `step` that is printed."""
        steps_per_epoch = int(trainer.num_training_batches)
        return (self.interval.next_due(trainer, step // steps_per_epoch - 1) + 1) * steps_per_epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints a line if the step is the last of an epoch to display."""
        step = trainer.global_step
        if self.next_due(trainer, step - 1) == step and trainer.is_global_zero:
            epoch = step // int(trainer.num_training_batches) - 1
            loss, (W, b) = outputs["loss"].item(), trained_module(trainer).in_users_units()
            print(f"epoch {epoch:6d}   loss {loss:14.3f}   W {shown(W)}   b {shown(b)}")
