"""What came out: `report.json` in the run's folder, and the lines that end a run in the terminal."""

import json
import os
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl.training.coefficients import named_coefficients
from linreg_pl.training.run import run_folder

REPORT = "report.json"
MOST_COEFFICIENTS = 20
"""Coefficients that are printed; the report has them all."""


class Report(Callback):
    """Writes `report.json` when training has ended: the step, the last batch's loss, and every coefficient by name.

    It holds nothing that differs between two equal runs: no time, no path.
    """

    def __init__(self) -> None:
        self.contents: dict[str, Any] = {}
        self._last_outputs: dict[str, Any] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the loss, in case this step is the last."""
        self._last_outputs = outputs

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the report."""
        self.contents = {
            "global_step": trainer.global_step,
            "epochs": trainer.global_step // int(trainer.num_training_batches),
            **{name: self._last_outputs[name].item() for name in ("loss", "mse") if name in self._last_outputs},
            "coefficients": named_coefficients(trainer),
        }
        run = run_folder(trainer)
        if trainer.is_global_zero and run is not None:
            path = run / REPORT
            unfinished = path.with_suffix(".json.tmp")
            unfinished.write_text(json.dumps(self.contents, indent=2) + "\n")
            os.replace(unfinished, path)

    def lines(self) -> list[str]:
        """The report for the terminal; `report.json` has all digits."""
        coefficients = list(self.contents["coefficients"].items())
        if len(coefficients) > MOST_COEFFICIENTS:
            coefficients = [*coefficients[: MOST_COEFFICIENTS - 1], coefficients[-1]]
        width = max(len(name) for name, _ in coefficients)
        left_out = len(self.contents["coefficients"]) - len(coefficients)
        return [
            f"fitted in {self.contents['global_step']} steps ({self.contents['epochs']} epochs)",
            *(f"  {name:{width}} {value:12.3f}" for name, value in coefficients),
            *([f"  and {left_out} more in {REPORT}"] if left_out else []),
        ]
