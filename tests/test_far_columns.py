"""Columns far from 0, constant columns and rows of weight 0, through the real command.

Such columns lose all digits that differ if they are rounded to float32, or squared, before their means are subtracted.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints
from tests.commands import linreg, start
from tests.runs import RUN, assert_same_run
from tests.waiting import wait_until

TABLE = ("--data", "TableDataModule", "--data.path", "table.csv", "--data.target", "y")


def solved(folder: Path, table: pd.DataFrame, *args: str) -> dict[str, Any]:
    """Writes the table, and returns the result of `linreg solve`."""
    table.to_csv(folder / "table.csv", index=False)
    done = linreg("solve", *TABLE, "--model.l2", "0", "--json", *args, cwd=folder)
    assert done.code == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def fitted(folder: Path, *args: str) -> dict[str, Any]:
    """Fits the table in the folder anew, and returns the run's report."""
    shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
    done = linreg("fit", *TABLE, *args, cwd=folder)
    assert done.code == 0, done.stderr
    report: dict[str, Any] = json.loads((folder / RUN / "report.json").read_text())
    return report


def far_target() -> pd.DataFrame:
    random = np.random.default_rng(3)
    a = random.normal(size=2000)
    return pd.DataFrame({"a": a, "y": 1.7e9 + 30 * a + random.normal(0, 1, 2000)})


def far_features() -> dict[str, pd.DataFrame]:
    """Returns seconds since 1970 within ten minutes, and coordinates in metres."""
    random = np.random.default_rng(3)
    t, a = 1.7e9 + random.uniform(0, 600, 2000), random.normal(size=2000)
    y = 0.02 * (t - 1.7e9) + 2 * a + random.normal(0, 0.1, 2000)
    east, north = 4.5e5 + random.uniform(0, 100, 2000), 5.4e6 + random.uniform(0, 100, 2000)
    z = 0.1 * (east - 4.5e5) - 0.2 * (north - 5.4e6) + random.normal(0, 0.05, 2000)
    return {
        "time": pd.DataFrame({"t": t, "a": a, "y": y}),
        "place": pd.DataFrame({"east": east, "north": north, "y": z}),
    }


def least_squares(table: pd.DataFrame) -> dict[str, float]:
    """Returns the slopes, from centered columns."""
    X = table.drop(columns="y")
    slopes = np.linalg.lstsq((X - X.mean()).to_numpy(), (table.y - table.y.mean()).to_numpy(), rcond=None)[0]
    return dict(zip(X.columns, slopes.tolist(), strict=True))


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_target_far_from_0(precision: str, tmp_path: Path) -> None:
    table = far_target()
    table.to_csv(tmp_path / "table.csv", index=False)
    report = fitted(tmp_path, "--trainer.precision", precision)
    slope = least_squares(table)["a"]
    error = report["exact"]["standard_errors"]["W"]
    assert report["exact"]["coefficients"]["W"] == pytest.approx(slope, abs=1e-6 * error)
    assert report["coefficients"]["W"] == pytest.approx(slope, abs=0.3 * error)

    checkpoint = checkpoints(tmp_path / RUN)[-1].relative_to(tmp_path)
    predicted = linreg("predict", "--ckpt_path", str(checkpoint), "--output", "predicted.csv", cwd=tmp_path)
    assert predicted.code == 0, predicted.stderr
    residuals = pd.read_csv(tmp_path / "predicted.csv").y_predicted - table.y
    assert np.sqrt(np.mean(residuals**2)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("name", ["time", "place"])
def test_features_far_from_0(name: str, tmp_path: Path) -> None:
    table = far_features()[name]
    solution, report = solved(tmp_path, table), fitted(tmp_path)
    for column, slope in least_squares(table).items():
        coefficient = solution["coefficients"][column]
        error = coefficient["standard_error"]
        assert coefficient["estimate"] == pytest.approx(slope, abs=1e-6 * error)
        assert report["exact"]["coefficients"][f"W/{column}"] == pytest.approx(coefficient["estimate"], rel=1e-12)
        assert report["exact"]["standard_errors"][f"W/{column}"] == pytest.approx(error, rel=1e-9)
        assert report["coefficients"][f"W/{column}"] == pytest.approx(slope, abs=0.3 * error)


@pytest.mark.parametrize("value", [20240101, 20240101123456, 4917012345678901, 1234567890123456789])
def test_long_constant_changes_nothing(value: int, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    table = pd.DataFrame({"a": random.normal(size=60), "b": random.normal(10, 3, 60)})
    table["y"] = 2 * table.a - 0.5 * table.b + 7 + random.normal(0, 0.1, 60)
    without, beside = solved(tmp_path, table), solved(tmp_path, table.assign(batch=value))
    assert beside["r_squared"] == pytest.approx(without["r_squared"], rel=1e-12)
    for column in ("a", "b"):
        for key in ("estimate", "standard_error"):
            expected = without["coefficients"][column][key]
            assert beside["coefficients"][column][key] == pytest.approx(expected, rel=1e-9)
    constant = beside["coefficients"]["batch"]
    assert (constant["estimate"], constant["standard_error"]) == (0, None)


def test_weight_0_is_as_absent(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"a": random.normal(size=120), "w": random.uniform(0.1, 4, 120)})
    table["y"] = 3 * table.a + random.normal(0, 1, 120)
    table.loc[:29, "w"] = 0
    weight = ("--data.weight", "w")
    beside, without = solved(tmp_path, table, *weight), solved(tmp_path, table[30:], *weight)
    assert beside["residual_std"] == pytest.approx(without["residual_std"], rel=1e-12)
    for key in ("estimate", "standard_error"):
        expected = without["coefficients"]["a"][key]
        assert beside["coefficients"]["a"][key] == pytest.approx(expected, rel=1e-9)


def test_constant_is_named(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    a = np.arange(24.0)
    table = pd.DataFrame({"c": 3, "a": a, "y": 2 * a + random.normal(0, 0.1, 24)})
    table.to_csv(tmp_path / "table.csv", index=False)
    done = linreg("solve", *TABLE, "--json", cwd=tmp_path)
    coefficients = json.loads(done.stdout)["coefficients"]
    assert (coefficients["c"]["estimate"], coefficients["c"]["standard_error"]) == (0, None)
    assert coefficients["a"]["estimate"] == pytest.approx(least_squares(table[["a", "y"]])["a"], rel=1e-9)
    assert coefficients["a"]["standard_error"] > 0
    assert "'c' is constant" in linreg("solve", *TABLE, cwd=tmp_path).stdout


def test_time_beside_row_number(tmp_path: Path) -> None:
    """Both columns count months: any split of the slope is exact, and `fit` knows it as `solve` does."""
    row = np.arange(1, 73)
    y = 9000 - 10 * row + np.random.default_rng(4).normal(0, 600, 72).round()
    table = pd.DataFrame({"row": row, "time": 1973 + (row - 1) / 12, "y": y})
    solution, report = solved(tmp_path, table), fitted(tmp_path)
    expected = least_squares(table[["row", "y"]])["row"]
    for coefficients in (
        {name: value["estimate"] for name, value in solution["coefficients"].items()},
        {name.removeprefix("W/"): value for name, value in report["exact"]["coefficients"].items()},
        {name.removeprefix("W/"): value for name, value in report["coefficients"].items()},
    ):
        assert coefficients["row"] + coefficients["time"] / 12 == pytest.approx(expected, rel=1e-2)
        assert abs(coefficients["time"]) < 1000
    assert report["gap"] < 1e-2 * report["exact"]["objective"] / 72
    assert "collinear" in linreg("solve", *TABLE, "--model.l2", "0", cwd=tmp_path).stdout


@pytest.mark.parametrize("name", ["time", "place"])
def test_streamed_has_the_same_bits(name: str, tmp_path: Path) -> None:
    reports, weights = [], []
    far_features()[name].to_csv(tmp_path / "table.csv", index=False)
    for limit in ("0", "1"):
        length = ("--trainer.max_epochs", "5", "--data.batch_size", "200", "--data.shuffle", "false")
        report = fitted(tmp_path, *length, "--data.memory_limit", limit)
        reports.append(report)
        weights.append(read_checkpoint(checkpoints(tmp_path / RUN)[-1]).contents.state_dict)
    assert reports[0] == reports[1]
    assert {key: value.numpy().tobytes() for key, value in weights[0].items()} == {
        key: value.numpy().tobytes() for key, value in weights[1].items()
    }


@pytest.mark.parametrize("limit", ["0", "1"])
def test_killed_run_resumes(limit: str, tmp_path: Path) -> None:
    """A run on columns far from 0 that is killed and resumed ends with the bits of one that was not."""
    job = (
        *(*TABLE, "--data.memory_limit", limit, "--data.batch_size", "100", "--trainer.max_epochs", "80"),
        *("--checkpoint_every_n_epochs", "10", "--trainer.log_every_n_steps", "7", "--data.val_fraction", "0.1"),
    )
    folders = [tmp_path / "untouched", tmp_path / "killed"]
    for folder in folders:
        folder.mkdir()
        far_features()["time"].to_csv(folder / "table.csv", index=False)
    done = linreg("fit", *job, cwd=folders[0])
    assert done.code == 0, done.stderr
    running = start("fit", *job, cwd=folders[1])
    wait_until(lambda: len(checkpoints(folders[1] / RUN)) > 0)
    running.process.kill()
    assert running.wait().code < 0
    assert not (folders[1] / RUN / "report.json").exists()
    resumed = linreg("fit", "--resume", "auto", cwd=folders[1])
    assert resumed.code == 0, resumed.stderr
    assert_same_run(*folders)
