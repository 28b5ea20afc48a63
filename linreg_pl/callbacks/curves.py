"""Writes the curves that TensorBoard shows.

    train/loss       J of the batch, before the update          train/mse     J without the penalty
    train/grad_norm  norm of J's gradient in (W, b)             params/…      W and b after the update, in x's own units
    train/learning_rate  if it has a schedule
    gap/…            if the exact solution is computed: see `exact_answer.py`
    val/loss, val/mse, val/r2  over all held-out rows, if there are any; no val/r2 if their targets are constant

TensorBoard has more, which follow from these: see `tensorboard_view.py`.

The x-axis is the number of optimizer steps. Training has a point at every `log_every_n_steps`-th step, at the end of
the first epoch if that comes earlier, and at the run's last step. The points go to the loggers directly: Lightning's
`self.log` costs half a millisecond a step, and has lost points at kills.

A checkpoint holds the points of its step. A resumed run purges the points from that step on and writes these again. So
each point is drawn once, whatever was written between the checkpoint and a kill. A run that was resumed after its end
shows no trace of that end.
"""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from linreg_pl.callbacks.exact_answer import ExactAnswer
from linreg_pl.callbacks.report import rows_report
from linreg_pl.callbacks.tensorboard_view import hyper_parameter_summaries, layout, with_derived
from linreg_pl.training.checkpoint_contents import CheckpointContents, add_to_checkpoint
from linreg_pl.training.coefficient_names import column_names, entries, entry_names, norms, trained_module
from linreg_pl.training.due import AtPoints, is_validation_step


class Curves(AtPoints):
    """Writes the scalars; for TensorBoard also the charts of its tab Custom Scalars, and its tab HParams.

    Args:
        exact: Its points are written too; None if the exact solution is not computed.
    """

    most_coefficients = 64
    """If W and b have more entries, the norms of W and b are drawn instead."""
    resumes_in_folder = True
    """Whether a resumed run writes to the folder of the run before."""

    def __init__(self, exact: ExactAnswer | None = None) -> None:
        self._exact = exact
        self._points: dict[str, float] = {}
        self._step_of_points = 0
        self._tags: list[str] = []  # of the entries of W and b; empty if there are too many
        self._validated_step: int | None = None  # the newest one during a fit
        self._hidden_loggers: list[Logger] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forgets the points of an earlier run."""
        if stage == "fit":
            self._points, self._step_of_points, self._validated_step = {}, 0, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the hyper-parameters, the layout of the chart, and the points of the checkpoint."""
        are_few = sum(parameter.numel() for parameter in pl_module.parameters()) <= self.most_coefficients
        self._tags = [f"params/{name}" for name in entry_names(trainer)] if are_few else []  # once: it is slow
        if self._points:
            draw(trainer, self._points)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:  # others have no file
                self._declare(trainer, logger)

    def _declare(self, trainer: Trainer, logger: TensorBoardLogger) -> None:
        if trainer.global_step == 0 or not self.resumes_in_folder:  # a folder has one layout
            logger.experiment.add_custom_scalars(layout(column_names(trainer)[1]))
        # TensorBoard takes the names of one run, which may have no validation where others have one. The last points of
        # the curves are the metrics; `log_hyperparams(…, metrics=…)` would add points.
        metrics = ["val/mse", "train/loss", "val/rmse", "val/r2", "val/loss", "train/mse"]
        settings = {**rows_report(trainer), "max_epochs": length_in_epochs(trainer), **logger.hparams}
        for summary in hyper_parameter_summaries(settings, metrics):
            logger.experiment.file_writer.add_summary(summary)

    def on_point(self, trainer: Trainer) -> None:
        """Writes the point of the newest step."""
        self._write(trainer, self._training_point(trainer, self._exact.points if self._exact else {}))

    def values(self, trainer: Trainer) -> dict[str, float]:
        """Returns the values after the newest step, which need not be a point."""
        if self._step_of_points == trainer.global_step and "train/loss" in self._points:
            return self._points
        return self._training_point(trainer, self._exact.measured(trainer) if self._exact else {})

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hides the loggers from `trainer.validate` at a step whose validation is drawn already."""
        if trainer.state.fn == "validate" and self._validated_step == trainer.global_step:
            self._hidden_loggers, trainer.loggers = trainer.loggers, []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the result of a validation during a fit."""
        if self._hidden_loggers:
            trainer.loggers, self._hidden_loggers = self._hidden_loggers, []
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validated_step = trainer.global_step
            metrics = trainer.callback_metrics
            values = {name: metrics[name].item() for name in metrics if name.startswith("val/")}
            values = {name: value for name, value in values.items() if not math.isnan(value)}
            if is_validation_step(trainer):
                self._write(trainer, values)
            else:  # Lightning validates because a rule stopped the run; if the run goes on, it has no such point
                draw(trainer, values)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the last point, unless it is written already. No checkpoint holds it."""
        drawn = self._points if self._step_of_points == trainer.global_step else {}
        if trained_module(trainer).newest_step is not None and "train/loss" not in drawn:
            draw(trainer, self._training_point(trainer, self._exact.points if self._exact else {}))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the points of this step."""
        points = self._points if self._step_of_points == trainer.global_step else {}
        add_to_checkpoint(checkpoint, points=points)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores the points of the checkpoint's step."""
        contents = CheckpointContents.from_dict(checkpoint)
        self._points, self._step_of_points = dict(contents.points), contents.global_step

    def _write(self, trainer: Trainer, values: dict[str, float]) -> None:
        if self._step_of_points != trainer.global_step:
            self._points, self._step_of_points = {}, trainer.global_step
        self._points |= values
        draw(trainer, values)

    def _training_point(self, trainer: Trainer, gap: dict[str, float]) -> dict[str, float]:
        module = trained_module(trainer)
        step = module.newest_step  # None if a subclass has a training_step of its own
        if self._tags:
            parameters = dict(zip(self._tags, entries(trainer, *module.in_users_units()), strict=True))
        else:
            parameters = {f"params/{name}": value for name, value in norms(trainer).items()}
        losses = {"loss": step.loss.item(), "mse": step.mse.item(), "grad_norm": step.grad_norm} if step else {}
        return {
            **{f"train/{name}": value for name, value in losses.items()},
            **(
                {}
                if module.schedule == "constant"
                else {"train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}
            ),
            **parameters,
            **gap,
        }


def draw(trainer: Trainer, values: dict[str, float]) -> None:
    """Writes a point at the newest step to each logger."""
    for logger in trainer.loggers:
        shown = with_derived(values) if isinstance(logger, TensorBoardLogger) else values
        logger.log_metrics(shown, step=trainer.global_step)


def length_in_epochs(trainer: Trainer) -> float:
    """Returns the length of a run in epochs; -1 if it has no end, or its epochs have no length."""
    steps, steps_per_epoch = trainer.estimated_stepping_batches, trainer.num_training_batches
    return steps / steps_per_epoch if 0 < steps < math.inf and steps_per_epoch < math.inf else -1
