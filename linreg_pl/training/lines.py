"""The tutorial's line: epoch, training loss, W and b, each with three decimals, every so many epochs."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.training.coefficients import shown, trained_module
from linreg_pl.training.schedule import checked_interval


class EpochLines(Callback):
    """Prints a line after the last step of each epoch that `display_every_n_epochs` divides.

    The loss is that of the epoch's last batch, before its update. A live progress bar stays below the lines.

    Args:
        display_every_n_epochs: Epochs from one printed line to the next.
    """

    def __init__(self, display_every_n_epochs: int = 100) -> None:
        self.every_n_epochs = checked_interval("display_every_n_epochs", display_every_n_epochs)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints, where an epoch to display has just ended."""
        epochs, steps_left = divmod(trainer.global_step, int(trainer.num_training_batches))
        if steps_left == 0 and (epochs - 1) % self.every_n_epochs == 0 and trainer.is_global_zero:
            loss, (W, b) = outputs["loss"].item(), trained_module(trainer).coefficients()
            print(f"epoch {epochs - 1:6d}   loss {loss:14.3f}   W {shown(W)}   b {shown(b)}")
