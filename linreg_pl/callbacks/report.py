"""Reports how a run ended: `report.json` in its folder, and the last lines in the terminal."""

import json
import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.callbacks.exact_answer import ExactAnswer
from linreg_pl.callbacks.run_end import forget_stop, has_ended, stopped_by
from linreg_pl.data.loaders import Summary
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import Diverged, printable
from linreg_pl.exact.epochs_in_words import counted, shown_epochs
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import REPORT, run_folder
from linreg_pl.training.checkpoint_contents import add_to_checkpoint
from linreg_pl.training.coefficient_names import named_coefficients, trained_module
from linreg_pl.training.due import has_end
from linreg_pl.training.progress import Progress


class Report(Checkpoint):
    """Writes `report.json` when training ends: state, step, the last batch's loss, and every coefficient by name.

    A `Checkpoint` to Lightning, so that it is called after all other callbacks, and after the last checkpoint is saved.
    So a run with a report is finished or has diverged. If a rule stopped it, `stopped_by` gives the rule and its
    reason. Two equal runs have equal reports: no time, no path.

    Args:
        exact: Its comparison is reported too; None if the exact solution is not computed.
    """

    most_coefficients = 20
    """If there are more, the terminal shows only so many; the report has all."""
    least_change = 1e-3
    """A run that changes the loss by a smaller share has learnt nothing."""
    most_growth = 100
    """If the loss is so many times the first one, the run diverges; noise does not explain that."""

    def __init__(self, exact: ExactAnswer | None = None) -> None:
        self._exact = exact
        self.contents: dict[str, Any] = {}
        self._first_loss: float | None = None
        self._exact_for_printing: dict[str, float] = {}
        self._shows_epochs = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes the report of a run that is resumed."""
        forget_stop(trainer)
        run = run_folder(trainer)
        if run is not None and trainer.is_global_zero:
            (run / REPORT).unlink(missing_ok=True)

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns the first step, whose loss the others are compared with."""
        return 1 if step < 1 else math.inf

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the first loss."""
        if trainer.global_step == 1:
            self._first_loss = outputs["loss"].item()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the progress so far, for `linreg runs`."""
        add_to_checkpoint(checkpoint, progress=self._progress(trainer))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reports a run that is finished; of one that is out of time, only the terminal shows how far it is."""
        self._write(trainer, "finished" if has_ended(trainer) else "interrupted")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Reports a run that diverged, with the weights before the step at which it did."""
        if isinstance(exception, Diverged):
            self._write(trainer, "diverged")

    def lines(self) -> list[str]:
        """Returns the report for the terminal; `report.json` has all digits."""
        contents = self.contents
        finished = contents["state"] == "finished"
        total_steps = contents["total_steps"]
        before = "stopped after" if total_steps is None else f"stopped before step {total_steps}, after"
        verb = "fitted in" if finished else before
        loss = contents.get("loss", 0.0)
        first_loss = self._first_loss
        lines = [f"{verb} {counted(contents['global_step'], 'step')} ({counted(contents['epochs'], 'epoch')})"]
        if "stopped_by" in contents:
            lines.append(f"stopped by {contents['stopped_by']}")
        lines += self._table()
        if "exact" in contents:
            objective = contents["exact"]["objective"]
            lines.append(f"gap      {contents['gap']:.3g} above the exact loss, {objective:.6g}{self._nearness()}")
        if "held_out" in contents:
            rows = contents["held_out"]
            r2 = "unknown" if rows["r2"] is None else f"{rows['r2']:.6g}"
            lines.append(
                f"held out loss {rows['loss']:.6g}, RMSE {rows['mse'] ** 0.5:.6g}, R² {r2} over {rows['num_rows']} rows"
            )
        if first_loss is not None and loss > self.most_growth * first_loss:
            lines.append(
                f"the loss has grown from {first_loss:.6g} to {loss:.6g}: the run diverges; start a new run with a"
                " smaller --model.learning_rate"
            )
        is_exact = contents.get("gap", math.inf) <= self.least_change * loss  # there is no more to learn
        has_moved = contents["global_step"] == 1 or is_exact
        if first_loss is not None and not has_moved and abs(loss - first_loss) < self.least_change * first_loss:
            lines.append(f"the loss has hardly moved from {loss:.6g}: give a larger --model.learning_rate")
        return lines

    def _nearness(self) -> str:
        """Returns how close the coefficients are to the exact ones, in standard errors or by the variance explained."""
        distances = self.contents["distance_in_standard_errors"]
        known = {name: distance for name, distance in distances.items() if distance is not None}
        fraction = self.contents["gap_of_variance_explained"]
        if known and not self._shows_epochs:
            return f": each coefficient within {max(0.001, *known.values()):.2g} standard errors"
        return "" if fraction is None else f": {100 * fraction:.3g}% of the variance explained"

    def _table(self) -> list[str]:
        """Returns the coefficients, with their exact values and the epochs to convergence if they are known."""
        names = list(self.contents["coefficients"])
        most = self.most_coefficients
        shown = names if len(names) <= most else [*names[: most - 1], names[-1]]
        width = max(len(printable(name)) for name in shown)
        if "exact" not in self.contents:
            rows = [f"  {printable(name):{width}} {self.contents['coefficients'][name]:12.6g}" for name in shown]
        else:
            above = f"  {'':{width}} {'':>12} {'':>12}  {'':>8}  epoch when 99% of the initial error is gone:"
            titles = f"  {'':{width}} {'fitted':>12} {'exact':>12}  {'s.e. off':>8}"
            rows = [above, f"{titles}  {'forecast':>8}  {'actual':>6}"] if self._shows_epochs else [titles]
            rows += [self._row(name, width) for name in shown]
        num_left_out = len(names) - len(shown)
        return [*rows, *([f"  and {num_left_out} more in {REPORT}"] if num_left_out else [])]

    def _row(self, name: str, width: int) -> str:
        contents = self.contents
        fitted, exact = contents["coefficients"][name], self._exact_for_printing[name]
        distance, epochs = contents["distance_in_standard_errors"][name], contents["epochs_to_1_percent"].get(name, {})
        apart = "-" if distance is None else f"{distance:.3f}" if distance < 1000 else f"{distance:.2g}"
        forecast, actual = (
            shown_epochs(epochs[key]) if epochs.get(key) is not None else "-" for key in ("forecast", "seen")
        )
        row = f"  {printable(name):{width}} {fitted:12.6g} {exact:12.6g}  {apart:>8}"
        return f"{row}  {forecast:>8}  {actual:>6}" if self._shows_epochs else row

    def _progress(self, trainer: Trainer) -> Progress:
        module = trained_module(trainer)
        losses = {name: value.item() for name, value in module.newest_losses().items()}
        num_processes = None if module.shared_steps is None else module.shared_steps.world.size
        return Progress(
            total_steps=trainer.max_steps, stopped_by=stopped_by(trainer), num_processes=num_processes, **losses
        )

    def _write(self, trainer: Trainer, state: str) -> None:
        self.contents = {
            "state": state,
            "global_step": trainer.global_step,
            "epochs": trainer.global_step // int(trainer.num_training_batches),
            **self._progress(trainer).to_dict(),
            "total_steps": trainer.max_steps if has_end(trainer) else None,
            **rows_report(trainer),
            **choice_report(trainer),
            "coefficients": named_coefficients(trainer),
            **(self._exact.report(trainer) if self._exact else {}),
            **held_out_report(trainer),
        }
        self._exact_for_printing = self._exact.shown(trainer) if self._exact else {}
        self._shows_epochs = not trained_module(trainer).precondition
        run = run_folder(trainer)
        if trainer.is_global_zero and run is not None and state != "interrupted":
            write_durably(run / REPORT, (json.dumps(self.contents, indent=2) + "\n").encode())


def rows_report(trainer: Trainer) -> dict[str, int]:
    """Returns the entry of `report.json` on the rows that training draws from; empty for a loader of the user's."""
    data = getattr(trainer, "datamodule", None)
    return {"num_rows": data.num_rows_to_fit} if isinstance(data, BatchDataModule) else {}


def choice_report(trainer: Trainer) -> dict[str, str]:
    """Returns the entry of `report.json` on how l2 was chosen; empty if it was given."""
    choice = trained_module(trainer).l2_choice
    return {} if choice is None else {"l2_choice": choice}


def held_out_report(trainer: Trainer) -> dict[str, Any]:
    """Returns the entry of `report.json` on the rows held out for validation; empty if there are none."""
    data = getattr(trainer, "datamodule", None)  # Lightning sets it only for a data module
    if not isinstance(data, BatchDataModule) or data.held_out is None:
        return {}
    module = trained_module(trainer)
    metrics = module.metrics(module.evaluated(Summary(data.held_out)))
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    return {"held_out": {"num_rows": data.held_out.num_rows, **finite}}
