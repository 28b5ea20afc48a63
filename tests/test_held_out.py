"""Tests which rows are held out, and compares their metrics with scikit-learn."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from sklearn.linear_model import LinearRegression as Exact
from sklearn.metrics import mean_squared_error, r2_score
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.data.table.encoded_rows import EncodedRows
from tests.commands import linreg
from tests.problems import problem
from tests.runs import DIABETES, PLAIN, RUN, assert_same_run, curves
from tests.trainers import Trajectory, plain_trainer

FLAGS = ("--data", "TableDataModule", "--data.target", "y", *PLAIN, "--model.learning_rate", "0.1")


def table(num_rows: int = 400, seed: int = 0) -> pa.Table:
    """Returns numbered rows, and a target that depends on the second feature; all values are exact in float32."""
    generator = np.random.default_rng(seed)
    x = generator.integers(-99, 99, num_rows) / 64
    y = generator.integers(-99, 99, num_rows) / 64 + 3 * x
    return pa.table({"row": np.arange(num_rows, dtype=float) / 1024, "x": x, "y": y})


def with_weights(content: pa.Table, seed: int = 0) -> pa.Table:
    """Adds weights that grow with x; some are 0."""
    w = np.maximum(0, np.random.default_rng(seed).integers(-3, 5, len(content)) + 2 * content["x"].to_numpy())
    return content.append_column("w", pa.array(w))


def numbers(loader: Any) -> list[int]:
    """Returns the numbers of the rows that a loader yields."""
    return [round(1024 * float(row)) for x, _ in loader for row in x[:, 0]]


def parts(path: Any, **settings: Any) -> dict[str, list[int]]:
    """Returns the numbers of the rows in each part."""
    data = TableDataModule(path, "y", **settings)
    data.setup("fit")
    rows = {"fit": numbers(data.rows())}
    for stage, loader in (("validate", data.val_dataloader), ("test", data.test_dataloader)):
        data.setup(stage)
        rows[stage] = numbers(loader())
    return rows


def printed(*args: str, cwd: Path) -> dict[str, float]:
    """Runs an evaluation, and returns the numbers that it prints."""
    result = linreg(*args, cwd=cwd)
    assert (result.code, result.stderr) == (0, "")
    first, *lines = result.stdout.splitlines()
    assert re.fullmatch(r"rows +\d+ of \S+, held out", first)
    return {name: float(value) for name, value in (line.split() for line in lines)}


def assert_metrics(metrics: dict[str, float], stage: str, rows: pa.Table, report: dict[str, Any], l2: float) -> None:
    """Compares with scikit-learn's metrics at the coefficients of the report; six digits are printed."""
    W, w = report["coefficients"], rows["w"].to_numpy() if "w" in rows.column_names else None
    prediction = W["W/row"] * rows["row"].to_numpy() + W["W/x"] * rows["x"].to_numpy() + W["b"]
    mse = mean_squared_error(rows["y"].to_numpy(), prediction, sample_weight=w)
    loss = mse + l2 * (W["W/row"] ** 2 + W["W/x"] ** 2)
    expected = {"loss": loss, "mse": mse, "r2": r2_score(rows["y"].to_numpy(), prediction, sample_weight=w)}
    expected |= {"rmse": mse**0.5} if f"{stage}/rmse" in metrics else {}
    assert metrics == {f"{stage}/{name}": pytest.approx(value, rel=6e-6) for name, value in expected.items()}


# ---- which rows ----


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_each_row_is_in_one_part(memory_limit: Any, tmp_path: Path) -> None:
    pyarrow.parquet.write_table(table(), path := tmp_path / "t.parquet", row_group_size=70)
    settings = {"batch_size": 1, "shuffle": False, "seed": 3}
    rows_of = parts(path, val_fraction=0.25, test_fraction=0.2, memory_limit=memory_limit, **settings)
    assert sorted(row for rows in rows_of.values() for row in rows) == list(range(400)), "each row is in one part"
    assert 66 <= len(rows_of["validate"]) <= 134, "100 expected, standard deviation 8.7"
    assert 48 <= len(rows_of["test"]) <= 112, "80 expected, standard deviation 8"
    assert rows_of == parts(table(), val_fraction=0.25, test_fraction=0.2, **settings)


def test_fractions_are_independent() -> None:
    both, test_alone = parts(table(), val_fraction=0.3, test_fraction=0.2), parts(table(), test_fraction=0.2)
    val_alone = parts(table(), val_fraction=0.3)
    assert both["test"] == test_alone["test"]
    assert both["validate"] == val_alone["validate"]
    assert test_alone["validate"] == list(range(400)), "without held-out rows, all are used"
    assert val_alone["test"] == list(range(400))


def test_held_out_rows_in_files(tmp_path: Path) -> None:
    content = table()
    for name, rows in {"fit.csv": content[:300], "test.csv": content[350:]}.items():
        pyarrow.csv.write_csv(rows, tmp_path / name)
    validation = content[300:350].select(["y", "x", "row"]).append_column("more", pa.array(["?"] * 50))
    pyarrow.parquet.write_table(validation, tmp_path / "val.parquet")  # another order, another format, one more column
    files = {"val_path": tmp_path / "val.parquet", "test_path": [tmp_path / "test.csv"]}
    expected = {"fit": range(300), "validate": range(300, 350), "test": range(350, 400)}
    assert parts(tmp_path / "fit.csv", shuffle=False, **files) == {name: list(rows) for name, rows in expected.items()}
    frames = {"val_path": content[300:350], "test_path": content[350:]}
    data = TableDataModule(content[:300], "y", **frames)
    assert data.hparams["val_path"] == "the Table", "a checkpoint can't contain a frame"
    assert parts(content[:300], **frames)["test"] == list(range(350, 400))


def test_fit_and_solve_skip_held_out(tmp_path: Path) -> None:
    content = table()
    pyarrow.csv.write_csv(content, tmp_path / "t.csv")
    flags = ("--data.path", "t.csv", "--data.val_fraction", "0.2", "--data.test_fraction", "0.3")
    chosen = content.take(sorted(parts(content, val_fraction=0.2, test_fraction=0.3)["fit"]))
    exact = Exact().fit(np.stack([chosen["row"], chosen["x"]], axis=1), chosen["y"])
    solved = linreg("solve", *FLAGS, *flags, "--model.l2", "0", "--json", cwd=tmp_path)
    solution = json.loads(solved.stdout)
    assert solution["num_rows"] == len(chosen)
    assert solution["coefficients"]["x"]["estimate"] == pytest.approx(exact.coef_[1], rel=1e-9)
    assert linreg("fit", *FLAGS, *flags, "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["exact"]["coefficients"]["W/x"] == pytest.approx(exact.coef_[1], rel=1e-6)


def test_fingerprint_covers_fit_and_validation() -> None:
    def fingerprint(val: pa.Table, test: pa.Table, memory_limit: float) -> str:
        settings: dict[str, Any] = {"val_path": val, "test_path": test, "memory_limit": memory_limit}
        data = TableDataModule(table(), "y", batch_size=10, **settings)
        data.setup("fit")
        return data.fingerprint

    one, other = table(9, seed=1), table(9, seed=2)
    for limit in (1.0, 0.0):
        assert fingerprint(one, one, limit) == fingerprint(one, other, 1.0)
        assert fingerprint(one, one, limit) != fingerprint(other, one, 1.0)


# ---- metrics ----


@pytest.mark.parametrize("memory_limit", ["1", "0"], ids=["held", "streamed"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("in_files", [False, True], ids=["fractions", "files"])
def test_metrics_equal_scikit_learn(in_files: bool, weighted: bool, memory_limit: str, tmp_path: Path) -> None:
    content, weigh = table(), with_weights if weighted else lambda rows: rows
    pyarrow.csv.write_csv(weigh(content), tmp_path / "t.csv")
    if in_files:
        held_out = {"validate": weigh(table(60, seed=1)), "test": weigh(table(70, seed=2))}
        for name, rows in held_out.items():
            pyarrow.parquet.write_table(rows, tmp_path / f"{name}.parquet")
        flags = ["--data.val_path", "validate.parquet", "--data.test_path", "test.parquet"]
    else:
        rows_of = parts(content, val_fraction=0.2, test_fraction=0.3, seed=7)
        held_out = {name: weigh(content).take(rows_of[name]) for name in ("validate", "test")}
        flags = ["--data.val_fraction", "0.2", "--data.test_fraction", "0.3", "--data.seed", "7"]
    flags += ["--data.weight", "w"] if weighted else []
    flags += ["--data.path", "t.csv", "--data.memory_limit", memory_limit, "--data.batch_size", "100"]
    flags += ["--model.l2", "0.01", "--trainer.max_epochs", "20"]
    fitted = linreg("fit", *FLAGS, *flags, cwd=tmp_path)
    assert (fitted.code, fitted.stderr) == (0, "")
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    steps = report["global_step"]
    checkpoint = str(RUN / "checkpoints" / f"step={steps}.ckpt")
    for command, stage in (("validate", "val"), ("test", "test")):
        metrics = printed(command, "--ckpt_path", checkpoint, cwd=tmp_path)
        assert f"{stage}/rmse" in metrics
        assert_metrics(metrics, stage, held_out[command], report, l2=0.01)
    reported = {f"val/{name}": report["held_out"][name] for name in ("loss", "mse", "r2")}
    assert_metrics(reported, "val", held_out["validate"], report, l2=0.01)
    validated = held_out["validate"]
    num_weighted = np.count_nonzero(validated["w"]) if weighted else len(validated)
    assert report["held_out"]["num_rows"] == num_weighted, "rows of weight 0 do not count"
    assert f"over {num_weighted} rows" in fitted.stdout
    for tag, value in reported.items():
        step, drawn = curves(tmp_path / RUN)[tag][-1]
        assert step == steps
        assert drawn == pytest.approx(value, rel=1e-6)


def test_validation_reads_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validates while fitting: the precomputed summary gives the metrics at any W and b."""
    content = table()
    data = TableDataModule(content, "y", batch_size=50, val_fraction=0.3, memory_limit=0.0)
    data.setup("fit")
    model = LinearRegression.tutorial(2, learning_rate=0.1)
    held_out = content.take(sorted(set(range(400)) - {*parts(content, val_fraction=0.3)["fit"]}))
    x, y = np.stack([held_out["row"], held_out["x"]], axis=1), held_out["y"].to_numpy()
    validations: list[dict[str, float]] = []

    class Validations(Trajectory):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            validations.append({name: value.item() for name, value in trainer.callback_metrics.items()})

    reading, real = [], EncodedRows.read

    def noting(self: EncodedRows, part: Any, *args: Any, **kwargs: Any) -> Iterator[np.ndarray]:
        reading.append(part)
        return real(self, part, *args, **kwargs)

    monkeypatch.setattr(EncodedRows, "read", noting)
    seen = Validations()
    plain_trainer(4, seen, val_check_interval=2, num_sanity_val_steps=0).fit(model, data)
    assert set(reading) == {"fit"}
    steps = data.steps_per_epoch
    after = [epoch * steps + step - 1 for epoch in range(4) for step in range(2, steps + 1, 2)]
    assert len(validations) == len(after) > 4
    for step, metrics in zip(after, validations, strict=True):
        prediction = x @ seen.W[step].double().numpy() + seen.b[step].double().numpy()
        assert metrics["val/mse"] == pytest.approx(mean_squared_error(y, prediction), rel=1e-6)
        assert metrics["val/r2"] == pytest.approx(r2_score(y, prediction), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_plain_trainer_validates_dataloader(precision: Any) -> None:
    """Uses batches of unequal sizes, whose means need weights."""
    x, y, *_ = problem(53, 3, 2, 0.0, seed=1)
    rows = TensorDataset(x.float(), y.float() + 5)
    model = LinearRegression.tutorial(3, 2, learning_rate=0.05, l2=0.1)
    trainer = plain_trainer(3, precision=precision)
    trainer.fit(model, DataLoader(rows, batch_size=10), DataLoader(rows, batch_size=7))
    prediction = (x @ model.W.double() + model.b).detach().numpy()
    mse = mean_squared_error(y + 5, prediction)
    expected = {
        "val/mse": mse,
        "val/loss": mse + 0.1 * model.W.square().sum().item(),
        "val/r2": r2_score(y + 5, prediction, multioutput="variance_weighted"),
    }
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    assert metrics == {name: pytest.approx(value, rel=1e-5) for name, value in expected.items()}
    trainer.test(model, DataLoader(rows, batch_size=20), verbose=False)
    assert trainer.callback_metrics["test/r2"].item() == pytest.approx(expected["val/r2"], rel=1e-5)


def test_constant_targets_have_no_r2(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(table(), tmp_path / "t.csv")
    (tmp_path / "same.csv").write_text("row,x,y\n1,2,0.1\n2,3,0.1\n5,3,0.1\n")
    flags = ("--data.path", "t.csv", "--data.val_path", "same.csv", "--trainer.max_epochs", "3")
    fitted = linreg("fit", *FLAGS, *flags, cwd=tmp_path)
    assert (fitted.code, fitted.stderr) == (0, "")
    assert "R² unknown over 3 rows" in fitted.stdout
    assert json.loads((tmp_path / RUN / "report.json").read_text())["held_out"]["r2"] is None
    shown = curves(tmp_path / RUN)
    assert "val/r2" not in shown
    assert len(shown["val/mse"]) == 3
    validated = linreg("validate", "--ckpt_path", str(RUN / "checkpoints" / "step=3.ckpt"), cwd=tmp_path)
    assert "val/r2     unknown\n" in validated.stdout


def test_run_with_validation_file_resumes(tmp_path: Path) -> None:
    content = pyarrow.csv.read_csv(DIABETES)
    flags = (
        *("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", "progression"),
        *("--data.val_path", "val.csv", "--data.batch_size", "60", *PLAIN, "--model.learning_rate", "0.05"),
        *("--model.momentum", "0.9", "--trainer.val_check_interval", "4", "--trainer.max_epochs"),
    )
    for name in ("untouched", "resumed"):
        (tmp_path / name).mkdir()
        pyarrow.csv.write_csv(content[:350], tmp_path / name / "fit.csv")
        pyarrow.csv.write_csv(content[350:], tmp_path / name / "val.csv")
    assert linreg("fit", *flags, "30", cwd=tmp_path / "untouched").code == 0
    assert linreg("fit", *flags, "11", cwd=tmp_path / "resumed").code == 0
    (tmp_path / "resumed" / "val.csv").rename(tmp_path / "resumed" / "moved.csv")
    onward = ("--resume", str(RUN), "--data.val_path", "moved.csv", "--trainer.max_epochs", "30")
    result = linreg("fit", *onward, cwd=tmp_path / "resumed")
    assert (result.code, result.stderr) == (0, "")
    assert_same_run(tmp_path / "untouched", tmp_path / "resumed")
    assert [step for step, _ in curves(tmp_path / "resumed" / RUN)["val/r2"]] == list(range(4, 151, 4))
    pyarrow.csv.write_csv(content[351:], tmp_path / "resumed" / "moved.csv")
    result = linreg("fit", *onward[:-1], "31", cwd=tmp_path / "resumed")
    assert result.code == 2
    assert "contents of the data" in result.stderr


def test_stop_on_r2(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(table(), tmp_path / "t.csv")
    rule = ("--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/r2")
    mode = ("--trainer.callbacks.mode", "max", "--trainer.callbacks.stopping_threshold", "0.8")
    flags = ("--data.path", "t.csv", "--data.val_fraction", "0.3", "--trainer.max_epochs", "1000")
    result = linreg("fit", *FLAGS, *flags, *rule, *mode, cwd=tmp_path)
    assert "stopped by EarlyStopping: Stopping threshold reached: val/r2" in result.stdout


# ---- errors ----


def write_parquet(folder: Path, **columns: Any) -> None:
    pyarrow.parquet.write_table(pa.table(columns), folder / "bad.parquet")


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "both": ({"val_fraction": 0.1}, {"c": ["a"], "x": [1.0], "y": [1.0]}, "val_path and val_fraction both say"),
    "no column": ({}, {"c": ["a"], "y": [1.0]}, r"bad.parquet: there is no column 'x'.*--data.val_path"),
    "no weight": (
        {"weight": "w"},
        {"c": ["a"], "x": [1.0], "y": [1.0]},
        r"bad.parquet: there is no column 'w'.*--data.val_path",
    ),
    "no weight but 0": (
        {"weight": "w"},
        {"c": ["a"], "x": [1.0], "y": [1.0], "w": [0.0]},
        "bad.parquet: the weights of all rows are 0",
    ),
    "no target": ({}, {"c": ["a"], "x": [1.0]}, r"bad.parquet: there is no column 'y'.*--data.val_path"),
    "new category": (
        {},
        {"c": ["a", "d"], "x": [1.0, 2.0], "y": [1.0, 2.0]},
        r"bad.parquet: column 'c', row 2: 'd' is none of the 2 categories",
    ),
    "numbers for text": (
        {},
        {"c": [1], "x": [1.0], "y": [1.0]},
        r"bad.parquet: column 'c', row 1: '1' is none of the",
    ),
    "text for numbers": ({}, {"c": ["a"], "x": ["u"], "y": [1.0]}, r"bad.parquet: column 'x', row 1: 'u' is not a"),
    "dates": (
        {},
        {"c": ["a"], "x": pa.array([1], pa.date32()), "y": [1.0]},
        r"bad.parquet: column 'x', row 1: '1970-01-02' is not a number",
    ),
    "missing": ({}, {"c": ["a"], "x": [None], "y": [1.0]}, r"bad.parquet: column 'x', row 1: a value is missing"),
    "no rows": ({}, {"c": pa.array([], pa.string()), "x": pa.array([], pa.float64()), "y": []}, "not a single row"),
}


@pytest.mark.parametrize(("settings", "columns", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_validation_rows(settings: dict[str, Any], columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_parquet(tmp_path, **columns)
    fitted = pa.table({"c": ["a", "b"] * 10, "x": np.arange(20.0), "y": np.arange(20.0), "w": np.ones(20)})
    settings = {"features": ["c", "x"], **settings}
    with pytest.raises(InputError, match=words):
        TableDataModule(fitted, "y", val_path=tmp_path / "bad.parquet", **settings).setup("fit")


def test_bad_test_rows_stop_early(tmp_path: Path) -> None:
    pyarrow.csv.write_csv(table(), tmp_path / "t.csv")
    (tmp_path / "test.csv").write_text("row,y\n1,2\n")
    flags = ("--data.path", "t.csv", "--data.test_path", "test.csv")
    result = linreg("fit", *FLAGS, *flags, cwd=tmp_path)
    assert (result.code, result.stderr.count("\n")) == (2, 1)
    assert "test.csv: there is no column 'x'" in result.stderr
    assert not (tmp_path / "lightning_logs").exists()


@pytest.mark.parametrize(
    ("fractions", "words"),
    [
        ({"test_fraction": 1.5}, "test_fraction is 1.5: give --data.test_fraction"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no rows to fit"),
        ({"val_fraction": 0.5, "test_fraction": 1e-9}, r"--data.test_fraction 1e-09 of 400 rows leaves 0 to test"),
        ({"val_fraction": 0.5, "test_fraction": 0.499999}, "of 400 rows leaves 0 to fit"),
    ],
)
def test_fractions_leave_no_rows(fractions: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        TableDataModule(table(), "y", **fractions).setup("fit")  # type: ignore[arg-type]


def test_text_column_of_true_only(tmp_path: Path) -> None:
    """A column that was fitted as text stays text, even if a file contains only `true`."""
    (tmp_path / "fit.csv").write_text("c,y\n" + "true,1\nfalse,2\nmaybe,3\n" * 5)
    (tmp_path / "val.csv").write_text("y,c\n1,true\n1,true\n")
    data = TableDataModule(tmp_path / "fit.csv", "y", val_path=tmp_path / "val.csv")
    data.setup("validate")
    ((x, _),) = data.val_dataloader()
    assert torch.equal(x, torch.tensor([[0.0, 0, 1]] * 2))


@pytest.mark.parametrize("held_out", ["val_fraction", "val_path"])
def test_offered_remedy_for_unseen_categories(held_out: str, tmp_path: Path) -> None:
    labels = [f"r{i}" if i % 9 == 0 else "ab"[i % 2] for i in range(100)]
    pa.csv.write_csv(pa.table({"g": labels, "y": np.arange(100.0) ** 2 % 7}), tmp_path / "all.csv")
    pa.csv.write_csv(pa.table({"g": list("ab") * 30, "y": np.arange(60.0) % 7}), tmp_path / "plain.csv")
    path = str(tmp_path / ("all.csv" if held_out == "val_fraction" else "plain.csv"))
    settings: dict[str, Any] = {held_out: 0.3 if held_out == "val_fraction" else str(tmp_path / "all.csv")}
    with pytest.raises(InputError, match="is none of the") as refused:
        TableDataModule(path, "y", **settings).setup("fit")
    assert refused.value.flags == {"unseen": "missing", "missing": "drop"}
    data = TableDataModule(path, "y", **settings, **refused.value.flags)
    data.setup("fit")
    data.setup("validate")
    known = sum(len(batch[0]) for batch in data.val_dataloader())
    assert 0 < known < (100 if held_out == "val_path" else 30)
    assert held_out == "val_fraction" or known == sum(label in "ab" for label in labels)
