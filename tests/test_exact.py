"""The exact solution beside a run and of `linreg solve` agrees with NumPy and scikit-learn."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression as OrdinaryLeastSquares
from sklearn.linear_model import Ridge
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from tests.commands import linreg
from tests.problems import problem
from tests.runs import PLAIN
from tests.trainers import plain_trainer

EXAMPLE = str(Path(__file__).parents[1] / "examples" / "diabetes.csv")
DIABETES = ("--data", "TableDataModule", "--data.path", EXAMPLE, "--data.target", "progression", *PLAIN)
LONGLEY = Path(__file__).parent / "nist.json"
RUN = Path("lightning_logs/version_0")


@pytest.fixture(scope="module")
def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """Returns x (442, 10) and y (442,) of the file."""
    table = np.loadtxt(EXAMPLE, delimiter=",", skiprows=1)
    return table[:, :10], table[:, 10]


def solved(*args: str, folder: Path) -> Any:
    """Returns the output of `linreg solve --json`, which writes no file."""
    before = sorted(folder.iterdir())
    result = linreg("solve", *args, "--json", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    assert sorted(folder.iterdir()) == before
    return json.loads(result.stdout)


def write_table(path: Path, columns: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Writes a CSV file of these columns, the last of which is the target; returns the flags for it."""
    rows = np.column_stack(list(columns.values()))
    np.savetxt(path, rows, delimiter=",", header=",".join(columns), comments="", fmt="%.17g")
    return "--data", "TableDataModule", "--data.path", str(path), "--data.target", list(columns)[-1], *PLAIN


# ---- solve ----


def test_solve_is_ordinary_least_squares(tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = diabetes
    solution = solved(*DIABETES, "--model.l2", "0", folder=tmp_path)
    expected = OrdinaryLeastSquares().fit(x, y)
    names = list(solution["coefficients"])
    assert names == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    # scikit-learn's own error is the condition number of 22, times float64's 1e-16.
    assert [solution["coefficients"][name]["estimate"] for name in names] == pytest.approx(
        list(expected.coef_), rel=1e-11
    )
    assert solution["intercept"]["estimate"] == pytest.approx(expected.intercept_, rel=1e-12)
    assert solution["r_squared"] == pytest.approx(expected.score(x, y), rel=1e-12)
    assert solution["objective"] == pytest.approx(np.mean((expected.predict(x) - y) ** 2), rel=1e-12)
    assert solution["num_rows"] == 442
    design = np.column_stack([np.ones(442), x])
    hessian = 2 * design.T @ design / 442
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert solution["condition_number"] == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-9)
    assert solution["largest_stable_learning_rate"] == pytest.approx(2 / eigenvalues[-1], rel=1e-12)
    variance = np.sum((expected.predict(x) - y) ** 2) / (442 - 11)
    assert solution["residual_std"] == pytest.approx(np.sqrt(variance), rel=1e-12)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    assert [solution["coefficients"][name]["standard_error"] for name in names] == pytest.approx(
        list(errors[1:]), rel=1e-10
    )
    low, high = solution["intercept"]["confidence_interval"]
    t = 1.9654832  # scipy.stats.t.ppf(0.975, 431)
    assert (high - low) / 2 == pytest.approx(t * errors[0], rel=1e-7)
    assert (high + low) / 2 == pytest.approx(expected.intercept_, rel=1e-12)


def test_solve_is_multi_target_ridge(tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = diabetes
    flags = ("--data.target", "[progression, s1]", "--model.l2", "0.01", "--model.fit_intercept", "false")
    solution = solved(*DIABETES, *flags, folder=tmp_path)
    assert solution["intercept"] is None
    features = np.delete(x, 4, axis=1)
    ridge = Ridge(alpha=442 * 2 * 0.01, fit_intercept=False, solver="svd").fit(features, np.column_stack([y, x[:, 4]]))
    for target, coefficients in zip(("progression", "s1"), ridge.coef_, strict=True):
        estimates = [entry["estimate"] for entry in solution["coefficients"][target].values()]
        assert estimates == pytest.approx(list(coefficients), rel=1e-10, abs=1e-12)


def test_solve_reads_all_digits(tmp_path: Path) -> None:
    """Solves Longley's table, which has a published solution; float32 would lose its y = 60323 …"""
    table = json.loads(LONGLEY.read_text())["longley"]
    x, y = np.array(table["x"]), np.array(table["y"])
    flags = write_table(tmp_path / "longley.csv", {**{f"x{i}": x[:, i] for i in range(6)}, "y": y})
    solution = solved(*flags, "--model.l2", "0", folder=tmp_path)
    estimates = [solution["intercept"], *solution["coefficients"].values()]
    assert [entry["estimate"] for entry in estimates] == pytest.approx(table["coefficients"], rel=1e-13)
    assert [entry["standard_error"] for entry in estimates] == pytest.approx(table["standard_errors"], rel=1e-10)
    assert solution["residual_std"] == pytest.approx(table["residual_std"], rel=1e-12)
    assert solution["r_squared"] == pytest.approx(table["r_squared"], rel=1e-12)


def test_solve_names_dependent_columns(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 30))
    flags = write_table(tmp_path / "doubled.csv", {"a": a, "b": b, "twice_a": 2 * a, "y": a - b + 1})
    solution = solved(*flags, "--model.l2", "0", folder=tmp_path)
    assert solution["dependent_columns"] == ["a", "twice_a"]
    estimates = [entry["estimate"] for entry in solution["coefficients"].values()]
    assert estimates == pytest.approx([0.2, -1, 0.4], abs=1e-12), "of w + 2 v = 1 the smallest w² + v²"
    assert solution["condition_number"] is None
    for command in ("solve", "fit"):
        printed = linreg(command, *flags, "--model.l2", "0", cwd=tmp_path).stdout
        assert re.search(r"^WARNING +'a', 'twice_a' are collinear: ", printed, re.MULTILINE)


def test_solve_with_more_features_than_rows(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {f"x{i}": generator.standard_normal(4) for i in range(6)}
    y = generator.standard_normal(4)
    solution = solved(*write_table(tmp_path / "wide.csv", {**columns, "y": y}), "--model.l2", "0", folder=tmp_path)
    x = np.column_stack(list(columns.values()))
    shortest = np.linalg.pinv(x - x.mean(axis=0)) @ (y - y.mean())
    assert [entry["estimate"] for entry in solution["coefficients"].values()] == pytest.approx(
        list(shortest), abs=1e-12
    )
    assert solution["coefficients"]["x0"]["standard_error"] is None
    assert solution["objective"] == pytest.approx(0, abs=1e-25)


def test_solve_sorts_directions_by_speed(tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]) -> None:
    """The factors of an error at a step are the roots z of z² - (1 + β - η·λ) z + β; the larger one decides."""
    smallest = 2 * np.linalg.eigvalsh(np.cov(diabetes[0].T, bias=True))[0]
    rate, momentum = 0.1, 0.5
    slowest = abs(np.roots([1, rate * smallest - 1 - momentum, momentum])).max()
    flags = ("--model.l2", "0", "--model.standardize", "false", "--model.learning_rate", str(rate))
    directions = solved(*DIABETES, *flags, "--model.momentum", str(momentum), folder=tmp_path)["halving_epochs"]
    epochs = [one["epochs"] for one in directions]
    assert epochs == sorted(epochs)
    assert directions[-1]["direction"] == "W/s1 - W/s2"
    assert epochs[-1] == pytest.approx(np.log(0.5) / np.log(slowest), rel=1e-6)


def test_solve_with_dominant_momentum(tmp_path: Path) -> None:
    """At momentum 0.9 all errors of the diabetes table shrink by √0.9 at a step, in spite of its condition number."""
    solution = solved(*DIABETES, "--model.learning_rate", "auto", "--model.momentum", "0.9", folder=tmp_path)
    assert solution["condition_number"] > 400
    assert [one["epochs"] for one in solution["halving_epochs"]] == pytest.approx(
        [np.log(0.5) / np.log(0.9**0.5)] * len(solution["halving_epochs"]), rel=1e-6
    )
    assert solution["advice"].startswith("No direction is slower than another: --model.momentum 0.9")


def test_solve_names_slow_directions(tmp_path: Path) -> None:
    printed = linreg("solve", cwd=tmp_path).stdout
    assert "condition number 1.333e+08" in printed
    assert re.search(
        r"3\.0004e-08 on all rows, 1\.7145e-08 on the worst batch alone, 2\.2165e-08 over the cycle", printed
    )
    assert re.search(r"^  W +51\.7$", printed, re.MULTILINE)
    assert re.search(r"^  b +6\.9e9$", printed, re.MULTILINE)
    assert re.search(r"^b converges slowly: .* true reduces .* from 1\.33e\+08 to 1\.$", printed, re.MULTILINE)
    assert "--model.standardize true reduces" in printed
    assert "No direction converges slowly" in linreg("solve", "--model.standardize", "true", cwd=tmp_path).stdout

    def printed_by(*flags: str) -> str:
        return linreg("solve", *DIABETES, "--model.learning_rate", "0.2", *flags, cwd=tmp_path).stdout

    assert "W/s1 - W/s2 converges slowly: these columns are almost collinear" in printed_by()
    assert "W/s1 - W/s2 converges slowly: these columns are almost collinear" in printed_by("--model.momentum", "0.5")
    level = printed_by("--model.momentum", "0.9")
    assert "converges slowly" not in level
    assert "No direction is slower than another: --model.momentum 0.9 sets the pace of all." in level
    diverging = linreg("solve", "--model.learning_rate", "3e-8", cwd=tmp_path).stdout
    assert "is above 2.2165e-08, the largest stable one: a long run will diverge;" in diverging


# ---- beside a run ----


def test_unstable_learning_rate_warns(tmp_path: Path) -> None:
    above = linreg("fit", "--model.learning_rate", "2.24e-8", "--trainer.max_epochs", "20", cwd=tmp_path).stdout
    assert "WARNING   learning_rate 2.24e-08 is above 2.2165e-08" in above
    assert "a long run will diverge" in above
    assert "W will still be more than 1% off when this run ends" in above
    below = linreg("fit", "--model.learning_rate", "2.19e-8", "--trainer.max_epochs", "20", cwd=tmp_path).stdout
    assert "WARNING" not in below


@pytest.mark.parametrize(
    ("learning_rate", "contracts"), [(0.99 * 2.2165e-8, True), (1.01 * 2.2165e-8, False)], ids=["below", "above"]
)
def test_cycle_bound_is_sharp(learning_rate: float, contracts: bool) -> None:
    """In ten epochs of the tutorial's two batches, W's error shrinks below the bound and grows above it."""
    model, data = LinearRegression.tutorial(learning_rate=learning_rate), SyntheticDataModule()
    errors = [abs(model.W.item() - 3.657)]
    trainer = plain_trainer(10)
    trainer.fit(model, data)
    errors.append(abs(model.W.item() - 3.657))
    assert (errors[1] < errors[0]) == contracts


def test_run_without_exact_solution(tmp_path: Path) -> None:
    result = linreg("fit", "--exact", "false", "--trainer.max_epochs", "2", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "forecast" not in result.stdout
    assert "exact" not in json.loads((tmp_path / RUN / "report.json").read_text())
    refused = linreg("fit", "--exact", "false", "--stop.gap", "1", cwd=tmp_path)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "--stop" in refused.stderr
    assert "--exact" in refused.stderr


@pytest.mark.parametrize(("flag", "curve"), [("gap", "gap"), ("grad_norm", "grad_norm")])
def test_run_stops_at_the_limit(flag: str, curve: str, tmp_path: Path) -> None:
    settings = (*DIABETES, "--model.learning_rate", "0.2", "--model.l2", "0.01", "--trainer.max_epochs", "3000")
    result = linreg("fit", *settings, f"--stop.{flag}", "0.01", "--trainer.log_every_n_steps", "10", cwd=tmp_path)
    assert result.code == 0
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["state"] == "finished"
    assert 10 < report["global_step"] < 3000
    assert report["global_step"] % 10 == 0
    assert report["stopped_by"].startswith(f"--stop.{flag} 0.01: gap/")
    x, y = np.split(np.loadtxt(EXAMPLE, delimiter=",", skiprows=1), [10], axis=1)

    def measured(step: int) -> float:
        """Computes the gap or the norm of the gradient after some steps, in float64 by NumPy."""
        data = TableDataModule(EXAMPLE, "progression", seed=0)
        data.setup("fit")
        model = LinearRegression.tutorial(num_features=10, learning_rate=0.2, l2=0.01)
        W, b = model.W.detach().double().numpy(), model.b.detach().double().numpy()
        ridge = Ridge(alpha=442 * 0.01, solver="svd").fit(x, y)
        for _ in range(step):
            away = x @ W + b - y
            W, b = W - 0.2 * (2 * x.T @ away / 442 + 2 * 0.01 * W), b - 0.2 * 2 * away.mean(axis=0)
        away = x @ W + b - y
        gradient = np.concatenate([(2 * x.T @ away / 442 + 2 * 0.01 * W).ravel(), 2 * away.mean(axis=0)])
        best = np.mean((ridge.predict(x).reshape(-1, 1) - y) ** 2) + 0.01 * np.sum(ridge.coef_**2)
        return float(np.mean(away**2) + 0.01 * np.sum(W**2) - best if curve == "gap" else np.linalg.norm(gradient))

    assert measured(report["global_step"]) <= 0.01 < measured(report["global_step"] - 10)


def test_auto_learning_rate_follows_settings(tmp_path: Path) -> None:
    settings = (*DIABETES, "--model.learning_rate", "auto", "--trainer.max_epochs", "4")
    assert linreg("fit", *settings, cwd=tmp_path).code == 0
    changed = ("--data.batch_size", "5", "--allow_changed_settings", "true", "--trainer.max_epochs", "8")
    result = linreg("fit", "--resume", str(RUN), *changed, cwd=tmp_path)
    assert result.code == 0, result.stderr
    rate = re.search(r"^rate +(\S+), half of", result.stdout, re.MULTILINE)
    assert rate
    last = max((tmp_path / RUN / "checkpoints").iterdir(), key=lambda path: int(path.stem.split("=")[1]))
    (state,) = torch.load(last, weights_only=True)["optimizer_states"]
    assert state["param_groups"][0]["lr"] == pytest.approx(float(rate[1]), rel=1e-3)


def test_changed_units_are_refused(tmp_path: Path) -> None:
    assert linreg("fit", *DIABETES, "--trainer.max_epochs", "2", cwd=tmp_path).code == 0
    for flag, value in (("standardize", "true"), ("fit_intercept", "false")):
        changed = (f"--model.{flag}", value, "--allow_changed_settings", "true", "--trainer.max_epochs", "4")
        refused = linreg("fit", "--resume", str(RUN), *changed, cwd=tmp_path)
        assert (refused.code, refused.stderr.count("\n")) == (2, 1)
        assert f"--model.{flag}" in refused.stderr


def test_slow_divergence_is_reported(tmp_path: Path) -> None:
    settings = ("--model.learning_rate", "0.26", "--trainer.max_epochs", "300")
    result = linreg("fit", *DIABETES, *settings, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert re.search(r"^the loss has grown from \S+ to \S+: the run diverges;", result.stdout, re.MULTILINE)


def test_far_too_large_learning_rate(tmp_path: Path) -> None:
    result = linreg("fit", "--data.batch_size", "100", "--model.learning_rate", "0.01", cwd=tmp_path)
    assert result.code == 3
    assert "a long run will diverge" in result.stdout
    assert "W will still be more than 1% off when this run ends" in result.stdout


def test_auto_learning_rate(tmp_path: Path) -> None:
    result = linreg("fit", "--model.learning_rate", "auto", "--trainer.max_epochs", "20", cwd=tmp_path)
    assert "rate      1.108e-08, half of the largest stable learning rate" in result.stdout
    onward = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "40", cwd=tmp_path)
    assert onward.code == 0, onward.stderr
    assert json.loads((tmp_path / RUN / "report.json").read_text())["coefficients"]["W"] == pytest.approx(
        3.657, rel=1e-6
    )
    predicted = linreg("predict", "--ckpt_path", str(RUN / "checkpoints" / "step=80.ckpt"), cwd=tmp_path)
    assert predicted.code == 0, predicted.stderr


# ---- options of the module ----


def test_fold_bias_adds_a_column() -> None:
    """A column of ones appended to x, its weight penalised as the others, gives the same trajectory up to rounding."""
    x, y, *_ = (tensor.float() for tensor in problem(64, 3, 2, 0.0, 0)[:2])
    folded = LinearRegression.tutorial(num_features=3, num_targets=2, learning_rate=0.05, l2=0.3, fold_bias=True)
    appended = LinearRegression.tutorial(num_features=4, num_targets=2, learning_rate=0.05, l2=0.3, fit_intercept=False)
    with torch.no_grad():
        appended.W.copy_(torch.cat([folded.W, folded.b.unsqueeze(0)]))
    for model, columns in ((folded, x), (appended, torch.cat([x, torch.ones(64, 1)], dim=1))):
        rows = DataLoader(TensorDataset(columns, y), batch_size=16)
        plain_trainer(20).fit(model, rows)
    assert torch.allclose(torch.cat([folded.W, folded.b.unsqueeze(0)]), appended.W, rtol=0, atol=1e-6)


def test_standardize_keeps_the_users_units(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = np.column_stack([1e4 + 3 * generator.standard_normal(200), 1e-3 * generator.standard_normal(200)])
    x = x.astype(np.float32).astype(np.float64)  # as training sees it
    y = (x @ [[2.0], [500.0]] + 7 + generator.standard_normal((200, 1))).astype(np.float32).astype(np.float64)
    flags = write_table(tmp_path / "table.csv", {"big": x[:, 0], "small": x[:, 1], "y": y[:, 0]})
    settings = ("--model.standardize", "true", "--model.learning_rate", "auto", "--model.l2", "0.01")
    result = linreg("fit", *flags, *settings, "--trainer.max_epochs", "100", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    scales = x.std(axis=0)
    ridge = Ridge(alpha=200 * 0.01).fit((x - x.mean(axis=0)) / scales, y)
    W = ridge.coef_.ravel() / scales
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    # In float32 y, of 2e4, has a spacing of 2e-3, beside the 0.55 that a deviation of `small` makes.
    for coefficients, close in ((report["exact"]["coefficients"], 1e-6), (report["coefficients"], 3e-4)):
        assert [coefficients["W/big"], coefficients["W/small"]] == pytest.approx(list(W), rel=close)
    checkpoint = tmp_path / RUN / "checkpoints" / "step=100.ckpt"
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert set(state) == {"W", "b", "x_mean", "x_scale", "y_mean"}
    model = LinearRegression.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    rows = torch.tensor(x, dtype=torch.float32)
    expected = ridge.predict((x - x.mean(axis=0)) / scales).reshape(-1, 1)
    assert model(rows).detach().numpy() == pytest.approx(expected, abs=0.01)
    W_users, b_users = model.coefficients()
    assert (x @ W_users.numpy() + b_users.numpy()) == pytest.approx(model(rows).detach().numpy(), abs=0.01)


def test_no_intercept_keeps_b_zero() -> None:
    model = LinearRegression.tutorial(learning_rate="auto", fit_intercept=False)
    plain_trainer(20).fit(model, SyntheticDataModule())
    assert model.b.item() == 0
    assert model.W.item() == pytest.approx(3.657, rel=1e-6)


def test_solve_warns_of_collinear_columns(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(50)
    flags = write_table(tmp_path / "t.csv", {"x": x, "double": 2 * x, "other": x**2, "y": x + x**2})
    printed = linreg("solve", *flags, cwd=tmp_path).stdout
    assert (
        "WARNING  'x', 'double' are collinear: only the penalty, --model.l2 1e-10, determines their values" in printed
    )
    meant = linreg("solve", *flags, "--model.l2", "0.1", cwd=tmp_path).stdout
    assert "WARNING" not in meant


def test_solve_advises_to_drop_a_category(tmp_path: Path) -> None:
    lines = [f"{'red' if row % 3 else 'blue'},{row},{row % 7}" for row in range(40)]
    (tmp_path / "t.csv").write_text("colour,x,y\n" + "\n".join(lines))
    printed = linreg("solve", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", cwd=tmp_path)
    assert "--data.drop_first true drops one of them" in printed.stdout
