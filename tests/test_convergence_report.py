"""A coefficient that prints as the exact one has converged, whatever its initial error was."""

import json
import math
import re
from pathlib import Path

import pytest
import torch

from linreg_pl.core.forecast import forecast
from linreg_pl.core.statistics import rounding_of_print
from linreg_pl.exact.epochs_in_words import forecast_in_words
from tests.commands import linreg
from tests.runs import RUN

TABLE = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y")


def test_rounding_of_print() -> None:
    values = torch.tensor([1.0, -999999.0, 0.0, 123.456, 2e-12], dtype=torch.float64)
    expected = [0.5e-5, 0.5, 0.0, 0.5e-3, 0.5e-17]
    assert rounding_of_print(values).tolist() == pytest.approx(expected, rel=1e-12)
    assert f"{1.23456e-12:.6g}" == f"{1.23456e-12 + 0.99 * 0.5e-17:.6g}"


def test_forecast_of_an_error_below_the_print() -> None:
    """The first direction does not move; its error is 1e-7, which is printed if less than that is allowed."""
    converging = forecast(torch.diag(torch.tensor([0.0, 1.0], dtype=torch.float64)), learning_rate=0.1)
    start = torch.tensor([[1e-7], [1.0]], dtype=torch.float64)
    assert converging.epochs_until(start)[0].item() == math.inf
    epochs = converging.epochs_until(start, least=torch.full((2, 1), 1e-6).double())
    assert epochs[0].item() == 0
    assert epochs[1].item() == pytest.approx(math.log(0.01) / math.log(0.8))
    looser = converging.epochs_until(start, least=torch.full((2, 1), 0.1).double())
    assert looser[1].item() == pytest.approx(math.log(0.1) / math.log(0.8))


def table_around_0(path: Path) -> None:
    """Writes a table whose feature has the mean 0 to rounding, and whose target has the mean 5.1."""
    rows = [(x, 5.1 + 2 * x + noise) for x in (-1.1, -0.3, 0.3, 1.1) for noise in (0.5, -0.5)]
    path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in rows))


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("fine", ["true", "false"])
def test_coefficient_that_starts_at_its_exact_value(schedule: str, fine: str, tmp_path: Path) -> None:
    """The feature's mean is 0 to rounding, so b starts at its exact value, 5.1, but for what float32 rounds."""
    table_around_0(tmp_path / "t.csv")
    plain = ("--model.precondition", "false", "--model.momentum", "0")
    settings = ("--model.schedule", schedule, "--model.standardize", fine, *plain)
    result = linreg("fit", *TABLE, *settings, "--trainer.max_epochs", "40", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    [line] = re.findall(r"^forecast +(.*)$", result.stdout, re.M)
    assert "never" not in line
    assert "1% off" not in line
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    for name in ("W", "b"):
        fitted, exact = report["coefficients"][name], report["exact"]["coefficients"][name]
        assert f"{fitted:.6g}" == f"{exact:.6g}" or name == "W"
        assert report["epochs_to_1_percent"][name]["seen"] is not None
        [row] = re.findall(rf"^  {name} +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", result.stdout, re.M)
        assert row[0] == row[1] or name == "W"
        assert name == "W" or row[2] == "0.000"
        assert row[3].isdigit()
        assert row[4].isdigit()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("standardize", ["true", "false"])
def test_start_is_exact_if_preconditioned(schedule: str, standardize: str, tmp_path: Path) -> None:
    """All coefficients arrive and the table, without epochs, shows them at distance 0."""
    table_around_0(tmp_path / "t.csv")
    settings = ("--model.schedule", schedule, "--model.standardize", standardize)
    result = linreg("fit", *TABLE, *settings, "--trainer.max_epochs", "40", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "never" not in result.stdout
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    for name in ("W", "b"):
        fitted, exact = report["coefficients"][name], report["exact"]["coefficients"][name]
        assert f"{fitted:.6g}" == f"{exact:.6g}"
        assert report["epochs_to_1_percent"][name]["seen"] is not None
        [row] = re.findall(rf"^  {name} +(\S+) +(\S+) +(\S+)$", result.stdout, re.M)
        assert row == (f"{exact:.6g}", f"{exact:.6g}", "0.000")


def test_forecast_without_an_end_in_words() -> None:
    assert forecast_in_words({"W": 12.0, "b": math.inf}, math.inf) == "W is within 1% by epoch 12; b does not converge"
    many = {f"W/{i}": float(i) for i in range(1, 7)}
    assert forecast_in_words(many, math.inf) == "6 of 6 coefficients come within 1%; the last, W/6, by epoch 6"
    many["W/6"] = math.inf
    assert forecast_in_words(many, math.inf) == "5 of 6 coefficients come within 1%; 1 never converge"
    assert forecast_in_words(many, 3) == "3 of 6 coefficients are within 1% by the run's end; 1 never converge"
    assert forecast_in_words(many, 3, ends=True) == "3 of 6 coefficients are within 1% by the run's end"
    assert forecast_in_words({"W": 4.6e10, "b": math.inf}, 9) == (
        "W is within 1% by epoch 4.6e10; b will still be more than 1% off when this run ends"
    )
