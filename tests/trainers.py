"""A plain Lightning trainer for tests, and callbacks that record or stop its run."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Trajectory(Callback):
    """Records the cost before each step's update, and W and b after it."""

    def __init__(self) -> None:
        self.cost: list[float] = []
        self.W: list[torch.Tensor] = []
        self.b: list[torch.Tensor] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.cost.append(outputs["loss"].item())
        self.W.append(pl_module.get_parameter("W").detach().clone())
        self.b.append(pl_module.get_parameter("b").detach().clone())


class StopAt(Callback):
    """Stops a run after a number of steps, and gives no reason."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


def plain_trainer(max_epochs: int, *callbacks: Callback, **kwargs: Any) -> Trainer:
    """Returns Lightning's own trainer, on the CPU, which writes and prints nothing."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=list(callbacks),
        **{**silent, "enable_model_summary": False, **kwargs},
    )
