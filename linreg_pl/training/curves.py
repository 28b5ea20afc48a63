"""What does TensorBoard show, and at which step?

    train/loss       J of the batch, before the update          train/mse     J without the penalty
    train/grad_norm  norm of J's gradient in (W, b)             params/…      W and b after the update
    val/loss, val/mse  over all held-out rows, where there are any

The x-axis is the number of optimizer steps taken. Points fall on the first step, on every `log_every_n_steps`-th and on
the run's last: which steps these are does not depend on where a run was interrupted. They go to the logger directly:
Lightning's `self.log` costs half a millisecond a step, and has lost points at kills.
"""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from linreg_pl.training.coefficients import named_coefficients, norms, trained_module

MOST_COEFFICIENTS = 64
"""With more entries than this in W and b, their norms are drawn instead."""


class Curves(Callback):
    """Writes the scalars, one chart of training and validation loss, and the HParams tab."""

    def __init__(self) -> None:
        self._logged_step = 0
        self._last_outputs: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Declares hyper-parameters, with the curves' last values as their metrics, and the common chart."""
        if not isinstance(trainer.logger, TensorBoardLogger):
            return
        metrics = ["train/loss", "train/mse"]
        if sum(trainer.num_val_batches) > 0:
            metrics += ["val/loss", "val/mse"]
            layout = {"loss": {"training and validation": ["Multiline", ["train/loss", "val/loss"]]}}
            trainer.logger.experiment.add_custom_scalars(layout)
        plain = {
            name: value if isinstance(value, int | float | str | bool) else str(value)
            for name, value in trainer.logger.hparams.items()
        }
        # The logger's own `log_hyperparams(…, metrics=…)` would add points to the curves.
        for summary in hparams(plain, dict.fromkeys(metrics, 0.0)):  # type: ignore[no-untyped-call]
            trainer.logger.experiment.file_writer.add_summary(summary)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Writes a point, where one falls on this step."""
        self._last_outputs = outputs
        step = trainer.global_step
        if step == 1 or step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._write(trainer, outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the validation's result, while fitting."""
        if trainer.state.fn == "fit" and trainer.logger is not None:
            values = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
            trainer.logger.log_metrics(values, step=trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the last point, unless it is there."""
        if self._last_outputs and self._logged_step != trainer.global_step:
            self._write(trainer, self._last_outputs)

    def _write(self, trainer: Trainer, outputs: dict[str, torch.Tensor]) -> None:
        if trainer.logger is None:
            return
        self._logged_step = trainer.global_step
        few = sum(parameter.numel() for parameter in trained_module(trainer).parameters()) <= MOST_COEFFICIENTS
        parameters = named_coefficients(trainer) if few else norms(trainer)
        gradient = torch.cat([outputs["grad_W"].flatten(), outputs["grad_b"]])
        trainer.logger.log_metrics(
            {
                "train/loss": outputs["loss"].item(),
                "train/mse": outputs["mse"].item(),
                "train/grad_norm": gradient.norm().item(),
                **{f"params/{name}": value for name, value in parameters.items()},
            },
            step=trainer.global_step,
        )
