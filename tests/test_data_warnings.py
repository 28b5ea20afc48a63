"""Tables that leave coefficients or standard errors undetermined: what `linreg solve` says of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.cli.run_length import PlannedRun
from linreg_pl.exact.solution import Solution, solve
from linreg_pl.exact.summary import solution_lines
from tests.commands import linreg

a, b, noise = np.random.default_rng(0).standard_normal((3, 40))
PERFECT = "an essentially perfect fit{}: standard errors would be only rounding; is the target made from a feature?"


def solved(
    columns: dict[str, Any], folder: Path, target: str | list[str] = "y", drop_first: bool = False, **settings: Any
) -> Solution:
    """Solves a table of these columns."""
    lines = [",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True)]
    (folder / "t.csv").write_text("\n".join([",".join(columns), *lines]) + "\n")
    data = TableDataModule(str(folder / "t.csv"), target, drop_first=drop_first)
    data.setup("solve")
    model = LinearRegression(data.num_features, data.num_targets, **settings)
    return solve(data, model.settings)


def errors(solution: Solution, target: int = 0) -> list[float | None]:
    """Returns the standard errors that are shown, of b and W."""
    rows = range(0 if solution.settings.fit_intercept else 1, 1 + len(solution.feature_names))
    return [solution.estimate(row, target)["standard_error"] for row in rows]


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("settings", [{}, {"fit_intercept": False}, {"l2": 1e-10}, {"precondition": False}], ids=str)
def test_perfect_fit(settings: dict[str, Any], offset: float, tmp_path: Path) -> None:
    shift = 0 if settings.get("fit_intercept") is False else offset
    solution = solved({"a": a, "b": b, "y": 2 * a + shift}, tmp_path, **settings)
    assert solution.warnings() == [PERFECT.format("")]
    assert set(errors(solution)) == {None}
    advice = solution.to_dict()["advice"]
    assert advice.startswith("An essentially perfect fit: ")
    assert not [flag for flag in ("--model.l2", "momentum", "drop_first") if flag in advice]


def test_one_perfect_target_of_two(tmp_path: Path) -> None:
    solution = solved({"a": a, "b": b, "y": a + noise, "z": a - 3 * b}, tmp_path, ["y", "z"])
    assert solution.warnings() == [PERFECT.format(" of 'z'")]
    assert None not in errors(solution)
    assert set(errors(solution, target=1)) == {None}


@pytest.mark.parametrize("size", [1e-9, 1e-6])
def test_small_noise_is_no_perfect_fit(size: float, tmp_path: Path) -> None:
    solution = solved({"a": a, "b": b, "y": 2 * a + size * noise}, tmp_path)
    assert solution.warnings() == []
    assert None not in errors(solution)


@pytest.mark.parametrize(("rows", "many"), [(1, False), (2, True), (3, False), (4, False)])
def test_too_few_rows(rows: int, many: bool, tmp_path: Path) -> None:
    solution = solved({"a": a[:rows], "b": b[:rows], "y": noise[:rows]}, tmp_path)
    said = " ".join(solution.warnings())
    assert ("no degrees of freedom for 3 coefficients" in said) == (rows <= 3)
    assert ("many W are exact" in said) == many
    assert (set(errors(solution)) == {None}) == (rows <= 3)
    assert "collinear" not in said + solution.to_dict()["advice"]


def test_constant_columns(tmp_path: Path) -> None:
    solution = solved({"a": a, "c": [7] * 40, "d": [1e9] * 40, "y": a + noise}, tmp_path)
    assert solution.warnings() == ["'c', 'd' are constant: their W are 0"]
    assert [error is None for error in errors(solution)] == [False, False, True, True]
    plain = solved({"a": a, "c": [7] * 40, "y": a + noise}, tmp_path, precondition=False)
    assert plain.convergence.advice() == ""


def test_constant_target(tmp_path: Path) -> None:
    solution = solved({"a": a, "y": [0.1] * 40}, tmp_path)
    assert solution.warnings() == ["the target 'y' is constant: there is nothing to explain"]
    assert set(errors(solution)) == {None}


def test_category_is_dropped_only_where_it_helps(tmp_path: Path) -> None:
    colour = ["red" if row % 3 else "blue" for row in range(40)]
    drop, leave = "--data.drop_first true", "Leave out one of the collinear columns"
    only_colour = solved({"colour": colour, "a": a, "y": noise}, tmp_path).convergence.advice()
    both = solved({"colour": colour, "a": a, "copy": a, "y": noise}, tmp_path).convergence.advice()
    no_colour = solved({"a=b": a, "copy": a, "y": noise}, tmp_path).convergence.advice()
    dropped = solved({"colour": colour, "a": a, "copy": a, "y": noise}, tmp_path, drop_first=True).convergence.advice()
    assert [drop in advice for advice in (only_colour, both, no_colour, dropped)] == [True, True, False, False]
    assert [leave in advice for advice in (only_colour, both, no_colour, dropped)] == [False, True, True, True]


def test_directions_of_a_preconditioned_solution(tmp_path: Path) -> None:
    solution = solved({"a": a, "b": a + 1e-4 * b, "y": a + noise}, tmp_path)
    printed = "\n".join(solution_lines(solution))
    assert "condition number of the standardized columns " in printed
    assert "Every direction converges alike" in printed
    assert not [word for word in ("halves", "converges slowly", "momentum") if word in printed]
    assert [each["direction"] for each in solution.to_dict()["halving_epochs"]] == ["every direction"]
    plain = solved({"a": a, "b": a + 1e-4 * b, "y": a + noise}, tmp_path, precondition=False)
    assert "W/a - W/b converges slowly" in "\n".join(solution_lines(plain)).replace("W/b - W/a", "W/a - W/b")


def test_reason_of_the_length() -> None:
    [line] = PlannedRun({"max_epochs": 10}, 0.1, False, True).lines()
    assert line == "length    10 epochs, so that coefficients end within 0.3 standard errors of their exact values"
    [line] = PlannedRun({"max_epochs": 1}, 0.1, False, False).lines()
    assert line == "length    1 epoch, so that the run ends at the exact solution, up to rounding"
    length, warning = PlannedRun({"max_epochs": 30}, 3.2, True, True).lines()
    assert length == "length    30 epochs, the most that are chosen automatically"
    assert warning.startswith("WARNING   some coefficients may end 3.2 standard errors from their exact values; ")
    assert "standard errors" not in PlannedRun({"max_epochs": 30}, 3.2, True, False).lines()[1]


def test_fit_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n" + "".join(f"{x},{2 * x}\n" for x in range(9)))
    table = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y")
    result = linreg("fit", *table, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert f"WARNING   {PERFECT.format('')}" in result.stdout
    assert "standard errors of" not in result.stdout
    assert "never" not in result.stdout
