"""`linreg path` and `linreg_pl.path` choose the same l2, and write what they show."""

import json
import re
import shlex
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import linreg_pl
from linreg_pl import InputError
from linreg_pl.cli.command import LinregCLI
from linreg_pl.core.elastic_net_path import Axis
from linreg_pl.exact.path import axis_of
from linreg_pl.plots.path_pictures import picture, write_path
from tests.commands import linreg

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "examples" / "diabetes.csv"


def test_command_and_python_agree(tmp_path: Path) -> None:
    flags = f"path --data TableDataModule --data.path {TABLE} --data.target progression --folds.count 4 --json"
    result = linreg(*flags.split(), "--l2", "[0, 0.01, 0.1, 1]", f"--output={tmp_path / 'out'}", cwd=tmp_path)
    assert result.code == 0, result.stderr
    printed = json.loads(result.stdout)
    ours = linreg_pl.path(str(TABLE), "progression", folds=4, l2=[0, 0.01, 0.1, 1])
    assert printed == json.loads(json.dumps(ours.to_dict()))
    assert (printed["varies"], printed["best"]) == ("l2", ours.best)
    assert ours.lines()[-1].endswith(" error: --model.l2 0.1")
    assert str(ours).splitlines()[-1].endswith(" error: l2=0.1")
    assert (tmp_path / "out" / "path.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "path.json").read_text()) == printed
    (others := tmp_path / "others").mkdir()
    (others / "events.out.tfevents.1").touch()
    write_path(ours, others)
    assert (others / "events.out.tfevents.1").exists(), "only an earlier path's curves are replaced"
    events = EventAccumulator(str(tmp_path / "out")).Reload()
    steps = [(point.step, point.value) for point in events.Scalars("coefficients/bmi")]
    expected = [
        (step, entry["coefficients"]["bmi"]) for step, entry in zip((-2000, -1000, 0), printed["path"][1:], strict=True)
    ]
    assert steps == [pytest.approx(pair) for pair in expected]


def test_coefficients_are_those_of_solve() -> None:
    result = linreg_pl.path(str(TABLE), "progression", l2=[0, 0.1, 3])
    for index, l2 in enumerate(result.l2):
        solved = linreg_pl.solve(str(TABLE), "progression", l2=l2)
        assert result.coefficients(index) == pytest.approx(solved.coefficients, rel=1e-9)


def test_feature_called_intercept() -> None:
    """y = 3 + 2 intercept + 5 a/b - b; names that end alike keep their own scale in the picture."""
    x = np.random.default_rng(0).normal(size=(40, 3)) * [1, 10, 100]
    frame = pd.DataFrame(x, columns=["intercept", "b", "a/b"]).assign(y=3 + x @ [2, -1, 5])
    result = linreg_pl.path(frame, "y", l2=[0, 1e-9, 1e-8])
    assert result.coefficients(0) == pytest.approx({"(intercept)": 3, "intercept": 2, "b": -1, "a/b": 5}, rel=1e-9)
    drawn = picture(result).axes[1].get_lines()
    starts = {line.get_label(): np.asarray(line.get_ydata())[0] for line in drawn}
    for name, coefficient in {"intercept": 2, "b": -1, "a/b": 5}.items():
        assert starts[name] == pytest.approx(coefficient * frame[name].std(ddof=0), rel=1e-6)


def test_groups_as_an_array() -> None:
    random = np.random.default_rng(0)
    x, groups = random.normal(size=(60, 3)), np.repeat(np.arange(12), 5)
    y = np.stack([x.sum(axis=1), x[:, 0]], axis=1) + random.normal(size=(60, 2))
    result = linreg_pl.path(x, y, by=groups, folds=3)
    assert list(result.coefficients(0)) == ["y0", "y1"]
    assert list(result.coefficients(0)["y0"]) == ["intercept", "x0", "x1", "x2"]
    assert result.num_rows == 60
    assert any(line.startswith("60 rows, 3 folds of groups; ") for line in result.lines())


def test_groups_are_a_feature_if_named_as_such() -> None:
    frame = pd.DataFrame({"a": np.arange(40.0) % 8, "b": np.arange(40.0) % 7, "y": np.arange(40.0)})
    for features in (None, ["a", "b"]):
        result = linreg_pl.path(frame, "y", by="a", l2=1, features=features)
        assert result.columns.feature_names == (features or ["b"])


GAPS = {
    "numbers": [1.0, 2.0, float("nan")] * 4,
    "texts": np.array(["a", "b", float("nan")] * 4, dtype=object),
    "None": [1, 2, None] * 4,
    "series": pd.Series(["a", "b", None] * 4),
}


@pytest.mark.parametrize("groups", GAPS.values(), ids=list(GAPS))
def test_rows_without_a_group(groups: Any) -> None:
    x, y = np.random.default_rng(0).normal(size=(12, 1)), np.arange(12.0)
    frames = [pd.DataFrame({"x": x[:, 0], "y": y, "who": list(groups)})]
    if not isinstance(groups[0], str):
        frames.append(polars.DataFrame({"x": x[:, 0], "y": y, "who": list(groups)}))
    doors: list[tuple[Any, str, str]] = [(linreg_pl.path, "by", "group"), (linreg_pl.solve, "cluster", "cluster")]
    for function, argument, word in doors:
        with pytest.raises(InputError, match=rf"column '{argument}', row 3: .* so the row has no {word}"):
            function(x, y, **{argument: groups})
        for frame in frames:
            with pytest.raises(InputError, match=rf"column 'who', row 3: .* so the row has no {word}"):
                function(frame, "y", **{argument: "who"})


def test_fewer_groups_than_folds() -> None:
    x, y, groups = np.random.default_rng(0).normal(size=(30, 1)), np.arange(30.0), np.arange(30) % 3
    for search in (linreg_pl.path, linreg_pl.subsets):
        with pytest.raises(
            InputError, match=r"^by has 3 values in .*, and .* 5 folds: give by another .*, or folds=3$"
        ):
            search(x, y, by=groups)
        with pytest.raises(InputError, match=r"^by has 1 value in .*, and there are 5 folds: give by another column$"):
            search(x, y, by=np.zeros(30))
        with pytest.raises(InputError, match="by has 2 values"):
            search(x, y, by=groups, folds=3, weights=groups)
        with pytest.raises(InputError, match="there are 30 rows for 31 folds: give folds a smaller number"):
            search(x, y, folds=31)
        with pytest.raises(InputError, match=r"and by has shape \(3,\)"):
            search(x, y, by=[1, 2, 3])


def test_two_blocks_in_order() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2))
    result = linreg_pl.path(x, x.sum(axis=1) + x[::-1, 0], l1=[0, 0.1, 1], folds=2, in_order=True).to_dict()
    assert result["varies"] == "l1"
    for entry in result["path"]:
        first, second = entry["fold_errors"]
        assert entry["standard_error"] == pytest.approx(abs(first - second) / 2)


def values_of(given: Any) -> Any:
    """Returns the values of l2 along a path, and checks that l1 is read alike."""
    values = axis_of(given, None)[1]
    axis, of_l1 = axis_of(None, given)
    assert values is not None
    assert axis == (Axis("l1") if of_l1 is not None else Axis("l2", other=float(values[0])))
    return values.tolist()


def test_values() -> None:
    assert values_of([1, 0.1]) == pytest.approx(np.logspace(-1, 0, 6))
    assert values_of([3, 0, 1, 1]) == [0, 1, 3]
    for one in (0.5, [0.5], np.float32(0.5), np.array(0.5), torch.tensor(0.5), Fraction(1, 2), [0.5, 0.5]):
        assert values_of(one) == [0.5]
    assert values_of(np.int64(1)) == [1]
    for kind in (list, tuple, set, np.array, torch.tensor, pd.Series, polars.Series):
        assert values_of(kind([0.5, 2.0, 1.0])) == [0.5, 1, 2]
    widest = values_of([1e-300, 1e300])
    assert len(widest) == 3001
    assert (widest[0], widest[5], widest[-1]) == pytest.approx((1e-300, 1e-299, 1e300))


@pytest.mark.parametrize(
    "given",
    [
        *("x", "123", "0.5", b"1", True, [True, 2, 3], {0.5: 1}, [], [-1.0], [float("inf")], float("nan"), [0, 1]),
        *([[1, 2]], 10**400, ["0.5"], [None], np.eye(2), pd.Series([1.0, None]), range(-100, 0), object(), 1j),
    ],
)
def test_values_that_are_refused(given: Any) -> None:
    for pair in ((given, None), (None, given)):
        with pytest.raises(InputError, match=r"^l[12] is .{1,150}give .*$"):
            axis_of(*pair)


def test_l1_of_almost_0() -> None:
    x, y = np.eye(9)[:, :3], np.arange(9.0)
    result = linreg_pl.path(x, y, l1=1e-310, l2=[0])
    expected = np.linalg.lstsq(np.column_stack([np.ones(9), x]), y, rcond=None)[0]
    assert list(result.coefficients(0).values()) == pytest.approx(expected)


def test_refused_value_from_python() -> None:
    """A list is quoted for a shell only."""
    with pytest.raises(InputError, match=r"^l2 is -1: give l2 finite numbers, 0 or more, such as \[1e-4, 10\]$"):
        linreg_pl.path(str(TABLE), "progression", l2=-1)
    with pytest.raises(InputError, match=r"^l2 is -1: give --l2 finite numbers, 0 or more, such as '\[1e-4, 10\]'$"):
        axis_of(-1, None)


def test_settings_without_effect() -> None:
    with pytest.raises(InputError, match="momentum"):
        linreg_pl.path(str(TABLE), "progression", momentum=0.9)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model.l1 3 --l2 [0,1,2]", "--model.l1 has no effect on a path: give --l1"),
        ("--output settings.yaml", "settings.yaml: a file is in the way of a folder; give --output another place"),
        ("--model.l2 3", "--model.l2 has no effect on a path: give --l2"),
        ("--config settings.yaml", "--model.momentum has no effect on a path: leave it out"),
        ("--trainer.max_epochs 5", "--trainer.max_epochs has no effect on a path, which trains nothing: leave it out"),
        ("--l2 much", "--l2: expected a finite number or a list of numbers, such as '[1, 10]' or 'auto', found much"),
        ("--criterion BIC", "--criterion has no effect without --subsets: leave it out, or give both"),
        ("--subsets forward --model.l2 3", "--model.l2 has no effect on subsets: leave it out"),
        ("--subsets forward --model.standardize false", "--model.standardize has no effect on subsets: leave it out"),
        ("--subsets forward --l1 3", "--l1 has no effect on subsets: leave out --l1 or --subsets"),
        ("--subsets forward --criterion BIC --model.l2 0 --model.fit_intercept false", None),
        ("--model.momentum 0 --model.standardize false --criterion CV --l2 1", None),
    ],
)
def test_flags_without_effect(
    flags: str, words: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.yaml").write_text("model: {l2: 0, learning_rate: auto, momentum: 0.9}")
    args = f"--data TableDataModule --data.path {TABLE} --data.target progression {flags}".split()
    with nullcontext() if words is None else pytest.raises(InputError, match=f"^{re.escape(words)}$"):
        LinregCLI("path", args)
    assert ("442 rows, 5 folds" in capsys.readouterr().out) == (words is None)


@pytest.mark.parametrize("flags", ["--l2 [0.1,1,10] --l1 0.1 --model.fit_intercept false", "--subsets forward"])
def test_printed_command_fits_the_choice(flags: str, tmp_path: Path) -> None:
    """Its rows and columns are the path's: the column of the groups is left out."""
    x = np.random.default_rng(0).normal(size=(60, 4))
    names = ["a", "b b", "c", "d"]
    frame = pd.DataFrame(x, columns=names).assign(who=np.arange(60) % 9, y=x @ [2, 0, 5, 1] + x[:, 0] ** 2)
    frame.to_csv(tmp_path / "t.csv", index=False)
    table = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--data.exclude", "[d]")
    result = linreg("path", *table, "--folds.by", "who", *flags.split(), cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    match = re.fullmatch(r"fit +\S+ (.*)", result.stdout.splitlines()[-1])
    assert match is not None
    assert linreg(*shlex.split(match[1]), cwd=tmp_path).code == 0
    report = json.loads((tmp_path / "lightning_logs/version_0/report.json").read_text())
    fitted = {name.removeprefix("W/"): value for name, value in report["exact"]["coefficients"].items()}
    frame = frame.drop(columns="d")
    if "--subsets" in flags:
        assert [*fitted] == [*linreg_pl.subsets(frame, "y", by="who").chosen, "b"] != [*names[:3], "b"]
        return
    ours = linreg_pl.path(frame, "y", by="who", l2=[0.1, 1, 10], l1=0.1, fit_intercept=False)
    expected = ours.coefficients(ours.l2.index(ours.within_one_standard_error))
    assert set(names[:3]) <= set(fitted) <= {*names[:3], "b"}
    assert [fitted[name] for name in names[:3]] == pytest.approx([expected[name] for name in names[:3]])


def test_folder_of_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    flags = f"path --data TableDataModule --data.path {TABLE} --data.target progression --output {tmp_path}"
    result = linreg(*flags.split(), cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert "this is the folder of a run" in result.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "config.yaml"]


def test_lines_name_the_ends() -> None:
    result = linreg_pl.path(str(TABLE), "progression", l2=[10, 20, 30])
    assert any("smallest l2 that was tried" in line for line in result.lines())
    assert "best" in result.lines()[1]
