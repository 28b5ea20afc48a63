"""A run of the command with l1: what it stores, and what the other commands make of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from linreg_pl import LinearRegression
from tests.commands import Result, linreg
from tests.finished_runs import RUN
from tests.test_export import assert_all_predict

NAMES = [f"x{number}" for number in range(6)]
FIT = (
    *("fit", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--model.l1", "0.1"),
    *("--checkpoint_every_n_epochs", "50"),
)


def command(folder: Path, *args: str) -> Result:
    """Runs a command that must succeed."""
    result = linreg(*args, cwd=folder)
    assert result.code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame, Result]:
    """Trains on batches, whose noise keeps W off 0; returns the folder, the rows, and what was printed."""
    folder, random = tmp_path_factory.mktemp("l1"), np.random.default_rng(1)
    x = random.normal(size=(300, 6)) + random.normal(size=(300, 1))
    frame = pd.DataFrame(x, columns=NAMES).assign(y=2 * x[:, 0] - x[:, 1] + 3 + random.normal(size=300))
    frame.to_csv(folder / "t.csv", index=False)
    return folder, frame, command(folder, *FIT, "--data.batch_size", "50", "--trainer.max_epochs", "60")


def test_report_has_zeros_and_the_gap(made: tuple[Path, pd.DataFrame, Result]) -> None:
    folder, frame, printed = made
    report = json.loads((folder / RUN / "report.json").read_text())
    fitted, exact = report["coefficients"], report["exact"]["coefficients"]
    zeros = [name for name, value in exact.items() if value == 0]
    assert 0 < len(zeros) < 6
    assert [name for name, value in fitted.items() if value == 0] == zeros
    rows = [line.split() for line in printed.stdout.splitlines()]
    assert [row[:3] for row in rows if row[:1] in [[name] for name in zeros]] == [[name, "0", "0"] for name in zeros]
    assert not any(distance is not None for distance in report["distance_in_standard_errors"].values())

    def cost(values: dict[str, float]) -> float:
        W = np.array([values[f"W/{name}"] for name in NAMES])
        mse = np.mean((frame[NAMES] @ W + values["b"] - frame["y"]) ** 2)
        return float(mse + 0.1 * np.abs(W * frame[NAMES].std(ddof=0)).sum())

    assert report["exact"]["objective"] == pytest.approx(cost(exact), rel=1e-12)
    assert report["gap"] == pytest.approx(cost(fitted) - cost(exact), rel=1e-3)
    weights = LinearRegression.load(folder / RUN).coefficients()[0]
    assert [f"W/{name}" for name, value in zip(NAMES, weights[:, 0].tolist(), strict=True) if value == 0] == zeros


def test_page_comparison_and_prediction(made: tuple[Path, pd.DataFrame, Result]) -> None:
    folder = made[0]
    page = (folder / command(folder, "report", RUN).stdout.strip()).read_text()
    assert "<dt>penalty l1</dt><dd>0.1</dd>" in page
    assert "coefficients are 0, as --model.l1 is 0.1; there are no standard errors" in page
    assert "95% interval" not in page
    header, line = command(folder, "compare", RUN).stdout.splitlines()
    assert dict(zip(header.split()[-3:], line.split()[-3:], strict=True)) == {"l2": "0", "l1": "0.1", "steps": "360"}
    refused = linreg("predict", "--ckpt_path", RUN, "--interval", "0.9", cwd=folder)
    assert refused.code == 2
    assert refused.stderr.endswith(
        "there is no interval, as --model.l1 leaves no standard errors; leave --interval out\n"
    )
    assert not (folder / "predictions.csv").exists()


def test_stopped_run_has_zeros(made: tuple[Path, pd.DataFrame, Result], tmp_path: Path) -> None:
    """At a constant rate on all rows, the forecast of each coefficient comes true; the run can't be made longer."""
    made[1].to_csv(tmp_path / "t.csv", index=False)
    flags = ("--model.schedule", "constant", "--trainer.max_epochs", "200", "--trainer.precision", "64-true")
    printed = command(tmp_path, *FIT, *flags, "--trainer.log_every_n_steps", "1").stdout
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    for name, epochs in report["epochs_to_1_percent"].items():
        assert epochs["seen"] == pytest.approx(epochs["forecast"], abs=1), name
    assert "go on" not in printed
    longer = linreg("fit", "--resume", RUN, "--trainer.max_epochs", "300", cwd=tmp_path)
    assert longer.code == 2
    assert "schedule, average or l1 was planned for 200 steps" in longer.stderr
    stopped = command(tmp_path, *FIT, *flags, "--data.batch_size", "50", "--stop.gap", "0.03").stdout
    assert "stopped by --stop.gap" in stopped
    report = json.loads((tmp_path / RUN.replace("_0", "_1") / "report.json").read_text())
    exact = report["exact"]["coefficients"]
    zeros = {name for name, value in exact.items() if value == 0}
    assert zeros <= {name for name, value in report["coefficients"].items() if value == 0}
    assert report["gap"] <= 0.03


def test_exports_predict(made: tuple[Path, pd.DataFrame, Result]) -> None:
    folder, frame, _ = made
    model = LinearRegression.load(folder / RUN)
    assert_all_predict(model, pa.Table.from_pandas(frame[NAMES][:20], preserve_index=False))
