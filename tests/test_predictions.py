"""`linreg predict` takes any table with the features, copies columns beside the predictions, and adds intervals."""

import datetime
import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
import scipy.stats

from linreg_pl.runs.durable_files import unfinished_name
from tests.commands import Result, linreg
from tests.runs import PLAIN, RUN

COLORS = ["blue", "green", "red"]
CHECKPOINT = str(RUN / "checkpoints" / "step=150.ckpt")
EXACTLY = (
    *(*PLAIN, "--model.learning_rate", "auto", "--model.momentum", "0.5"),
    *("--model.l2", "0", "--trainer.max_epochs", "150"),
)


def table(num_rows: int = 40, seed: int = 0) -> pa.Table:
    """Returns a table of two number columns, a text column, two targets that depend on them, and weights from 0 on."""
    generator = np.random.default_rng(seed)
    a, b = generator.integers(-99, 99, (2, num_rows)) / 64
    color = generator.choice(COLORS, num_rows)
    y = 2 * a - b + 3 * (color == "red") + generator.standard_normal(num_rows)
    z, w = y * 5 + generator.standard_normal(num_rows), generator.integers(0, 5, num_rows) / 2
    return pa.table({"a": a, "color": color, "b": b, "y": y, "z": z, "w": w})


def fit(folder: Path, *flags: str, target: str = "y", features: str = "[a, color, b]") -> dict[str, float]:
    """Trains until the run converges to the exact solution; returns its coefficients."""
    pyarrow.csv.write_csv(table(), folder / "fit.csv")
    data_flags = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", target)
    result = linreg("fit", *data_flags, "--data.features", features, *EXACTLY, *flags, cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    coefficients: dict[str, float] = json.loads((folder / RUN / "report.json").read_text())["coefficients"]
    return coefficients


def predict(folder: Path, *flags: str) -> Result:
    return linreg("predict", "--ckpt_path", CHECKPOINT, *flags, cwd=folder)


def predicted(folder: Path, *flags: str, output: str = "out.parquet") -> pa.Table:
    result = predict(folder, "--output", output, *flags)
    assert (result.code, result.stderr) == (0, "")
    read = pyarrow.csv.read_csv if output.endswith("csv") else pyarrow.parquet.read_table
    predictions: pa.Table = read(folder / output)
    num_empty = sum(value is None or np.isnan(value) for value in predictions["y_predicted"].to_pylist())
    empty = f", {num_empty} of them empty: a value of these rows is missing, or was not seen by the fit"
    assert result.stdout == f"{len(predictions)} predictions in {output}{empty if num_empty else ''}\n"
    return predictions


def columns_of(content: pa.Table) -> np.ndarray:
    """Returns the features as numbers: a, one for each color, b."""
    color = np.array(content["color"].to_pylist())
    numbers = [content["a"].to_numpy(), *(color == each for each in COLORS), content["b"].to_numpy()]
    return np.column_stack(numbers).astype(float)


@pytest.fixture(scope="module")
def fitted_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("fitted")
    return folder, fit(folder)


def expected(content: pa.Table, coefficients: dict[str, float]) -> np.ndarray:
    *W, b = coefficients.values()
    predictions: np.ndarray = columns_of(content) @ np.array(W) + b
    return predictions


# ---- which columns ----

WRITERS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "new.csv": pyarrow.csv.write_csv,
    "new.parquet": pyarrow.parquet.write_table,
    "new.feather": lambda content, path: pyarrow.feather.write_feather(content, str(path)),
}


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("memory_limit", ["1", "0"])
@pytest.mark.parametrize("name", WRITERS)
def test_features_match_by_name(
    name: str, memory_limit: str, output: str, fitted_once: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    """They may be in any order, among columns of any type."""
    folder, coefficients = fitted_once
    content = table(7, seed=1)
    when = pa.array([datetime.date(2026, 1, day + 1) for day in range(7)])
    mixed = content.select(["b", "color", "a"]).add_column(1, "when", when).append_column("no", pa.array(["?"] * 7))
    WRITERS[name](mixed, tmp_path / name)
    flags = ("--data.path", str(tmp_path / name), "--data.memory_limit", memory_limit)
    predictions = predicted(folder, *flags, output=output)
    assert predictions.column_names == ["y_predicted"]
    np.testing.assert_allclose(
        predictions["y_predicted"].to_numpy(), expected(content, coefficients), rtol=1e-5, atol=1e-5
    )


def test_features_come_from_the_checkpoint(tmp_path: Path) -> None:
    """The run took all columns as features; a further column, or a missing target, does not change them."""
    content = table().select(["color", "a", "y"])
    pyarrow.csv.write_csv(content, tmp_path / "all.csv")
    flags = ("--data", "TableDataModule", "--data.path", "all.csv", "--data.target", "y", *EXACTLY)
    assert linreg("fit", *flags, cwd=tmp_path).code == 0
    W = json.loads((tmp_path / RUN / "report.json").read_text())["coefficients"]
    assert list(W) == ["W/color=blue", "W/color=green", "W/color=red", "W/a", "b"]
    (tmp_path / "new.csv").write_text("id,when,a,color\n7,2026-01-01,0.5,red\n8,2026-01-02,-1,blue\n")
    predictions = predicted(tmp_path, "--data.path", "new.csv")["y_predicted"].to_numpy()
    values = [W["W/color=red"] + 0.5 * W["W/a"] + W["b"], W["W/color=blue"] - W["W/a"] + W["b"]]
    np.testing.assert_allclose(predictions, values, rtol=1e-5)
    wider = content.add_column(0, "more", pa.array(["?"] * len(content)))
    pyarrow.csv.write_csv(wider.select(["y", "more", "a", "color"]), tmp_path / "wider.csv")
    assert linreg("test", "--ckpt_path", CHECKPOINT, "--data.path", "wider.csv", cwd=tmp_path).code == 0
    onward = ("--resume", str(RUN), "--data.path", "wider.csv", "--trainer.max_epochs", "401")
    assert linreg("fit", *onward, cwd=tmp_path).code == 0, "the rows are the same"


def test_predictions_keep_the_row_order(fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    """The rows span many batches, whose ends are not those of the row groups."""
    folder, coefficients = fitted_once
    content = table(150_000, seed=2).append_column("id", pa.array(np.arange(150_000)))
    pyarrow.parquet.write_table(content, tmp_path / "new.parquet", row_group_size=40_000)
    predictions = predicted(folder, "--data.path", str(tmp_path / "new.parquet"), "--keep_columns", "[id, color]")
    assert predictions.column_names == ["id", "color", "y_predicted"]
    assert predictions["id"].to_numpy().tolist() == list(range(150_000))
    assert predictions["color"] == content["color"]
    np.testing.assert_allclose(
        predictions["y_predicted"].to_numpy(), expected(content, coefficients), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_text_is_copied_unchanged(output: str, fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    """Here 007 is not a number, NA is a country, and a quoted comma separates nothing."""
    path = tmp_path / "new.csv"
    path.write_text('id,country,"a,b",a,b,color\n007,NA,"x, ""y""",1.50,2,red\n1e5,,,2,1,blue\n')
    assert predict(fitted_once[0], "--data.path", str(path), "--keep_columns", "all", "--output", output).code == 0
    if output == "out.csv":
        text = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(["id", "country", "a,b", "a", "b", "color"], pa.string())
        )
        predictions = pyarrow.csv.read_csv(fitted_once[0] / output, convert_options=text)
    else:
        predictions = pyarrow.parquet.read_table(fitted_once[0] / output)
    assert predictions.column_names == ["id", "country", "a,b", "a", "b", "color", "y_predicted"]
    first, second = predictions.drop_columns(["y_predicted"]).to_pylist()
    assert first == {"id": "007", "country": "NA", "a,b": 'x, "y"', "a": "1.50", "b": "2", "color": "red"}
    assert second == {"id": "1e5", "country": "", "a,b": "", "a": "2", "b": "1", "color": "blue"}


def test_kept_columns_keep_their_types(fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    content = table(3)
    more = {
        "when": pa.array([datetime.datetime(2026, 1, 1, 12)] * 3),
        "large": pa.array([2**62 + 1] * 3),
        "list": pa.array([[1], [2, 3], None]),
        "missing": pa.array([None, "x", None]),
    }
    for name, column in more.items():
        content = content.append_column(name, column)
    content = content.set_column(1, "color", content["color"].dictionary_encode())
    pyarrow.parquet.write_table(content, path := tmp_path / "new.parquet")
    predictions = predicted(fitted_once[0], "--data.path", str(path), "--keep_columns", "all")
    assert predictions.column_names == [*content.column_names, "y_predicted"], "y is the table's own"
    for name in content.column_names:
        assert predictions[name].to_pylist() == content[name].to_pylist(), name
    refused = predict(fitted_once[0], "--data.path", str(path), "--keep_columns", "[list]", "--output", "list.csv")
    assert_refused(refused, "list.csv: a kept column can't be written", "--keep_columns")


# ---- intervals ----


def textbook(
    content: pa.Table, new: pa.Table, target: str, fit_intercept: bool, weighted: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Computes predictions and half widths of the 90 % interval of weighted least squares.

    With an intercept, one column is left out, as the colors are collinear with it.
    """
    x, x_new = (
        np.delete(columns_of(rows), 1, axis=1) if fit_intercept else columns_of(rows) for rows in (content, new)
    )
    if fit_intercept:
        x, x_new = (np.column_stack([np.ones(len(rows)), rows]) for rows in (x, x_new))
    y, w = content[target].to_numpy(), content["w"].to_numpy() if weighted else np.ones(len(x))
    inverse = np.linalg.inv((x.T * w) @ x)
    beta = inverse @ (x.T * w) @ y
    degrees = np.count_nonzero(w) - x.shape[1]
    s = np.sqrt(np.sum(w * (y - x @ beta) ** 2) / degrees)
    reach = scipy.stats.t.ppf(0.95, degrees) * s * np.sqrt(1 + np.sum((x_new @ inverse) * x_new, axis=1))
    return x_new @ beta, reach


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize(
    ("flags", "fit_intercept"),
    [
        ((), True),
        (("--model.fit_intercept", "false"), False),
        (("--model.standardize", "true"), True),
        (("--data.memory_limit", "0", "--data.batch_size", "40"), True),
    ],
    ids=["intercept", "none", "standardized", "streamed"],
)
def test_interval_matches_the_textbook(
    flags: tuple[str, ...], fit_intercept: bool, weighted: bool, tmp_path: Path
) -> None:
    """The fit has a column for each color, which are collinear with the intercept; its predictions are the same."""
    flags += ("--data.weight", "w") if weighted else ()
    fit(tmp_path, *flags, "--trainer.precision", "64-true", target="[y, z]")
    new = table(9, seed=3)
    pyarrow.csv.write_csv(new.select(["color", "b", "a"]), tmp_path / "new.csv")
    predictions = predicted(tmp_path, "--data.path", "new.csv", "--interval", "0.9", output="out.csv")
    assert predictions.column_names == ["y_predicted", "y_lower", "y_upper", "z_predicted", "z_lower", "z_upper"]
    for target in ("y", "z"):
        centre, reach = textbook(table(), new, target, fit_intercept, weighted)
        for name, value in {"_predicted": centre, "_lower": centre - reach, "_upper": centre + reach}.items():
            # Descent ends near the exact solution; 0.01 would already be a hundredth of a deviation.
            np.testing.assert_allclose(predictions[target + name].to_numpy(), value, rtol=1e-5, atol=2e-5)
        lower, upper = (predictions[f"{target}_{end}"].to_numpy() for end in ("lower", "upper"))
        np.testing.assert_allclose((upper - lower) / 2, reach, rtol=1e-8)


def test_interval_of_a_missing_value(tmp_path: Path) -> None:
    fit(tmp_path, "--data.missing", "drop")
    (tmp_path / "new.csv").write_text("a,color,b\n1,red,2\n,red,2\n1,,2\n1,blue,2\n")
    predictions = predicted(tmp_path, "--data.path", "new.csv", "--interval", "0.9", "--data.memory_limit", "0")
    for name in ("y_predicted", "y_lower", "y_upper"):
        assert np.isnan(predictions[name].to_numpy()).tolist() == [False, True, True, False]


# ---- refused input, and the files it leaves ----


def assert_refused(result: Result, *words: str) -> None:
    """Asserts one line, followed by a command only where the message offers one."""
    assert (result.code, result.stdout) == (2, ""), result.stderr
    assert re.fullmatch(r"linreg: [^\n]+\n(This works:\n[^\n]+linreg predict [^\n]+\n)?", result.stderr), result.stderr
    for word in words:
        assert word in result.stderr


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


NEW = "a,color,b\n1,red,2\n"
REFUSED = {
    "no column": ("a,colour,b\n1,red,2\n", "", "new.csv: there is no column 'color' (did you mean 'colour'?)|'b'"),
    "no columns": ("x\n1\n", "", "new.csv: there are no columns 'a', 'color', 'b'"),
    "new category": (
        NEW + "1,pink,2\n",
        "--data.unseen error",
        "new.csv: column 'color', row 2: 'pink' is none of the 3 categories",
    ),
    "text for numbers": (
        "a,color,b\nx,red,2\n",
        "--data.unseen error",
        "new.csv: column 'a', row 1: 'x' is not a number",
    ),
    "no category for the rest": (
        NEW + "1,pink,2\n",
        "--data.unseen other",
        "row 2: 'pink' is none of|--data.rare other",
    ),
    "no such column to keep": (NEW, "--keep_columns [B]", "new.csv: there is no column 'B'|'b'|--keep_columns"),
    "one to keep twice": (NEW, "--keep_columns [b,b]", "--keep_columns names 'b' more than once"),
    "a bound's name": (
        "y_lower,a,color,b\n1,1,red,2\n",
        "--keep_columns all --interval 0.9",
        "'y_lower' would name",
    ),
    "interval too large": (NEW, "--interval 95", "interval is 95.0: give --interval a number between 0 and 1"),
    "no interval": (NEW, "--interval wide", "--interval|wide"),
}


@pytest.mark.parametrize(("content", "flags", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_predictions_are_refused(
    content: str, flags: str, words: str, fitted_once: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text(content)
    (tmp_path / "out.csv").write_text("before")
    paths = ("--data.path", str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.csv"))
    assert_refused(predict(fitted_once[0], *paths, *flags.split()), *words.split("|"))
    assert file_names(tmp_path) == ["new.csv", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "before"


def test_late_failure_keeps_the_old_file(fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    content = table(140_000)
    colors = content["color"].to_pylist()
    colors[-1] = "pink"
    content = content.set_column(1, "color", pa.array(colors))
    pyarrow.parquet.write_table(content, path := tmp_path / "new.parquet", row_group_size=30_000)
    (tmp_path / "out.csv").write_text("before")
    paths = ("--data.path", str(path), "--output", str(tmp_path / "out.csv"))
    flags = (*paths, "--keep_columns", "all", "--data.unseen", "error")
    assert_refused(predict(fitted_once[0], *flags), "new.parquet: column 'color', row 140000: 'pink' is none of")
    assert file_names(tmp_path) == ["new.parquet", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == "before"


def test_unfinished_file_is_replaced(fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(NEW)
    unfinished_name(tmp_path / "out.csv").write_text("half of a line," * 1000)
    flags = ("--data.path", str(tmp_path / "new.csv"), "--output", str(tmp_path / "out.csv"))
    assert predict(fitted_once[0], *flags).code == 0
    assert file_names(tmp_path) == ["new.csv", "out.csv"]
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2


def limit_of_files() -> None:
    """Limits files to 100 kB, as a full disk would."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_full_disk(fitted_once: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    pyarrow.parquet.write_table(table(200_000), tmp_path / "new.parquet")
    for name in ("out.csv", "out.parquet"):
        flags = ("--data.path", str(tmp_path / "new.parquet"), "--output", str(tmp_path / name))
        full = linreg("predict", "--ckpt_path", CHECKPOINT, *flags, cwd=fitted_once[0], before=limit_of_files)
        assert_refused(full, f"{name}: nothing can be written there", "--output")
        assert file_names(tmp_path) == ["new.parquet"]


def test_impossible_intervals_are_refused(tmp_path: Path) -> None:
    fit(tmp_path, "--exact", "false", "--model.learning_rate", "0.1")
    assert_refused(predict(tmp_path, "--interval", "0.9"), f"{CHECKPOINT}: --interval needs the exact solution")
    assert linreg("fit", "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    checkpoint = str(RUN.with_name("version_1") / "checkpoints" / "step=2.ckpt")
    for flags in (("--interval", "0.9"), ("--keep_columns", "all")):
        assert_refused(linreg("predict", "--ckpt_path", checkpoint, *flags, cwd=tmp_path), flags[0])
    pyarrow.csv.write_csv(table(5), tmp_path / "few.csv")
    data_flags = ("--data", "TableDataModule", "--data.path", "few.csv", "--data.target", "y")
    assert linreg("fit", *data_flags, "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    checkpoint = str(RUN.with_name("version_2") / "checkpoints" / "step=1.ckpt")
    few = linreg("predict", "--ckpt_path", checkpoint, "--interval", "0.9", cwd=tmp_path)
    assert_refused(few, "there is no interval, 5 rows are too few: fit more rows than coefficients")


def test_output_never_replaces_the_input(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n2,4\n3,6.5\n")
    data = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y")
    assert linreg("fit", *data, "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    before = (tmp_path / "t.csv").read_bytes()
    (tmp_path / "link.csv").symlink_to("t.csv")
    for name in ("t.csv", "link.csv"):
        result = linreg("predict", "--ckpt_path", str(RUN / "checkpoints/step=1.ckpt"), "--output", name, cwd=tmp_path)
        assert (result.code, result.stderr.count("\n")) == (2, 1)
        assert "the rows are read from this file; give --output another name" in result.stderr
    assert (tmp_path / "t.csv").read_bytes() == before
