"""Compares finished runs in a table, for `linreg compare`."""

import sys
from pathlib import Path

from linreg_pl.errors import InputError
from linreg_pl.plots.run_data import run_dataset
from linreg_pl.report.evaluated_run import FinishedRun, Metrics, finished_run, number, test_metrics
from linreg_pl.training.module import LinearRegression


def comparison_lines(folders: list[Path]) -> list[str]:
    """Returns a line a run below a header, with "-" for what is unknown.

    Raises:
        InputError: one is no run, or is not finished.
    """
    runs = [finished_run(folder) for folder in folders]
    of_rows = ("features", "rows", "loss", "val R²", "val RMSE", "test R²", "test RMSE")
    header = ("run", "learning rate", *of_rows, "l2", "l1", "steps")
    lines = [header, *map(cells, runs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([f"{name:{widths[0]}}", *(f"{text:>{width}}" for text, width in zip(texts, widths[1:], strict=True))])
        for name, *texts in lines
    ]


def cells(run: FinishedRun) -> tuple[str, ...]:
    """Returns the texts of a run's line."""
    validation, test = run.validation, metrics_of_test(run)
    return (
        str(run.folder),
        "-" if run.contents.descent is None else f"{run.contents.descent.lr:.4g}",
        str(len(run.contents.state_dict["W"])),
        number(run.num_rows),
        number(run.loss),
        *(number(value) for part in (validation, test) for value in numbers(part)),
        *(f"{run.contents.hyper_parameters.get(name, 0.0):g}" for name in ("l2", "l1")),
        str(run.report["global_step"]),
    )


def numbers(part: Metrics | None) -> tuple[float | None, float | None]:
    """Returns R² and RMSE over some rows."""
    return (None, None) if part is None else (part.r_squared, part.rmse)


def metrics_of_test(run: FinishedRun) -> Metrics | None:
    """Computes the metrics over the test rows; None if there are none, or if the data has changed or is gone.

    Then a line on stderr gives the reason.
    """
    if not run.holds_out_rows_to_test:
        return None
    try:
        data = run_dataset(run.folder, run.contents)
        if run.contents.data is None or run.contents.data.fingerprint != data.fingerprint:
            raise InputError(f"{run.folder}: the data has changed since the run")
        return test_metrics(LinearRegression.load(run.folder), data)
    except (InputError, OSError) as error:
        print(f"linreg: the test rows can't be evaluated: {error}", file=sys.stderr)
        return None
