"""Compares fits of real tables by the command with scikit-learn's Ridge."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import yaml
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from tests.commands import linreg
from tests.runs import PLAIN

ROOT = Path(__file__).parent.parent
DIABETES = ROOT / "examples" / "diabetes.csv"
RUN = Path("lightning_logs") / "version_0"


def ridge(path: Path, targets: list[str], l2: float) -> dict[str, float]:
    """Returns scikit-learn's coefficients under our names; its `alpha` multiplies a sum, our l2 a mean over N·K."""
    table = pyarrow.csv.read_csv(path)
    features = [name for name in table.column_names if name not in targets]
    x, y = (np.stack([table[name].to_numpy() for name in names], axis=1) for names in (features, targets))
    exact = Ridge(alpha=len(x) * len(targets) * l2, solver="svd").fit(x, y)
    coef, intercept = np.atleast_2d(exact.coef_), np.atleast_1d(exact.intercept_)
    suffix = {target: f"/{target}" if len(targets) > 1 else "" for target in targets}
    W = {f"W/{feature}{suffix[t]}": coef[k][d] for d, feature in enumerate(features) for k, t in enumerate(targets)}
    return W | {f"b{suffix[target]}": intercept[k] for k, target in enumerate(targets)}


def fitted(folder: Path, *arguments: str) -> dict[str, float]:
    """Runs `linreg fit`, and returns the coefficients of its report."""
    result = linreg("fit", *arguments, cwd=folder)
    assert (result.code, result.stderr) == (0, ""), result.stderr
    coefficients: dict[str, float] = json.loads((folder / RUN / "report.json").read_text())["coefficients"]
    return coefficients


def assert_close(coefficients: dict[str, float], exact: dict[str, float]) -> None:
    """Compares each coefficient to 1e-3; the intercept of a centred target is 0 up to rounding."""
    assert list(coefficients) == list(exact)
    for name, value in exact.items():
        assert coefficients[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_example_is_diabetes_table() -> None:
    table, original = pyarrow.csv.read_csv(DIABETES), load_diabetes()
    assert table.column_names == [*original.feature_names, "progression"]
    assert table.num_rows == 442
    assert table["progression"].to_numpy().tolist() == original.target.tolist()
    x = np.stack([table[name].to_numpy() for name in original.feature_names], axis=1)
    np.testing.assert_allclose(x, original.data * np.sqrt(442), atol=5.1e-7)  # written with six decimals


def test_example_config_agrees_with_ridge(tmp_path: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "diabetes.yaml").read_text())
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    coefficients = fitted(tmp_path, "--config", "examples/diabetes.yaml")
    assert_close(coefficients, ridge(DIABETES, ["progression"], l2=config["model"]["l2"]))


def test_two_targets_agree_with_ridge(tmp_path: Path) -> None:
    coefficients = fitted(
        tmp_path,
        *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "[progression, bmi]", *PLAIN),
        *("--model.learning_rate", "0.4", "--model.l2", "0.05", "--trainer.max_epochs", "2000"),
    )
    assert len(coefficients) == 9 * 2 + 2
    assert_close(coefficients, ridge(DIABETES, ["progression", "bmi"], l2=0.05))


def test_features_keep_given_order(tmp_path: Path) -> None:
    coefficients = fitted(
        tmp_path,
        *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression", *PLAIN),
        *("--data.features", "[s5, bmi]", "--model.learning_rate", "0.3", "--trainer.max_epochs", "200"),
    )
    table = pyarrow.csv.read_csv(DIABETES).select(["s5", "bmi", "progression"])
    pyarrow.csv.write_csv(table, tmp_path / "three.csv")
    assert_close(coefficients, ridge(tmp_path / "three.csv", ["progression"], l2=1e-10))


def test_parquet_equals_csv(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(DIABETES), tmp_path / "diabetes.parquet")
    reports = []
    for name in (str(DIABETES), "diabetes.parquet"):
        (folder := tmp_path / Path(name).suffix).mkdir()
        path = name if name.startswith("/") else str(tmp_path / name)
        arguments = ("--data.path", path, "--data.target", "progression", "--data.batch_size", "64")
        settings = ("--model.learning_rate", "0.01", "--trainer.max_epochs", "3")
        reports.append(fitted(folder, "--data", "TableDataModule", *arguments, *settings))
    assert reports[0] == reports[1]


def test_all_numeric_types(tmp_path: Path) -> None:
    x = np.arange(8)
    columns = {
        "int8": pa.array(x, pa.int8()),
        "uint64": pa.array(x**2, pa.uint64()),
        "float16": pa.array((x / 2).astype(np.float16)),
        "float64": pa.array(np.sin(x)),
        "y": pa.array(x, pa.int32()),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    arguments = ("--data", "TableDataModule", "--data.path", "t.parquet", "--data.target", "y")
    coefficients = fitted(tmp_path, *arguments, "--model.learning_rate", "1e-4", "--trainer.max_epochs", "1")
    assert list(coefficients) == ["W/int8", "W/uint64", "W/float16", "W/float64", "b"]


def test_prediction_needs_no_target_column(tmp_path: Path) -> None:
    (tmp_path / "fit.csv").write_text(
        "a,b,y\n" + "".join(f"{n % 3},{n % 5},{n % 3 + 2 * (n % 5)}\n" for n in range(60))
    )
    arguments = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", "y", *PLAIN)
    coefficients = fitted(tmp_path, *arguments, "--model.learning_rate", "0.05", "--trainer.max_epochs", "100")
    (tmp_path / "new.csv").write_text("a,b\n1,2\n3,4\n0,0\n")
    checkpoint = str(RUN / "checkpoints" / "step=100.ckpt")
    result = linreg("predict", "--ckpt_path", checkpoint, "--data.path", "new.csv", cwd=tmp_path)
    assert result.stdout == "3 predictions in predictions.csv\n", result.stderr
    W, b = [coefficients["W/a"], coefficients["W/b"]], coefficients["b"]
    expected = np.array([[1, 2], [3, 4], [0, 0]]) @ W + b
    np.testing.assert_allclose(
        pyarrow.csv.read_csv(tmp_path / "predictions.csv")["y_predicted"].to_numpy(), expected, rtol=1e-5
    )


def test_validation_uses_held_out_rows(tmp_path: Path) -> None:
    arguments = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
    split = ("--data.val_fraction", "0.25", "--data.seed", "4")
    coefficients = fitted(tmp_path, *arguments, *split, "--model.learning_rate", "0.2", "--trainer.max_epochs", "50")
    from linreg_pl import TableDataModule

    table = TableDataModule(str(DIABETES), "progression", val_fraction=0.25, seed=4)
    table.setup("validate")
    ((x, y),) = table.val_dataloader()
    *W, b = coefficients.values()
    expected = float(np.mean((x.double().numpy() @ np.array(W) + b - y.double().numpy().ravel()) ** 2))
    result = linreg("validate", "--ckpt_path", str(RUN / "checkpoints" / "step=50.ckpt"), cwd=tmp_path)
    printed = dict(line.split() for line in result.stdout.splitlines()[1:])
    assert float(printed["val/mse"]) == pytest.approx(expected, rel=1e-5)
