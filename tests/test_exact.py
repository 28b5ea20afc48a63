"""The exact answer beside a run, and `linreg solve`: what they say is checked against NumPy and scikit-learn."""

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

from linreg_pl import InputError, LinearRegression, SyntheticDataModule, TableDataModule
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
    """x (442, 10) and y (442,) as they stand in the file."""
    table = np.loadtxt(EXAMPLE, delimiter=",", skiprows=1)
    return table[:, :10], table[:, 10]


def solved(*args: str, folder: Path) -> Any:
    """What `linreg solve --json` says; it leaves nothing behind."""
    before = sorted(folder.iterdir())
    result = linreg("solve", *args, "--json", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    assert sorted(folder.iterdir()) == before
    return json.loads(result.stdout)


def write_table(path: Path, columns: dict[str, np.ndarray]) -> tuple[str, ...]:
    """A CSV file of these columns, the last the target; returns the flags that choose it."""
    rows = np.column_stack(list(columns.values()))
    np.savetxt(path, rows, delimiter=",", header=",".join(columns), comments="", fmt="%.17g")
    return "--data", "TableDataModule", "--data.path", str(path), "--data.target", list(columns)[-1], *PLAIN


# ---- solve ----


def test_solve_is_ordinary_least_squares(tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = diabetes
    found = solved(*DIABETES, "--model.l2", "0", folder=tmp_path)
    expected = OrdinaryLeastSquares().fit(x, y)
    names = list(found["coefficients"])
    assert names == ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]
    # scikit-learn's own error is the condition number of 22, times float64's 1e-16.
    assert [found["coefficients"][name]["estimate"] for name in names] == pytest.approx(list(expected.coef_), rel=1e-11)
    assert found["intercept"]["estimate"] == pytest.approx(expected.intercept_, rel=1e-12)
    assert found["r_squared"] == pytest.approx(expected.score(x, y), rel=1e-12)
    assert found["objective"] == pytest.approx(np.mean((expected.predict(x) - y) ** 2), rel=1e-12)
    assert found["num_rows"] == 442
    design = np.column_stack([np.ones(442), x])
    hessian = 2 * design.T @ design / 442
    eigenvalues = np.linalg.eigvalsh(hessian)
    assert found["condition_number"] == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-9)
    assert found["largest_stable_learning_rate"] == pytest.approx(2 / eigenvalues[-1], rel=1e-12)
    variance = np.sum((expected.predict(x) - y) ** 2) / (442 - 11)
    assert found["residual_std"] == pytest.approx(np.sqrt(variance), rel=1e-12)
    errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
    assert [found["coefficients"][name]["standard_error"] for name in names] == pytest.approx(
        list(errors[1:]), rel=1e-10
    )
    low, high = found["intercept"]["confidence_interval"]
    t = 1.9654832  # scipy.stats.t.ppf(0.975, 431)
    assert (high - low) / 2 == pytest.approx(t * errors[0], rel=1e-7)
    assert (high + low) / 2 == pytest.approx(expected.intercept_, rel=1e-12)


def test_solve_is_ridge_without_an_intercept_and_with_several_targets(
    tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]
) -> None:
    x, y = diabetes
    flags = ("--data.target", "[progression, s1]", "--model.l2", "0.01", "--model.fit_intercept", "false")
    found = solved(*DIABETES, *flags, folder=tmp_path)
    assert found["intercept"] is None
    features = np.delete(x, 4, axis=1)
    ridge = Ridge(alpha=442 * 2 * 0.01, fit_intercept=False, solver="svd").fit(features, np.column_stack([y, x[:, 4]]))
    for target, coefficients in zip(("progression", "s1"), ridge.coef_, strict=True):
        estimates = [entry["estimate"] for entry in found["coefficients"][target].values()]
        assert estimates == pytest.approx(list(coefficients), rel=1e-10, abs=1e-12)


def test_solve_reads_all_digits_of_a_file(tmp_path: Path) -> None:
    """Longley's table, published with its solution: float32 would lose its y = 60323 … and all that follows."""
    table = json.loads(LONGLEY.read_text())["longley"]
    x, y = np.array(table["x"]), np.array(table["y"])
    flags = write_table(tmp_path / "longley.csv", {**{f"x{i}": x[:, i] for i in range(6)}, "y": y})
    found = solved(*flags, "--model.l2", "0", folder=tmp_path)
    estimates = [found["intercept"], *found["coefficients"].values()]
    assert [entry["estimate"] for entry in estimates] == pytest.approx(table["coefficients"], rel=1e-13)
    assert [entry["standard_error"] for entry in estimates] == pytest.approx(table["standard_errors"], rel=1e-10)
    assert found["residual_std"] == pytest.approx(table["residual_std"], rel=1e-12)
    assert found["r_squared"] == pytest.approx(table["r_squared"], rel=1e-12)


def test_solve_names_columns_that_depend_on_each_other(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, 30))
    flags = write_table(tmp_path / "doubled.csv", {"a": a, "b": b, "twice_a": 2 * a, "y": a - b + 1})
    found = solved(*flags, "--model.l2", "0", folder=tmp_path)
    assert found["dependent_columns"] == ["a", "twice_a"]
    estimates = [entry["estimate"] for entry in found["coefficients"].values()]
    assert estimates == pytest.approx([0.2, -1, 0.4], abs=1e-12), "of w + 2 v = 1 the smallest w² + v²"
    assert found["condition_number"] is None
    for command in ("solve", "fit"):
        printed = linreg(command, *flags, "--model.l2", "0", cwd=tmp_path).stdout
        assert re.search(r"^WARNING +'a', 'twice_a' are collinear: ", printed, re.MULTILINE)


def test_solve_knows_more_features_than_rows(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    columns = {f"x{i}": generator.standard_normal(4) for i in range(6)}
    y = generator.standard_normal(4)
    found = solved(*write_table(tmp_path / "wide.csv", {**columns, "y": y}), "--model.l2", "0", folder=tmp_path)
    x = np.column_stack(list(columns.values()))
    shortest = np.linalg.pinv(x - x.mean(axis=0)) @ (y - y.mean())
    assert [entry["estimate"] for entry in found["coefficients"].values()] == pytest.approx(list(shortest), abs=1e-12)
    assert found["coefficients"]["x0"]["standard_error"] is None
    assert found["objective"] == pytest.approx(0, abs=1e-25)


def test_solve_lists_the_slowest_direction_last_with_momentum_too(
    tmp_path: Path, diabetes: tuple[np.ndarray, np.ndarray]
) -> None:
    """An error's factors at a step are the roots z of z² - (1 + β - η·λ) z + β; the larger one counts."""
    smallest = 2 * np.linalg.eigvalsh(np.cov(diabetes[0].T, bias=True))[0]
    rate, momentum = 0.1, 0.5
    slowest = abs(np.roots([1, rate * smallest - 1 - momentum, momentum])).max()
    flags = ("--model.l2", "0", "--model.standardize", "false", "--model.learning_rate", str(rate))
    directions = solved(*DIABETES, *flags, "--model.momentum", str(momentum), folder=tmp_path)["halving_epochs"]
    epochs = [one["epochs"] for one in directions]
    assert epochs == sorted(epochs)
    assert directions[-1]["direction"] == "W/s1 - W/s2"
    assert epochs[-1] == pytest.approx(np.log(0.5) / np.log(slowest), rel=1e-6)


def test_solve_calls_nothing_slow_where_all_swings(tmp_path: Path) -> None:
    """At momentum 0.9 all errors of the diabetes table shrink by √0.9 at a step, for all of its condition number."""
    found = solved(*DIABETES, "--model.learning_rate", "auto", "--model.momentum", "0.9", folder=tmp_path)
    assert found["condition_number"] > 400
    assert [one["epochs"] for one in found["halving_epochs"]] == pytest.approx(
        [np.log(0.5) / np.log(0.9**0.5)] * len(found["halving_epochs"]), rel=1e-6
    )
    assert found["advice"].startswith("No direction is slower than another: --model.momentum 0.9")


def test_solve_says_what_is_slow_and_what_would_cure_it(tmp_path: Path) -> None:
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

    def said(*flags: str) -> str:
        return linreg("solve", *DIABETES, "--model.learning_rate", "0.2", *flags, cwd=tmp_path).stdout

    assert "W/s1 - W/s2 converges slowly: these columns are almost collinear" in said()
    assert "W/s1 - W/s2 converges slowly: these columns are almost collinear" in said("--model.momentum", "0.5")
    level = said("--model.momentum", "0.9")
    assert "converges slowly" not in level
    assert "No direction is slower than another: --model.momentum 0.9 sets the pace of all." in level
    diverging = linreg("solve", "--model.learning_rate", "3e-8", cwd=tmp_path).stdout
    assert "is above 2.2165e-08, the largest stable one: descent will diverge;" in diverging


# ---- beside a run ----


def test_run_warns_above_the_largest_stable_learning_rate(tmp_path: Path) -> None:
    above = linreg("fit", "--model.learning_rate", "2.24e-8", "--trainer.max_epochs", "20", cwd=tmp_path).stdout
    assert "WARNING   learning_rate 2.24e-08 is above 2.2165e-08" in above
    assert "descent will diverge" in above
    assert "W will still be more than 1% off when this run ends" in above
    below = linreg("fit", "--model.learning_rate", "2.19e-8", "--trainer.max_epochs", "20", cwd=tmp_path).stdout
    assert "WARNING" not in below


@pytest.mark.parametrize(
    ("learning_rate", "contracts"), [(0.99 * 2.2165e-8, True), (1.01 * 2.2165e-8, False)], ids=["below", "above"]
)
def test_the_cycles_bound_is_where_a_real_run_turns(learning_rate: float, contracts: bool) -> None:
    """Ten epochs of the tutorial's two batches: W's error shrinks below the bound, and grows above it."""
    model, data = LinearRegression(learning_rate=learning_rate), SyntheticDataModule()
    errors = [abs(model.W.item() - 3.657)]
    trainer = plain_trainer(10)
    trainer.fit(model, data)
    errors.append(abs(model.W.item() - 3.657))
    assert (errors[1] < errors[0]) == contracts


def test_run_without_the_exact_answer(tmp_path: Path) -> None:
    result = linreg("fit", "--exact", "false", "--trainer.max_epochs", "2", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "forecast" not in result.stdout
    assert "exact" not in json.loads((tmp_path / RUN / "report.json").read_text())
    refused = linreg("fit", "--exact", "false", "--stop.gap", "1", cwd=tmp_path)
    assert (refused.code, refused.stderr.count("\n")) == (2, 1)
    assert "--stop" in refused.stderr
    assert "--exact" in refused.stderr


@pytest.mark.parametrize(("flag", "curve"), [("gap", "gap"), ("grad_norm", "grad_norm")])
def test_run_stops_where_it_is_near_enough(flag: str, curve: str, tmp_path: Path) -> None:
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
        """The gap or the gradient's norm after some steps, in float64 from NumPy."""
        data = TableDataModule(EXAMPLE, "progression", seed=0)
        data.setup("fit")
        model = LinearRegression(num_features=10, learning_rate=0.2, l2=0.01)
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


def test_learning_rate_auto_follows_changed_settings(tmp_path: Path) -> None:
    settings = (*DIABETES, "--model.learning_rate", "auto", "--trainer.max_epochs", "4")
    assert linreg("fit", *settings, cwd=tmp_path).code == 0
    changed = ("--data.batch_size", "5", "--allow_changed_settings", "true", "--trainer.max_epochs", "8")
    result = linreg("fit", "--resume", str(RUN), *changed, cwd=tmp_path)
    assert result.code == 0, result.stderr
    told = re.search(r"^rate +(\S+), half of", result.stdout, re.MULTILINE)
    assert told
    last = max((tmp_path / RUN / "checkpoints").iterdir(), key=lambda path: int(path.stem.split("=")[1]))
    (state,) = torch.load(last, weights_only=True)["optimizer_states"]
    assert state["param_groups"][0]["lr"] == pytest.approx(float(told[1]), rel=1e-3)


def test_a_run_keeps_the_units_of_its_weights(tmp_path: Path) -> None:
    assert linreg("fit", *DIABETES, "--trainer.max_epochs", "2", cwd=tmp_path).code == 0
    for flag, value in (("standardize", "true"), ("fit_intercept", "false")):
        changed = (f"--model.{flag}", value, "--allow_changed_settings", "true", "--trainer.max_epochs", "4")
        refused = linreg("fit", "--resume", str(RUN), *changed, cwd=tmp_path)
        assert (refused.code, refused.stderr.count("\n")) == (2, 1)
        assert f"--model.{flag}" in refused.stderr


def test_a_run_that_grows_slowly_enough_to_end_says_so(tmp_path: Path) -> None:
    settings = ("--model.learning_rate", "0.26", "--trainer.max_epochs", "300")
    result = linreg("fit", *DIABETES, *settings, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert re.search(r"^the loss has grown from \S+ to \S+: the run diverges;", result.stdout, re.MULTILINE)


def test_far_too_large_a_learning_rate_over_many_batches_is_told_and_diverges(tmp_path: Path) -> None:
    result = linreg("fit", "--data.batch_size", "100", "--model.learning_rate", "0.01", cwd=tmp_path)
    assert result.code == 3
    assert "descent will diverge" in result.stdout
    assert "W will still be more than 1% off when this run ends" in result.stdout


def test_learning_rate_auto_is_half_of_the_largest_stable_one(tmp_path: Path) -> None:
    result = linreg("fit", "--model.learning_rate", "auto", "--trainer.max_epochs", "20", cwd=tmp_path)
    assert "rate      1.108e-08, half of the largest stable learning rate" in result.stdout
    onward = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "40", cwd=tmp_path)
    assert onward.code == 0, onward.stderr
    assert json.loads((tmp_path / RUN / "report.json").read_text())["coefficients"]["W"] == pytest.approx(
        3.657, rel=1e-6
    )
    predicted = linreg("predict", "--ckpt_path", str(RUN / "checkpoints" / "step=80.ckpt"), cwd=tmp_path)
    assert predicted.code == 0, predicted.stderr


def test_what_needs_a_pass_over_the_data_says_so_without_a_data_module() -> None:
    loader = DataLoader(TensorDataset(torch.ones(4, 1), torch.ones(4, 1)), batch_size=2)
    for model in (LinearRegression(learning_rate="auto"), LinearRegression(standardize=True)):
        with pytest.raises(InputError, match="takes a pass over the data"):
            plain_trainer(1).fit(model, loader)


# ---- options of the module ----


def test_fold_bias_is_a_column_of_ones() -> None:
    """Appended to x, its weight penalised as the others: the same trajectory, to rounding."""
    x, y, *_ = (tensor.float() for tensor in problem(64, 3, 2, 0.0, 0)[:2])
    folded = LinearRegression(num_features=3, num_targets=2, learning_rate=0.05, l2=0.3, fold_bias=True)
    appended = LinearRegression(num_features=4, num_targets=2, learning_rate=0.05, l2=0.3, fit_intercept=False)
    with torch.no_grad():
        appended.W.copy_(torch.cat([folded.W, folded.b.unsqueeze(0)]))
    for model, columns in ((folded, x), (appended, torch.cat([x, torch.ones(64, 1)], dim=1))):
        rows = DataLoader(TensorDataset(columns, y), batch_size=16)
        plain_trainer(20).fit(model, rows)
    assert torch.allclose(torch.cat([folded.W, folded.b.unsqueeze(0)]), appended.W, rtol=0, atol=1e-6)


def test_standardize_trains_on_scaled_features_and_speaks_the_users_units(tmp_path: Path) -> None:
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
    assert set(state) == {"W", "b", "x_mean", "x_scale"}
    model = LinearRegression.load_from_checkpoint(checkpoint, weights_only=True)
    rows = torch.tensor(x, dtype=torch.float32)
    expected = ridge.predict((x - x.mean(axis=0)) / scales).reshape(-1, 1)
    assert model(rows).detach().numpy() == pytest.approx(expected, abs=0.01)
    W_users, b_users = model.coefficients()
    assert (x @ W_users.numpy() + b_users.numpy()) == pytest.approx(model(rows).detach().numpy(), abs=0.01)


def test_without_an_intercept_b_stays_0() -> None:
    model = LinearRegression(learning_rate="auto", fit_intercept=False)
    plain_trainer(20).fit(model, SyntheticDataModule())
    assert model.b.item() == 0
    assert model.W.item() == pytest.approx(3.657, rel=1e-6)


def test_solve_says_where_only_the_penalty_tells_columns_apart(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal(50)
    flags = write_table(tmp_path / "t.csv", {"x": x, "double": 2 * x, "other": x**2, "y": x + x**2})
    told = linreg("solve", *flags, cwd=tmp_path).stdout
    assert "WARNING  'x', 'double' are collinear: only the penalty, --model.l2 1e-10, determines their values" in told
    meant = linreg("solve", *flags, "--model.l2", "0.1", cwd=tmp_path).stdout
    assert "WARNING" not in meant


def test_solve_advises_to_drop_a_category(tmp_path: Path) -> None:
    lines = [f"{'red' if row % 3 else 'blue'},{row},{row % 7}" for row in range(40)]
    (tmp_path / "t.csv").write_text("colour,x,y\n" + "\n".join(lines))
    told = linreg("solve", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", cwd=tmp_path)
    assert "--data.drop_first true drops one of them" in told.stdout
