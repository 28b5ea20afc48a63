"""The scripts of examples/ and the notebook run, and print what NumPy and scikit-learn compute."""

import re
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from scipy.optimize import minimize
from scipy.special import huber
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from linreg_pl import TableDataModule
from tests.commands import linreg
from tests.pages import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = ("own_dataloader.py", "plain_trainer.py", "sklearn_pipeline.py", "subclass_huber.py", "tune_with_optuna.py")
NUMBER = r"-?\d+\.\d+"


@dataclass
class Script:
    """Runs a script in place of the command, in a process that has imported the package."""

    name: str

    def __call__(self) -> None:
        runpy.run_path(str(EXAMPLES / self.name), run_name="__main__")
        sys.exit()


def printed_by(name: str, folder: Path) -> str:
    """Returns what a script prints."""
    result = linreg(cwd=folder, before=Script(name))
    assert result.code == 0, result.stderr
    return result.stdout


def table_in(printed: str, title: str) -> dict[str, list[float]]:
    """Returns the rows of numbers below a line that contains a title, by name."""
    lines = printed.splitlines()
    first = next(number for number, line in enumerate(lines) if title in line) + 1
    return {words[0]: [float(word) for word in words[1:]] for words in map(str.split, lines[first:])}


def diabetes() -> tuple[pd.DataFrame, pd.Series]:
    """Returns features and target."""
    table = pd.read_csv(EXAMPLES / "diabetes.csv")
    return table.drop(columns="progression"), table["progression"]


def least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns coefficients, the intercept first, and their standard errors."""
    columns = np.column_stack([np.ones(len(x)), x])
    theta, (squares,), *_ = np.linalg.lstsq(columns, y, rcond=None)
    variances = np.linalg.inv(columns.T @ columns).diagonal() * squares / (len(x) - columns.shape[1])
    return theta, np.sqrt(variances)


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= 40


def test_plain_trainer(tmp_path: Path) -> None:
    printed = printed_by("plain_trainer.py", tmp_path)
    X, y = diabetes()
    numbered = TableDataModule(pd.DataFrame({"row": np.arange(442.0), "y": y}), "y", val_fraction=0.2)
    numbered.setup("fit")
    fitted = np.concatenate([x[:, 0].numpy() for x, _ in numbered.rows()]).astype(int)
    held_out = np.setdiff1d(np.arange(442), fitted)
    assert 50 < len(held_out) < 130
    theta, errors = least_squares(X.to_numpy()[fitted], y.to_numpy()[fitted])
    rows = table_in(printed, "trained")
    assert list(rows) == ["intercept", *X.columns]
    trained, exact, standard_errors = np.transpose(list(rows.values()))
    np.testing.assert_allclose(exact, theta, atol=6e-5)
    np.testing.assert_allclose(standard_errors, errors, atol=6e-5)
    np.testing.assert_array_less(np.abs(trained - theta), 0.01 * errors)
    gap = re.search(r"^\d+ steps, gap (\S+)$", printed, re.MULTILINE)
    assert gap
    assert float(gap[1]) <= 1e-6
    r2 = LinearRegression().fit(X.iloc[fitted], y[fitted]).score(X.iloc[held_out], y[held_out])
    assert float(re.findall(rf"val/r2\D+({NUMBER})", printed)[0]) == pytest.approx(r2, abs=1e-4)
    assert list((tmp_path / "lightning_logs/version_0").glob("events*")), "the curves"


def test_tune_with_optuna(tmp_path: Path) -> None:
    """A second run goes on with the study; its best loss is near that of least squares."""
    pytest.importorskip("optuna", reason="Optuna is no dependency: pip install optuna")
    best = []
    for trials in (10, 20):
        last = printed_by("tune_with_optuna.py", tmp_path).splitlines()[-1]
        number, loss = re.fullmatch(rf"(\d+) trials; best: .*, mean squared error ({NUMBER})", last).groups()  # type: ignore[union-attr]
        assert int(number) == trials
        best.append(float(loss))
    X, y = diabetes()
    numbered = TableDataModule(pd.DataFrame({"row": np.arange(442.0), "y": y}), "y", val_fraction=0.2)
    numbered.setup("fit")
    fitted = np.concatenate([x[:, 0].numpy() for x, _ in numbered.rows()]).astype(int)
    held_out = np.setdiff1d(np.arange(442), fitted)
    theta, _ = least_squares(X.to_numpy()[fitted], y.to_numpy()[fitted])
    errors = theta[0] + X.to_numpy()[held_out] @ theta[1:] - y.to_numpy()[held_out]
    assert best[1] <= best[0]
    assert best[1] == pytest.approx(np.mean(errors**2), rel=0.01)


def test_own_dataloader(tmp_path: Path) -> None:
    printed = printed_by("own_dataloader.py", tmp_path)
    generator = torch.Generator().manual_seed(0)
    x = 0.2 + 1.8 * torch.rand(500, 1, generator=generator)
    y = 4 * torch.pi**2 / 9.81 * x + 0.05 * torch.randn(500, 1, generator=generator)
    (_, slope), (_, error) = least_squares(x.double().numpy(), y.double().numpy()[:, 0])
    [trained], [exact] = re.findall(rf"trained ({NUMBER})", printed), re.findall(rf"exact ({NUMBER})", printed)
    assert float(exact) == pytest.approx(slope, abs=6e-6)
    assert float(trained) == pytest.approx(slope, abs=0.3 * error)
    last = printed[printed.index("gravity") :].removesuffix("\n")
    gravity, low, high = (float(text) for text in re.findall(NUMBER, last))
    assert gravity == pytest.approx(4 * np.pi**2 / slope, abs=6e-4)
    assert low < 9.81 < high


def test_subclass_huber(tmp_path: Path) -> None:
    rows = table_in(printed_by("subclass_huber.py", tmp_path), "Huber")
    huber_, exact, _ = np.transpose(list(rows.values()))
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(400, 2, generator=generator)
    targets = 3 * features[:, 0] - 2 * features[:, 1] + 1 + 0.1 * torch.randn(400, generator=generator)
    targets[::10] += 20 * features[::10, 0]
    x, y = features.double().numpy(), targets.double().numpy()

    def cost(theta: np.ndarray) -> float:
        return float(huber(0.3, x @ theta[1:] + theta[0] - y).sum())

    np.testing.assert_allclose(huber_, minimize(cost, [1.0, 3.0, -2.0]).x, atol=1e-3)
    np.testing.assert_allclose(exact, least_squares(x, y)[0], atol=6e-5)


def test_sklearn_pipeline(tmp_path: Path) -> None:
    printed = printed_by("sklearn_pipeline.py", tmp_path)
    X, y = diabetes()
    parts: Any = train_test_split(X[["age", "sex", "bmi", "bp", "s5"]], y, random_state=0)
    [l2] = re.findall(r"^l2 (\S+) has", printed, re.MULTILINE)
    ridge = Ridge(alpha=float(l2) * len(parts[0]))
    theirs = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), ridge).fit(parts[0], parts[2])
    scores = re.findall(rf"(?:exact|trained) ({NUMBER})", printed.splitlines()[1])
    assert [float(score) for score in scores] == [pytest.approx(theirs.score(parts[1], parts[3]), abs=2e-6)] * 2
    coefficients = np.array(re.findall(rf"exact +({NUMBER}) +trained +({NUMBER})$", printed, re.MULTILINE), float)
    for ours in coefficients.T:
        np.testing.assert_allclose(ours, theirs[-1].coef_ / theirs[1].scale_, atol=2e-4)


def test_notebook() -> None:
    """No cell prints a notice, and the tables hold the numbers of NumPy."""
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are left out of the repository"
    bar = "linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4], trainer={'enable_progress_bar': True}).current_epoch"
    notebook.cells.append(nbformat.v4.new_code_cell(f"import linreg_pl\n{bar}"))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    printed = "\n".join(output.text for output in outputs if output.output_type == "stream")
    assert "Epoch 9: 100%" in printed, "the bar of linreg_pl.fit"
    X, y = diabetes()
    theta, errors = least_squares(X.to_numpy(), y.to_numpy())
    bmi = [float(text) for text in re.findall(NUMBER, printed)[:4]]
    quantile = 1.96548  # of Student's t with 431 degrees of freedom
    bounds = theta[3] - quantile * errors[3], theta[3] + quantile * errors[3]
    np.testing.assert_allclose(bmi, [theta[3], errors[3], *bounds], atol=6e-3)
    [trained] = [
        output.data["text/plain"] for output in outputs if "trained" in output.get("data", {}).get("text/plain", "")
    ]
    ours = np.array([line.split()[1:] for line in trained.splitlines()[1:]], float)
    np.testing.assert_allclose(ours, np.column_stack([theta, theta, errors]), atol=1e-3)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in outputs)
