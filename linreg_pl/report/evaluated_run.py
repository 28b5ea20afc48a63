"""Reads how well a finished run predicts the rows that it was fitted on, and those that it holds out.

The numbers over the validation rows are those of `report.json`. Those over the test rows are computed from the newest
checkpoint and these rows, as `linreg test` does: a run neither reads them nor saves anything of them.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linreg_pl.core.metrics import Evaluation
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.runs.folder import read_report, require_folder, run_state
from linreg_pl.runs.listing import next_step, read_progress
from linreg_pl.runs.resume import newest_good_checkpoint
from linreg_pl.training.checkpoint_contents import CheckpointContents
from linreg_pl.training.module import LinearRegression


@dataclass(frozen=True)
class Metrics:
    """How well a model predicts some rows; None for what is unknown."""

    num_rows: int | None
    r_squared: float | None
    mse: float | None

    @property
    def rmse(self) -> float | None:
        """Returns the root of the mean squared error."""
        return None if self.mse is None else math.sqrt(self.mse)


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run: its report, and the contents of its newest good checkpoint."""

    folder: Path
    report: dict[str, Any]
    contents: CheckpointContents

    @property
    def num_rows(self) -> int | None:
        """Returns the number of rows that were fitted; None if an earlier version did not save it."""
        exact = self.contents.exact
        number: int | None = self.report.get("num_rows", exact.num_rows if exact is not None else None)
        return number

    @property
    def loss(self) -> float | None:
        """Returns J over the rows that were fitted, at the end; None if the run did not compute the exact solution."""
        report = self.report
        return report["exact"]["objective"] + report["gap"] if "exact" in report else None

    @property
    def validation(self) -> Metrics | None:
        """Returns the metrics over the validation rows; None if there were none."""
        rows = self.report.get("held_out")
        return None if rows is None else Metrics(rows["num_rows"], rows["r2"], rows["mse"])

    @property
    def holds_out_rows_to_test(self) -> bool:
        """Returns whether rows were held out for a test."""
        settings = self.contents.datamodule_hyper_parameters
        return bool(settings.get("test_fraction")) or settings.get("test_path") is not None


def finished_run(folder: Path) -> FinishedRun:
    """Reads a finished run.

    Raises:
        InputError: this is no run, it is not finished, or it has no good checkpoint.
    """
    require_folder(folder)
    checkpoint = newest_good_checkpoint(folder).checkpoint
    report, state = read_report(folder), run_state(folder)
    if report is None or state != "finished":
        _, typed = next_step(folder, state, read_progress(folder)[1], "linreg")
        raise InputError(f"{folder}: the run is not finished, but {state}{'; go on with it: ' if typed else ''}{typed}")
    if checkpoint is None:
        raise InputError(f"{folder}: the run has no checkpoint; start it anew with --config {folder}/config.yaml")
    return FinishedRun(folder, report, checkpoint.contents)


def test_metrics(model: LinearRegression, data: BatchDataModule) -> Metrics:
    """Computes the metrics over the rows held out for a test; the data stays set up for the test.

    Raises:
        InputError: the rows can't be read.
    """
    data.setup("test")
    evaluation, num_rows = None, 0
    for batch in data.test_dataloader():
        part = model.evaluated(batch)
        evaluation = part if evaluation is None else evaluation.merge(part)
        num_rows += len(batch[0]) if len(batch) < 3 else int((batch[2] > 0).sum())
    return Metrics(0, None, None) if evaluation is None else metrics_of(evaluation, num_rows)


def number(value: float | None) -> str:
    """Returns a number as text, or a dash."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def metrics_of(evaluation: Evaluation, num_rows: int | None) -> Metrics:
    """Returns the metrics of an evaluation."""
    r_squared, mse = (value if math.isfinite(value) else None for value in (evaluation.r2, evaluation.mse))
    return Metrics(num_rows, r_squared, mse)
