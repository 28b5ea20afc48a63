"""Small tables of the kinds that people have, each with the right values: of statsmodels, or of exact arithmetic."""

import math
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from linreg_pl import InputError, TableDataModule
from linreg_pl.exact.solution import Solution, solve
from linreg_pl.training.hyper_parameters import HyperParameters
from tests.commands import linreg

CASES = Path(__file__).parent / "cases"


def solution(path: Any, target: Any = "y", **settings: Any) -> Solution:
    """Solves a table in this process."""
    data = TableDataModule(str(path) if isinstance(path, Path) else path, target, **settings)
    data.setup("solve")
    return solve(data, HyperParameters(data.num_features, num_targets=data.num_targets))


def refusal(path: Any, target: Any = "y", **settings: Any) -> InputError:
    """Returns the refusal of a table that can't be used as it is."""
    with pytest.raises(InputError) as refused:
        solution(path, target, **settings)
    return refused.value


def remarks(answer: Solution) -> str:
    return "\n".join(answer.remarks)


def estimates(answer: Solution) -> dict[str, float]:
    """Returns W by name."""
    return {name: entry["estimate"] for name, entry in answer.to_dict()["coefficients"].items()}


Pair = tuple[float, float]  # a coefficient and its standard error
SOLVED: dict[str, tuple[dict[str, Any], int, float, dict[str, Pair], list[str]]] = {
    # settings, rows, loss, coefficients, words of the remarks
    "row_and_group_number": ({}, 354, 0.2591055028, {"row": (0.707842, 0.033276), "group": (-2.113246, 0.099831)}, []),
    "ranges": ({}, 20, 0.005185955, {"a": (0.97425, 0.013148)}, []),
    "playing_cards": ({}, 24, 0.006616105684, {"a": (1.993226, 0.013628)}, ["'value'", "categories"]),
    "one_number_among_labels": ({}, 24, 0.009149195336, {"a": (2.017815, 0.015984)}, ["'c'", "'12.50'"]),
    "dot": (
        {"missing": "drop"},
        19,
        0.009953831134,
        {"a": (1.987499, 0.012824), "b": (0.019963, 0.011482)},
        ["'b' has '.' in 1 row, read as missing", "dropped 1 of 20 rows with a missing value: 'b' in 1"],
    ),
    "dates": ({}, 20, 0.00981704813, {"day": (0.102642, 0.004288), "a": (1.970035, 0.012808)}, ["'day'", "1970-01-01"]),
    "label_column": ({}, 120, 0.01191738009, {"a": (2.000365, 0.004999)}, ["'rownames'", "120 of 120 rows"]),
    "constant": ({}, 24, 0.01547088242, {"a": (1.999578, 0.019189)}, []),
    "empty_column": ({"missing": "drop"}, 12, 0.009466488119, {"a": (1.990161, 0.016662)}, ["'b'", "empty"]),
    "twice": ({}, 12, 0.006991044539, {"a": (1.98735, 0.015117), "a.1": (0.016331, 0.034187)}, ["twice", "'a.1'"]),
    "line_break_in_quotes": ({}, 12, 0.007379342912, {"a": (1.997828, 0.020178)}, []),
}


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize("name", SOLVED)
def test_right_values(name: str, memory_limit: float | None) -> None:
    settings, num_rows, loss, coefficients, words = SOLVED[name]
    answer = solution(CASES / f"{name}.csv", **settings, memory_limit=memory_limit)
    content = answer.to_dict()
    assert content["num_rows"] == num_rows
    assert content["objective"] == pytest.approx(loss, rel=5e-10)
    for column, (estimate, error) in coefficients.items():
        entry = content["coefficients"][column]
        assert entry["estimate"] == pytest.approx(estimate, abs=6e-7)
        assert entry["standard_error"] == pytest.approx(error, abs=6e-7)
    assert [word for word in words if word not in remarks(answer)] == []


CATEGORIES = {
    "ranges": ["size=1-1.5l", "size=1.5-2l", "size=<1l", "size=>2l"],
    "playing_cards": ["value=2", "value=3", "value=J", "value=Q"],
    "one_number_among_labels": ["c=12.50", "c=art", "c=law", "c=maths"],
    "line_break_in_quotes": ["c=one", "c=two\nlines"],
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories(name: str) -> None:
    assert list(estimates(solution(CASES / f"{name}.csv"))) == [*CATEGORIES[name], "a"]


@pytest.mark.parametrize("missing", [None, "error", "mean", "indicator"])
def test_empty_column(missing: Any) -> None:
    assert list(estimates(solution(CASES / "empty_column.csv", missing=missing))) == ["a"]


def test_label_can_be_excluded() -> None:
    answer = solution(CASES / "label_column.csv", exclude=["rown*"])
    assert answer.problem.optimum.objective == pytest.approx(0.01191738009, rel=5e-10)
    assert "rownames" not in remarks(answer)


def test_labels_and_gaps() -> None:
    """One message settles both."""
    error = refusal(CASES / "label_and_gaps.csv", missing="error")
    assert "label_and_gaps.csv: column 'a', row 4: a value is missing" in str(error)
    assert "2 of 120 rows: 'a' in 2" in str(error)
    assert error.flags == {"missing": "drop"}
    frame = pd.read_csv(CASES / "label_and_gaps.csv").dropna()
    slope, intercept = np.polyfit(frame.a, frame.y, 1)
    for flags in (error.flags, {}):
        answer = solution(CASES / "label_and_gaps.csv", **flags)
        assert estimates(answer) == {"a": pytest.approx(slope, rel=1e-9)}
        assert float(answer.problem.optimum.b) == pytest.approx(intercept, rel=1e-9)
        assert "dropped 2 of 120 rows with a missing value: 'a' in 2" in remarks(answer)
    assert "'rownames'" in remarks(answer)


def test_exact_fit() -> None:
    answer = solution(CASES / "exact_fit.csv")
    assert estimates(answer) == {"a": pytest.approx(2, rel=1e-12), "b": pytest.approx(0.25, rel=1e-12)}
    assert "essentially perfect fit" in " ".join(answer.warnings())
    assert all(entry["standard_error"] is None for entry in answer.to_dict()["coefficients"].values())


def test_constant_column() -> None:
    answer = solution(CASES / "constant.csv")
    entry = answer.to_dict()["coefficients"]["c"]
    assert (entry["estimate"], entry["standard_error"]) == (0, None)
    assert "'c' is constant" in " ".join(answer.warnings())


def test_short_row() -> None:
    assert "short_row.csv: row 2 has 2 values" in str(refusal(CASES / "short_row.csv"))


def test_rows_depend_on_time() -> None:
    answer = solution(CASES / "time_beside_row_number.csv")
    alone = solution(CASES / "time_beside_row_number.csv", features=["row"])
    entry = alone.to_dict()["coefficients"]["row"]
    assert entry["estimate"] == pytest.approx(-9.739195, abs=6e-7)
    assert entry["standard_error"] == pytest.approx(3.744326, abs=6e-7)
    assert answer.to_dict()["r_squared"] == pytest.approx(0.0881318310, rel=1e-8)
    assert "'row', 'time' are collinear" in " ".join(answer.warnings())
    assert answer.to_dict()["coefficients"]["row"]["standard_error"] is None


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_line_breaks_in_notes(ending: str, memory_limit: float | None, tmp_path: Path) -> None:
    """Over several blocks of the reader, the inside of a quoted text is never a row."""
    note = "first\n900,1,second"
    pd.DataFrame({"y": 2 * (np.arange(120_000) % 7), "a": np.arange(120_000) % 7, "note": note}).to_csv(
        tmp_path / f"t.{ending}", index=False
    )
    answer = solution(tmp_path / f"t.{ending}", memory_limit=memory_limit)
    content = answer.to_dict()
    assert (content["num_rows"], content["r_squared"]) == (120_000, 1)
    W = estimates(answer)
    assert list(W) == ["a", f"note={note}"]
    assert W["a"] == pytest.approx(2, rel=1e-12)
    assert content["intercept"]["estimate"] + W[f"note={note}"] == pytest.approx(0, abs=1e-9)


def test_unused_notes(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    a = generator.normal(size=60_000).round(5)
    notes = ["see\n1.0,300.0,old" if row % 7 == 0 else "fine, thanks, and well" for row in range(len(a))]
    frame = pd.DataFrame({"a": a, "y": (2 * a + 7 + generator.normal(0, 0.1, len(a))).round(5), "note": notes})
    frame.to_csv(tmp_path / "t.csv", index=False)
    slope, intercept = np.polyfit(frame.a, frame.y, 1)
    answer = solution(tmp_path / "t.csv", features=["a"])
    assert estimates(answer) == {"a": pytest.approx(slope, rel=1e-9)}
    assert float(answer.problem.optimum.b) == pytest.approx(intercept, rel=1e-9)


def test_wide_table(tmp_path: Path) -> None:
    """1501 columns take seconds, not minutes; a slow machine gets half a minute."""
    x = np.random.default_rng(0).integers(0, 2, (6, 1501))
    frame = pd.DataFrame(x, columns=[f"x{column}" for column in range(1501)]).assign(y=np.arange(6) % 5 + 10)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    start = time.process_time()
    answer = solution(tmp_path / "wide.csv")
    assert time.process_time() - start < 30
    assert answer.to_dict()["num_rows"] == 6
    assert answer.problem.optimum.objective == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("target", ["1980", "null", "true", "1e5", "[a]", "a: b", "~"])
def test_odd_names(target: str) -> None:
    frame = pd.read_csv(CASES / "odd_names.csv")
    features = [name for name in frame if name not in (target, "y")]
    for choice in (None, features):
        answer = solution(CASES / "odd_names.csv", target, features=choice, exclude=["y"])
        assert list(estimates(answer)) == features
        design = np.column_stack([np.ones(len(frame)), frame[features].astype(float)])
        expected = np.linalg.lstsq(design, frame[target].astype(float), rcond=None)[0]
        np.testing.assert_allclose(list(estimates(answer).values()), expected[1:], rtol=1e-8, atol=1e-10)


UNITS = ["{} kg", "CHF {}", "{}K", "EUR {}", "{} m²", "{} USD"]


@pytest.mark.parametrize("form", UNITS)
def test_units(form: str, tmp_path: Path) -> None:
    b = np.random.default_rng(2).integers(2, 20, 60)
    pd.DataFrame({"b": [form.format(value) for value in b], "y": 2 * b}).to_csv(tmp_path / "t.csv", index=False)
    error = refusal(tmp_path / "t.csv")
    assert f"t.csv: column 'b', row 1: {form.format(b[0])!r}" in str(error)
    assert "--data.numbers '[b]'" in str(error)
    assert error.flags == {"numbers": ["b"]}
    assert estimates(solution(tmp_path / "t.csv", **error.flags)) == {"b": pytest.approx(2, rel=1e-12)}
    names = list(estimates(solution(tmp_path / "t.csv", categorical=["b"])))
    assert names == sorted(f"b={form.format(value)}" for value in set(b.tolist()))


SIGNS = {"-{}": -1, "\N{MINUS SIGN}{}": -1, "({})": -1, "{}%": 1, "€ {}": 1, "{} €": 1, "$1,0{}.5": 0}


@pytest.mark.parametrize("form", SIGNS)
def test_decorated_numbers(form: str, tmp_path: Path) -> None:
    """A column of decorated numbers is never one of categories without a word."""
    b = np.random.default_rng(2).integers(10, 40, 60)
    texts = [form.format(value) for value in b]
    read = SIGNS[form] * b if SIGNS[form] else 1000.5 + b
    pd.DataFrame({"b": texts, "y": 2 * read}).to_csv(tmp_path / "t.csv", index=False)
    settings = {}
    if form == "({})":
        error = refusal(tmp_path / "t.csv")
        assert f"column 'b', row 1: {texts[0]!r}" in str(error)
        settings = error.flags
    answer = solution(tmp_path / "t.csv", **settings)
    assert estimates(answer) == {"b": pytest.approx(2, rel=1e-12)}


def test_frames() -> None:
    generator = np.random.default_rng(1)
    frame = pd.DataFrame({"a": generator.normal(size=50), "b": generator.normal(size=50)})
    frame["y"] = frame.a + frame.b
    bands = pd.cut(frame.a, 3)
    answer = solution(frame.assign(band=bands))
    assert list(estimates(answer))[2:] == sorted(f"band={band}" for band in bands.cat.categories)
    numbered = solution(frame.set_axis([0, 1, 2], axis=1), 2)
    assert estimates(numbered) == {"0": pytest.approx(1), "1": pytest.approx(1)}


SEPARATED = {  # the name, the separator and the decimal mark of a file
    "german.csv": (";", ","),
    "semicolons.tsv": (";", "."),
    "commas.tsv": (",", "."),
    "tabs.csv": ("\t", ","),
    "bars.csv": ("|", "."),
    "table.txt": (";", ","),
}


@pytest.mark.parametrize("name", SEPARATED)
@pytest.mark.parametrize("says_so", [False, True])
def test_separators(name: str, says_so: bool, tmp_path: Path) -> None:
    delimiter, decimal = SEPARATED[name]
    generator = np.random.default_rng(4)
    frame = pd.DataFrame(generator.integers(-999, 999, (30, 2)) / 100, columns=["a", "b"])
    frame["y"] = (2 * frame.a - frame.b + 1).round(2)
    frame.to_csv(tmp_path / name, index=False, sep=delimiter, decimal=decimal)
    settings: dict[str, Any] = {"delimiter": delimiter, "decimal": decimal} if says_so else {}
    answer = solution(tmp_path / name, **settings)
    assert estimates(answer) == {"a": pytest.approx(2, rel=1e-9), "b": pytest.approx(-1, rel=1e-9)}


PRICES = {" Area sqm ": 2900, "rooms": 9000, "listed on": 35, "discount": -2500, "built": 0}
CITIES = {"Ulm": 0, "Köln": 40_000, "Graz": -20_000, "Basel": 150_000}


def test_messy_prices(tmp_path: Path) -> None:
    """An office's export is fitted in two runs; the second is the command that the first offers."""
    flags = ("--data", "TableDataModule", "--data.path", str(CASES / "messy_prices.csv"), "--data.target", "price")
    first = linreg("solve", *flags, cwd=tmp_path)
    assert first.code == 2
    *_, introduction, command = first.stderr.splitlines()
    assert introduction == "This works:"
    second = linreg(*shlex.split(command)[1:], cwd=tmp_path)
    assert second.code == 0, second.stderr
    assert "'listing_id': it differs in 600 of 600 rows" in second.stderr
    error = refusal(CASES / "messy_prices.csv", "price")
    for answer in (
        solution(CASES / "messy_prices.csv", "price", drop_first=True, **error.flags),
        solution(CASES / "messy_prices.csv", "price", drop_first=True, **error.flags, exclude=["remarks"]),
    ):
        content = answer.to_dict()["coefficients"]
        basel = CITIES["Basel"]
        expected = PRICES | {f"city={name}": value - basel for name, value in CITIES.items() if name != "Basel"}
        expected |= {"energy=2": 0, "energy=A": 30_000, "energy=B": 10_000, "energy=C": 0}
        expected |= {f"floor={name}": 0 for name in ("2", "3", "ground")}
        for name, value in expected.items():
            entry = content[name]
            assert abs(entry["estimate"] - value) < 3 * entry["standard_error"], name
            assert math.isfinite(entry["standard_error"])
