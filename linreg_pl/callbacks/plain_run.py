"""Completes the callbacks of a plain trainer, so that its runs have the command's curves.

Prints nothing. Logs how the data is read, where the user should know, and warnings of what the rows leave undetermined,
and of a learning rate that is too high.
"""

import logging
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.exact_answer import ExactAnswer, StopRule
from linreg_pl.callbacks.monitored_values import MonitoredValues
from linreg_pl.data.module import BatchDataModule
from linreg_pl.data.remarks import log_remarks
from linreg_pl.training.coefficient_names import trained_module


class PlainGap(ExactAnswer):
    """Compares a run with the exact solution as the command does, where that is possible, and prints nothing."""

    def __init__(self) -> None:
        super().__init__(StopRule())

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Asks for the problem, if the model wants the gap."""
        super().setup(trainer, pl_module, stage)
        trained_module(trainer).poses_problem = trained_module(trainer).wants_gap

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Solves the problem, and warns of what the user should know."""
        if trainer.is_global_zero and isinstance(trainer.datamodule, BatchDataModule):  # type: ignore[attr-defined]
            log_remarks(trainer.datamodule)  # type: ignore[attr-defined]
        if trained_module(trainer).may_measure_gap:
            self.solve(trainer)
            for warning in self.warnings(trainer) if trainer.is_global_zero else ():
                logging.getLogger("linreg_pl").warning(warning)

    def on_point(self, trainer: Trainer) -> None:
        """Measures the gap."""
        if self.is_comparable(trainer):
            super().on_point(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the gap at the end, which need not be a point."""
        if self.is_comparable(trainer):
            super().on_train_end(trainer, pl_module)

    def measured(self, trainer: Trainer) -> dict[str, float]:
        """Returns the gap and the norm of the exact gradient; empty if they are not known.

        Nor are they in a subclass whose `training_step` takes its own steps, on a cost that only it knows.
        """
        return super().measured(trainer) if self.is_comparable(trainer) else {}

    def is_comparable(self, trainer: Trainer) -> bool:
        """Returns whether the run can be compared with the exact solution."""
        return self.is_solved and trained_module(trainer).newest_step is not None


class PlainCurves(Curves):
    """Writes the curves of a run that has a folder of its own: a checkpoint's points are in an earlier one."""

    resumes_in_folder = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores nothing."""


def missing_callbacks(trainer: Trainer) -> list[Callback]:
    """Returns the callbacks that draw and measure, but for those that the trainer has."""
    present: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    curves = next((callback for callback in present if isinstance(callback, Curves)), None)
    if curves is not None:  # the command's, the user's own, or those of an earlier run
        return []
    exact = next((callback for callback in present if isinstance(callback, ExactAnswer)), None)
    added = [] if exact is not None else [exact := PlainGap()]
    curves = PlainCurves(exact)
    return [*added, curves, MonitoredValues(curves)]
