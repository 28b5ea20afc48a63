"""Puts the values of the training curves where Lightning's callbacks look: `trainer.callback_metrics`."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.callbacks.curves import Curves
from linreg_pl.training.due import has_point, next_validation


class MonitoredValues(Callback):
    """Lets `EarlyStopping`, `ModelCheckpoint` and callbacks of the user's read `train/…`, `gap/…` and `params/…`.

    The values are updated at each point of the curves, at the end of each epoch and of the run, and before each
    validation; and after every step if a callback monitors one of them. The progress bar shows the loss.

    Args:
        curves: Gives the values.
    """

    families = ("train/", "gap/", "params/")
    """The beginnings of the names."""

    def __init__(self, curves: Curves) -> None:
        self._curves = curves
        self._is_monitored = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds out whether a callback monitors one of the values."""
        self._is_monitored = monitors(trainer.callbacks, self.families)  # type: ignore[attr-defined]

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns the next step that a validation follows: in the command's runs nothing else may monitor."""
        return next_validation(trainer, step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Updates the values where they may be read."""
        ends_epoch = trainer.is_last_batch or trainer.should_stop or trainer.global_step == trainer.max_steps
        if self._is_monitored or ends_epoch or has_point(trainer) or precedes_validation(trainer, batch_idx):
            self._update(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Updates the values after the last step, which need not end an epoch."""
        if trainer.global_step > 0:
            self._update(trainer)

    def _update(self, trainer: Trainer) -> None:
        values = self._curves.values(trainer)
        trainer.callback_metrics.update(
            {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
        )
        if "train/loss" in values:
            trainer.progress_bar_metrics["loss"] = values["train/loss"]


def monitors(callbacks: list[Callback], families: tuple[str, ...]) -> bool:
    """Returns whether a callback monitors a value whose name begins so."""
    return any(str(getattr(callback, "monitor", None)).startswith(families) for callback in callbacks)


def precedes_validation(trainer: Trainer, batch_idx: int) -> bool:
    """Returns whether Lightning may validate after this batch."""
    interval = trainer.val_check_batch  # in batches of the epoch, or in those of the run
    number = trainer.global_step if trainer.check_val_every_n_epoch is None else batch_idx + 1
    return trainer.enable_validation and (not isinstance(interval, int) or number % interval == 0)
