"""Descriptions of a table: what each column is taken for, its missing values, and its range or categories."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from linreg_pl import TableDataModule
from tests.commands import linreg
from tests.test_cases import CASES

PRICES = {
    "listing_id": ("left out", None, "it differs in 600 of 600 rows"),
    " Area sqm ": ("number", 14, "20 … 195.3"),
    "rooms": ("number", 0, "1 … 5"),
    "city": ("4 categories", 7, "'Basel', 'Graz', 'Köln', 'Ulm'"),
    "built": ("number", 0, "1950 … 2019"),
    "listed on": ("date", 0, "2023-01-01 … 2025-06-18"),
    "discount": ("number", 0, "0 … 10"),
    "energy": ("5 categories", 0, "'1', '2', 'A', 'B' and 1 more"),
    "floor": ("not usable", None, "'ground'"),
    "remarks": ("3 categories", 158, "'near \"Markt\"'"),
    "price": ("number", 0, "52655.9 … 631434"),
}


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_messy_prices(memory_limit: float | None) -> None:
    path = str(CASES / "messy_prices.csv")
    described = {each.name: each for each in TableDataModule(path, "price", memory_limit=memory_limit).describe()}
    assert list(described) == list(PRICES)
    for name, (kind, missing, values) in PRICES.items():
        assert (described[name].kind, described[name].missing) == (kind, missing)
        assert values in described[name].values
    # The same by pandas.
    frame = pd.read_csv(path, na_values=["-", "."])
    assert described[" Area sqm "].missing == frame[" Area sqm "].isna().sum()
    assert described["remarks"].missing == frame["remarks"].isna().sum()
    area = frame[" Area sqm "]
    assert described[" Area sqm "].values == f"{area.min():g} … {area.max():g}"


CHOICES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "categorical": ({"categorical": ["floor"]}, {"floor": "4 categories"}),
    "missing": ({"missing_values": ["ground"]}, {"floor": "number"}),
    "exclude": ({"exclude": ["floor", "r*"]}, {"floor": "left out", "rooms": "left out", "remarks": "left out"}),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    settings, kinds = CHOICES[name]
    described = {
        each.name: each.kind for each in TableDataModule(CASES / "messy_prices.csv", "price", **settings).describe()
    }
    assert described == {name: kind for name, (kind, *_) in PRICES.items()} | kinds


def test_command_needs_no_target(tmp_path: Path) -> None:
    result = linreg("describe", "--data.path", str(CASES / "dates.csv"), cwd=tmp_path)
    assert result.code == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1] == ["day", "date", "0", "2020-01-01", "…", "2020-01-20"]
    assert [line[:2] for line in lines[2:4]] == [["a", "number"], ["y", "number"]]


def test_command_is_one_process(tmp_path: Path) -> None:
    table = "--data.path", str(CASES / "dates.csv")
    result = linreg("describe", *table, "--trainer.devices", "2", cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("linreg: --trainer.devices 2 is not possible here")


def test_kinds_of_time(tmp_path: Path) -> None:
    hours = pd.date_range("2024-01-01 08:30", periods=5, freq="15min")
    frame = pd.DataFrame({"clock": hours.time, "stamp": hours, "lasts": hours - hours[0], "y": range(5)})
    typed = {each.name: (each.kind, each.values) for each in TableDataModule(frame, "y").describe()}
    frame.drop(columns="lasts").to_csv(tmp_path / "t.csv", index=False)
    written = {each.name: (each.kind, each.values) for each in TableDataModule(tmp_path / "t.csv", "y").describe()}
    expected = {
        "clock": ("time of day", "08:30 … 09:30"),
        "stamp": ("date", "2024-01-01T08:30:00 … 2024-01-01T09:30:00"),
    }
    assert typed == {**expected, "lasts": ("duration in days", "0 … 0.0416667"), "y": ("number", "0 … 4")}
    assert written == {**expected, "y": ("number", "0 … 4")}
