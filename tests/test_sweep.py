"""The sweep over real tables: its choice of columns, its independent answer, and what counts as working."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.sweep import Result, compare, fit, lines, marks, solve
from benchmarks.sweep_answer import INTERCEPT, Table, least_squares, numbers
from benchmarks.sweep_tables import Choice, choose
from tests import commands


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Writes tables/some.csv: y = 3 + 2 size + 5 (color is red) + noise."""
    size = np.arange(12) ** 2 % 7 + 1e6
    color = np.array(["red", "blue", "green"] * 4)
    noise = 0.1 * np.array([1, -1, 2, 0, 1, -2, 1, 1, 0, -1, 2, 0])
    frame = pd.DataFrame(
        {"id": range(12), "size": size, "color": color, "y": 3 + 2 * size + 5 * (color == "red") + noise}
    )
    (tmp_path / "tables").mkdir()
    frame.to_csv(tmp_path / "tables" / "some.csv", index=False)
    return frame


@pytest.fixture
def choice(table: pd.DataFrame) -> Choice:
    chosen = choose("some", table)
    assert chosen is not None
    return chosen


def test_chosen_columns(choice: Choice) -> None:
    assert choice == Choice("some", "y", ["size", "color"], 12, has_all_columns=False)


def test_no_target() -> None:
    assert choose("none", pd.DataFrame({"text": ["a", "b", "c"], "one": [1, 1, 1], "id": [1, 2, 3]})) is None


def test_answer_is_least_squares(table: pd.DataFrame) -> None:
    """Compares with the normal equations of columns that need no centering."""
    x = np.column_stack([table["size"] - 1e6, table["color"] == "red"]).astype(float)
    y = table["y"].to_numpy()
    ones = np.column_stack([x, np.ones(12)])
    inverse = np.linalg.inv(ones.T @ ones)
    expected = inverse @ ones.T @ y
    answer = least_squares(x, y)
    assert np.append(answer.W, answer.b) == pytest.approx(expected, rel=1e-9)
    variance = np.sum((y - ones @ expected) ** 2) / (12 - 3)
    assert answer.errors == pytest.approx(np.sqrt(variance * np.diag(inverse)), rel=1e-6)


def test_categories_are_not_determined(table: pd.DataFrame, choice: Choice, tmp_path: Path) -> None:
    x, y = Table(choice.path(tmp_path)).rows(["size", "color=red", "color=blue", "color=green"], "y")
    answer = least_squares(x, y)
    assert np.isnan(answer.errors).tolist() == [False, True, True, True, True]


def test_other_categories(choice: Choice, tmp_path: Path) -> None:
    x, _ = Table(choice.path(tmp_path)).rows(["color=red", "color=other"], "y")
    assert x.tolist() == [[1, 0], [0, 1], [0, 1]] * 4


def test_readings() -> None:
    assert numbers(pd.Series(["1,234.5", "€ 2", "-", None])).tolist()[:2] == [1234.5, 2]
    assert numbers(pd.Series(["TRUE", "false"])).tolist() == [1, 0]
    assert numbers(pd.Series(["1970-01-02", "1971-01-01"])).tolist() == [1, 365]
    assert numbers(pd.Series(["06:00", "18:30"])).tolist() == pytest.approx([0.25, 18.5 / 24])
    with pytest.raises(ValueError):
        numbers(pd.Series(["1", "many"]))


def test_fit_is_compared(choice: Choice, tmp_path: Path) -> None:
    result = fit(choice, choice.path(tmp_path))
    assert (result.code, result.columns, result.tries) == (0, 4, 1)
    assert result.steps
    assert result.distance is not None
    assert result.distance[0] < 0.3


def test_solve_is_compared(choice: Choice, tmp_path: Path) -> None:
    result = solve(choice, choice.path(tmp_path))
    assert (result.code, result.tries, result.lost_rows) == (0, 1, 0)
    assert result.missed is not None
    assert result.missed < 1e-9


def test_imputed_means_are_compared(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table.loc[3, "size"], table.loc[5, "color"], table.loc[7, "y"] = np.nan, None, np.nan
    path = tmp_path / "tables" / "gaps.csv"
    table.to_csv(path, index=False)
    offer = f"linreg solve --data TableDataModule --data.path {path} --data.target y --data.missing mean"
    answer = commands.linreg(*offer.split()[1:], "--json", cwd=tmp_path)
    outputs = [commands.Result(2, "", f"linreg: no\n/bin/{offer}\n"), answer]
    monkeypatch.setattr(commands, "linreg", lambda *_, **__: outputs.pop(0))
    result = solve(Choice("gaps", "y", ["size", "color"], 9, has_all_columns=True), path)
    assert (result.tries, result.lost_rows, result.message) == (2, 0, "linreg: no\n/bin/" + offer)
    assert result.missed is not None
    assert result.missed < 1e-9


def test_feature_named_b(table: pd.DataFrame, tmp_path: Path) -> None:
    table.rename(columns={"size": "b"}).to_csv(tmp_path / "tables" / "named.csv", index=False)
    chosen = Choice("named", "y", ["b", "color"], 12, has_all_columns=False)
    for result in (fit(chosen, chosen.path(tmp_path)), solve(chosen, chosen.path(tmp_path))):
        assert result.missed is not None
        assert result.missed < 1e-3


def test_wrong_coefficient_shows(choice: Choice, tmp_path: Path) -> None:
    table = Table(choice.path(tmp_path))
    answer = least_squares(*table.rows(["size"], "y"))
    result, coefficients = Result("some", 12), {"size": float(answer.W[0] + answer.errors[0]), INTERCEPT: answer.b}
    compare(result, table, "y", coefficients, coefficients, num_rows=11)
    assert result.distance is not None
    assert result.distance[0] == pytest.approx(1)
    assert result.distance[1] == "size"
    text = "\n".join(lines([result], is_solve=True))
    assert "coefficients more than 1e-06 standard errors off: 1" in text
    assert "other rows than pandas finds: 1" in text


def test_offered_command_runs_once(choice: Choice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = "linreg solve --data.path some.csv --data.missing_values '[J, \"n a\"]'"
    value = {"estimate": 2.0}
    solution = {"num_rows": 12, "coefficients": {"size": value}, "intercept": value}
    outputs = [commands.Result(2, "", f"linreg: no\n  {offer}\n"), commands.Result(0, json.dumps(solution), "")]
    calls = []

    def linreg(*flags: str, **_: object) -> commands.Result:
        calls.append(flags)
        return outputs[len(calls) - 1]

    monkeypatch.setattr(commands, "linreg", linreg)
    result = solve(choice, choice.path(tmp_path))
    assert (result.code, result.tries, result.pasted) == (0, 2, offer)
    assert calls[1] == ("solve", "--data.path", "some.csv", "--data.missing_values", '[J, "n a"]', "--json")
    assert marks(calls[1]) == ["J", "n a"]
    assert "0 (0.0%) work at the first try, 1 (100.0%) in all" in "\n".join(lines([result], is_solve=True))
