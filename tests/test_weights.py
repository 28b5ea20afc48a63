"""Compares weighted rows with scikit-learn, with weighted least squares, and with repeated rows."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression as Peer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.core.objective import objective, value_and_gradient
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.stability import batch_hessian
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import triangle_of
from linreg_pl.data.table import rows
from linreg_pl.data.table.split import Split
from linreg_pl.plots.figures import pictures
from linreg_pl.plots.run_data import record
from tests.commands import linreg
from tests.problems import Problem, problem, problems
from tests.rationals import Paraboloid, rational, with_ones
from tests.runs import PLAIN, RUN, assert_same_run
from tests.test_bad_input import refuse
from tests.trainers import plain_trainer

CLOSE: Any = {"rtol": 1e-12, "atol": 1e-12}  # a few hundred roundings in float64


def whole_weights(num_rows: int, seed: int, smallest: int = 0) -> Tensor:
    """Returns whole numbers up to 3, (N, 1), not all 0."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(smallest, 4, (num_rows, 1), generator=generator).double()
    weights[0] = 3
    return weights


def repeated(rows: Tensor, weights: Tensor) -> Tensor:
    """Repeats each row as often as its weight says."""
    return rows.repeat_interleave(weights[:, 0].long(), dim=0)


# ---- the mathematics ----


@given(problems())
def test_weighted_objective_equals_repeated_rows(given_problem: Problem) -> None:
    x, y, W, b, l2 = given_problem
    weights = whole_weights(len(x), seed=len(x))
    ours = value_and_gradient(x, y, W, b, l2, weights / weights.mean())
    theirs = value_and_gradient(repeated(x, weights), repeated(y, weights), W, b, l2)
    for name in ("loss", "mse", "grad_W", "grad_b"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), **CLOSE)


@given(problems())
def test_weighted_gradient_equals_autograd(given_problem: Problem) -> None:
    x, y, W, b, l2 = given_problem
    weights = torch.rand(len(x), 1, dtype=torch.float64)
    loss = objective(x, y, W.requires_grad_(), b.requires_grad_(), l2, weights)
    loss.backward()
    step = value_and_gradient(x, y, W, b, l2, weights)
    for ours, theirs in ((step.loss, loss.detach()), (step.grad_W, W.grad), (step.grad_b, b.grad)):
        torch.testing.assert_close(ours, theirs, **CLOSE)


def test_weights_of_wrong_shape() -> None:
    x, y, W, b, _ = problem(3, 2, 3, 0.0, seed=0)
    with pytest.raises(ValueError, match=r"weights has shape \(3,\): give one column of 3 rows"):
        value_and_gradient(x, y, W, b, 0.0, torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("num_rows", [50, 10_000], ids=["by Householder", "by Cholesky"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_weighted_triangle_scales_rows(num_rows: int, offset: float) -> None:
    x, y, *_ = problem(num_rows, 3, 2, 0.0, seed=1)
    x, w = x + offset, torch.rand(num_rows, 1, dtype=torch.float64)
    triangle = triangle_of(zip(x.split(4500), y.split(4500), w.split(4500), strict=True))
    columns = torch.cat([torch.ones(num_rows, 1, dtype=torch.float64), x, y], dim=1)
    gram = (columns * w).T @ columns
    torch.testing.assert_close(triangle.R.T @ triangle.R, gram, rtol=1e-12, atol=1e-12 * float(gram.abs().max()))
    assert triangle.num_rows == num_rows
    assert triangle.total_weight == pytest.approx(float(w.sum()), rel=1e-14)
    means = np.average(columns[:, 1:], axis=0, weights=w[:, 0])
    deviations = np.sqrt(np.average((columns[:, 1:].numpy() - means) ** 2, axis=0, weights=w[:, 0]))
    np.testing.assert_allclose(triangle.means, means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(triangle.scales, deviations, rtol=1e-8)


@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.3]))
@settings(max_examples=20)
def test_refined_solution_equals_repeated_rows(seed: int, l2: float) -> None:
    """Compares in rational arithmetic; x is far from 0, where the unrefined solution loses digits."""
    x, y, *_ = problem(12, 2, 2, 0.0, seed)
    x, weights = x + 1000, whole_weights(12, seed, smallest=1)
    penalty = penalty_rows(2, l2)
    solution = refined(optimum(triangle_of([(x, y, weights)]), penalty), [(x, y, weights)])
    columns = with_ones(rational(repeated(x, weights)))
    penalized = rational([[0, 0, 0], [0, 1, 0], [0, 0, 1]])
    exact = Paraboloid(columns, rational(repeated(y, weights)), Fraction(l2), penalized)
    expected = [[float(value) for value in row] for row in exact.minimum()]
    np.testing.assert_allclose(solution.theta.high, expected, rtol=1e-14)
    assert solution.objective == pytest.approx(float(exact.value(exact.minimum())), rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_statistics_of_weighted_least_squares(fit_intercept: bool) -> None:
    """Checks scale = sum of w·residual² / (N - P) and errors = √(scale · diag (A'WA)⁻¹), as in statsmodels' WLS."""
    x, y, *_ = problem(40, 3, 2, 0.0, seed=2)
    w = 0.1 + 5 * torch.rand(40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x = x + 2
    results = statistics(optimum(triangle_of([(x, y, w)]), penalty_rows(3, 0.0), fit_intercept))
    A, b, W = np.hstack([np.ones((40, 1)), x])[:, 0 if fit_intercept else 1 :], y.numpy(), np.diag(w[:, 0])
    inverse = np.linalg.inv(A.T @ W @ A)
    residuals = b - A @ inverse @ A.T @ W @ b
    rss = np.diag(residuals.T @ W @ residuals)
    scale = rss / (40 - A.shape[1])
    center = np.average(b, axis=0, weights=w[:, 0]) if fit_intercept else 0
    tss = np.diag((b - center).T @ W @ (b - center))
    assert results.degrees_of_freedom == pytest.approx(40 - A.shape[1], abs=1e-10)
    np.testing.assert_allclose(results.residual_std, np.sqrt(scale), rtol=1e-11)
    errors = results.standard_errors[0 if fit_intercept else 1 :]
    np.testing.assert_allclose(errors, np.sqrt(np.outer(np.diag(inverse), scale)), rtol=1e-11)
    np.testing.assert_allclose(results.r_squared, 1 - rss / tss, rtol=1e-10)


def test_weighted_hessian_equals_autograd() -> None:
    x, y, *_ = problem(9, 2, 1, 0.0, seed=4)
    w = torch.rand(9, 1, dtype=torch.float64)

    def loss(theta: Tensor) -> Tensor:
        return objective(x, y, theta[1:].unsqueeze(1), theta[:1], 0.3, w)

    expected = torch.autograd.functional.hessian(loss, torch.zeros(3, dtype=torch.float64))
    hessian = batch_hessian(x, penalty_rows(2, 0.3).high, 1, torch.eye(3).double(), w)
    torch.testing.assert_close(hessian, expected, **CLOSE)


# ---- tables ----


def table(num_rows: int = 400, seed: int = 0) -> pa.Table:
    """Returns two features, two targets, and whole weights, some of them 0; all are exact in float32."""
    generator = np.random.default_rng(seed)
    a, b = generator.integers(-80, 80, (2, num_rows)) / 16
    y = np.round(3 * a - b + 2 + generator.standard_normal(num_rows) * (1 + np.abs(a)), 2).astype(np.float32)
    z = np.round(a + generator.standard_normal(num_rows), 2).astype(np.float32)
    return pa.table({"a": a, "b": b, "w": generator.integers(0, 4, num_rows).astype(float), "y": y, "z": z})


def columns(content: pa.Table, *names: str) -> np.ndarray:
    return np.stack([content[name].to_numpy() for name in names], axis=1)


def repeated_table(content: pa.Table) -> pa.Table:
    times = content["w"].to_numpy().astype(int)
    return content.take(np.repeat(np.arange(len(times)), times)).drop_columns(["w"])


def written(content: pa.Table, folder: Path, name: str = "t.parquet") -> str:
    pyarrow.parquet.write_table(content, folder / name, row_group_size=37)
    return str(folder / name)


def loaded(content: Any, **given_settings: Any) -> TableDataModule:
    data = TableDataModule(content, **{"target": ["y", "z"], "weight": "w", **given_settings})
    data.setup("fit")
    return data


def flags(path: str, *more: str) -> tuple[str, ...]:
    return ("--data", "TableDataModule", "--data.path", path, "--data.target", "[y,z]", *PLAIN, *more)


WEIGHT = ("--data.weight", "w")


def solved(path: str, *more: str, cwd: Path) -> dict[str, Any]:
    result = linreg("solve", *flags(path, *more), "--json", cwd=cwd)
    assert (result.code, result.stderr) == (0, "")
    solution: dict[str, Any] = json.loads(result.stdout)
    return solution


def estimates(solution: dict[str, Any]) -> np.ndarray:
    """Returns the estimates, the intercept first: (1+D, K)."""
    rows = [[solution["intercept"][k]["estimate"] for k in "yz"]]
    rows += [[solution["coefficients"][k][name]["estimate"] for k in "yz"] for name in "ab"]
    return np.array(rows)


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("memory_limit", ["1", "0"], ids=["held", "streamed"])
def test_solution_equals_scikit_learn(l2: float, memory_limit: str, tmp_path: Path) -> None:
    content = table()
    more = (*WEIGHT, "--model.l2", str(l2), "--data.memory_limit", memory_limit, "--data.batch_size", "50")
    solution = solved(written(content, tmp_path), *more, cwd=tmp_path)
    x, y, w = columns(content, "a", "b"), columns(content, "y", "z"), content["w"].to_numpy()
    peer = (Ridge(alpha=w.sum() * 2 * l2, solver="svd") if l2 else Peer()).fit(x, y, sample_weight=w)
    np.testing.assert_allclose(estimates(solution), np.vstack([peer.intercept_, peer.coef_.T]), rtol=1e-10)
    mse = np.average((peer.predict(x) - y) ** 2, axis=0, weights=w).mean()
    assert solution["objective"] == pytest.approx(mse + l2 * np.square(peer.coef_).sum(), rel=1e-10)
    if not l2:
        scores = r2_score(y, peer.predict(x), sample_weight=w, multioutput="raw_values")
        np.testing.assert_allclose(list(solution["r_squared"].values()), scores, rtol=1e-9)
    assert solution["num_rows"] == np.count_nonzero(w), "a row of weight 0 is as absent"


def test_solve_ignores_scale_of_weights(tmp_path: Path) -> None:
    content, l2 = table(), ("--model.l2", "0.2")
    large = content.set_column(2, "w", pa.array(1e6 * content["w"].to_numpy()))
    one = solved(written(content, tmp_path), *WEIGHT, *l2, cwd=tmp_path)
    scaled = solved(written(large, tmp_path, "large.parquet"), *WEIGHT, *l2, cwd=tmp_path)
    alike = solved(written(repeated_table(content), tmp_path, "r.parquet"), *l2, cwd=tmp_path)
    for other in (scaled, alike):
        np.testing.assert_allclose(estimates(other), estimates(one), rtol=1e-13)
        assert other["objective"] == pytest.approx(one["objective"], rel=1e-12)
        assert other["condition_number"] == pytest.approx(one["condition_number"], rel=1e-9)
        assert other["largest_stable_learning_rate"] == pytest.approx(one["largest_stable_learning_rate"], rel=1e-9)
    errors = [solution["intercept"]["y"]["standard_error"] for solution in (one, scaled)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-9), "standard errors do not depend on the scale"


@pytest.mark.parametrize("standardize", ["false", "true"])
def test_full_batch_converges_to_ridge(standardize: str, tmp_path: Path) -> None:
    reports = []
    settings_of_model = ("--model.learning_rate", "auto", "--model.l2", "0.2", "--model.standardize", standardize)
    for name, content, more in (("w", table(), WEIGHT), ("r", repeated_table(table()), ())):
        path = written(content, tmp_path, f"{name}.parquet")
        (folder := tmp_path / name).mkdir()
        run = (*settings_of_model, "--trainer.max_epochs", "200", "--trainer.precision", "64-true")
        result = linreg("fit", *flags(path, *more), *run, cwd=folder)
        assert (result.code, result.stderr) == (0, "")
        reports.append(json.loads((folder / RUN / "report.json").read_text()))
    ours, theirs = reports
    for key in ("coefficients", "loss", "mse"):
        assert ours[key] == pytest.approx(theirs[key], rel=1e-6)  # weights are rounded to float32
    assert ours["gap"] < 1e-12, "it converges"
    x, y, w = columns(table(), "a", "b"), columns(table(), "y", "z"), table()["w"].to_numpy()
    scaler = StandardScaler(with_mean=standardize == "true", with_std=standardize == "true").fit(x, sample_weight=w)
    peer = Ridge(alpha=w.sum() * 2 * 0.2, solver="svd").fit(scaler.transform(x), y, sample_weight=w)
    fitted = [[ours["coefficients"][f"W/{name}/{k}"] for name in "ab"] for k in "yz"]
    np.testing.assert_allclose(fitted, peer.coef_ / (1 if scaler.scale_ is None else scaler.scale_), rtol=1e-6)


def test_batch_losses_average_to_objective() -> None:
    """Covers rows that are left over, with and without shuffling."""
    W, b = torch.tensor([[1.0, 2.0], [-1.0, 0.5]]).double(), torch.tensor([0.3, -0.2]).double()
    for size, shuffle in ((50, True), (60, False)):
        data = loaded(table(), batch_size=size, shuffle=shuffle)
        each = [objective(*_xyw(data.batch(0, index), W, b)) for index in range(data.steps_per_epoch)]
        drawn = table().slice(0, size * data.steps_per_epoch)
        x, y, w = columns(drawn, "a", "b"), columns(drawn, "y", "z"), drawn["w"].to_numpy()
        expected = np.average(((x @ W.numpy() + b.numpy() - y) ** 2).mean(axis=1), weights=w)
        assert float(torch.stack(each).mean()) == pytest.approx(expected, rel=1e-12)


def test_batch_hessians_average_to_hessian() -> None:
    data = loaded(table(), batch_size=60, shuffle=False)
    problem_of_data = LinearRegression.tutorial(2, 2, l2=0.1).problem(data)
    assert problem_of_data.is_cycle
    factor = problem_of_data.optimum.factor_of(problem_of_data.scaling)
    expected = 2 * factor.T @ factor
    torch.testing.assert_close(problem_of_data.hessians.mean(dim=0), expected, rtol=1e-6, atol=1e-6)  # of float32


def _xyw(batch: tuple[Tensor, ...], W: Tensor, b: Tensor) -> tuple[Any, ...]:
    x, y, w = batch
    return x, y, W, b, 0.0, w


def test_standardization_is_weighted() -> None:
    content = table()
    data, model = loaded(content), LinearRegression.tutorial(2, 2, learning_rate="auto", standardize=True)
    plain_trainer(1).fit(model, data)
    x, w = columns(content, "a", "b"), content["w"].to_numpy()
    means = np.average(x, axis=0, weights=w)
    np.testing.assert_allclose(model.x_mean, means, rtol=1e-5)
    np.testing.assert_allclose(model.x_scale, np.sqrt(np.average((x - means) ** 2, axis=0, weights=w)), rtol=1e-5)


def test_weight_is_feature_only_if_named() -> None:
    assert loaded(table()).feature_names == ["a", "b"]
    data = loaded(table(), features=["w", "a"], memory_limit=0, batch_size=7, shuffle=False)
    x, _, w = next(iter(data.rows()))
    assert torch.equal(x[:, :1], w)
    assert x[:, 0].tolist() == table()["w"].to_pylist()[: len(x)]


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_evaluation_losses_are_weighted(memory_limit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Covers evaluation batches without any weight."""
    monkeypatch.setattr(rows, "EVALUATION_BATCH_SIZE", 16)
    content = table().slice(0, 300)
    weights = content["w"].to_numpy().copy()
    weights[32:48] = 0
    content = content.set_column(2, "w", pa.array(weights))
    data = loaded(content, memory_limit=memory_limit, batch_size=50, val_fraction=0.3)
    model = LinearRegression.tutorial(2, 2, learning_rate=0.01)
    trainer = plain_trainer(3)
    trainer.fit(model, data)
    W, b = (part.detach().double().numpy() for part in (model.W, model.b))

    def loss(chosen: np.ndarray | slice) -> float:
        errors = columns(content, "a", "b")[chosen] @ W + b - columns(content, "y", "z")[chosen]
        return float(np.average((errors**2).mean(axis=1), weights=weights[chosen]))

    held_out = Split(0, 0.3).mask("val", 0, 300)
    assert held_out is not None
    assert trainer.callback_metrics["val/mse"].item() == pytest.approx(loss(held_out), rel=1e-5)
    tester = plain_trainer(1)
    tester.test(model, data, verbose=False)
    assert tester.callback_metrics["test/mse"].item() == pytest.approx(loss(slice(None)), rel=1e-5)


def test_streamed_rows_equal_rows_in_memory(tmp_path: Path) -> None:
    path = written(table(), tmp_path)
    given: Any = {"batch_size": 90, "val_fraction": 0.2, "shuffle": False}
    held, streamed = loaded(path, **given), loaded(path, **given, memory_limit=0)
    assert torch.equal(held.triangle.R, streamed.triangle.R)
    assert held.triangle.total_weight == streamed.triangle.total_weight
    assert held.fingerprint == streamed.fingerprint
    for index in range(held.steps_per_epoch):
        for one, other in zip(held.batch(1, index), streamed.batch(1, index), strict=True):
            assert torch.equal(one, other)
    other_weights = table().set_column(2, "w", pa.array(np.ones(400)))
    assert loaded(other_weights, **given).fingerprint != held.fingerprint


@pytest.mark.parametrize("memory_limit", ["1", "0"], ids=["held", "streamed"])
def test_weighted_run_resumes_exactly(memory_limit: str, tmp_path: Path) -> None:
    path = written(table().append_column("v", pa.array(np.ones(400))), tmp_path)
    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    settings_of_run = (
        "--data.features",
        "[a,b]",
        "--data.batch_size",
        "30",
        "--data.memory_limit",
        memory_limit,
        "--data.val_fraction",
        "0.1",
    )
    model = ("--model.standardize", "true", "--model.learning_rate", "auto", "--trainer.max_epochs", "3")
    command = ("fit", *flags(path, *WEIGHT), *settings_of_run, *model)
    assert (result := linreg(*command, cwd=whole)).code == 0, result.stderr
    assert linreg(*command, "--trainer.max_steps", "17", cwd=parts).code == 0
    result = linreg("fit", "--resume", str(RUN), "--trainer.max_steps", "-1", cwd=parts)
    assert (result.code, result.stderr) == (0, "")
    assert_same_run(whole, parts)
    changed = linreg("fit", "--resume", str(RUN), "--data.weight", "v", "--trainer.max_epochs", "9", cwd=parts)
    assert changed.code == 2
    assert "weight: w, now v" in changed.stderr


def test_residual_plot_is_weighted(tmp_path: Path) -> None:
    content = table()
    path = written(content, tmp_path)
    run = ("--model.learning_rate", "0.01", "--trainer.max_epochs", "5")
    assert linreg("fit", *flags(path, *WEIGHT), *run, cwd=tmp_path).code == 0
    drawn = pictures(run_data := record(tmp_path / RUN))["residuals"].axes[1]
    W, b = run_data.model.coefficients()
    errors = columns(content, "a", "b") @ W.numpy() + b.numpy() - columns(content, "y", "z")
    expected = np.sqrt(np.average(errors[:, 0] ** 2, weights=content["w"]))
    assert drawn.get_title() == f"residuals: root mean square {expected:.4g}"
    result = linreg("plot", str(RUN), cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")


def test_prediction_needs_no_weight(tmp_path: Path) -> None:
    path = written(table(), tmp_path)
    run = ("--model.learning_rate", "0.01", "--trainer.max_epochs", "1")
    assert linreg("fit", *flags(path, *WEIGHT), *run, cwd=tmp_path).code == 0
    new = written(table().select(["a", "b"]), tmp_path, "new.parquet")
    checkpoint = ("--ckpt_path", str(RUN / "checkpoints" / "step=1.ckpt"), "--data.path", new)
    result = linreg("predict", *checkpoint, cwd=tmp_path)
    assert result.stdout == "400 predictions in predictions.csv\n", result.stderr
    lacking = written(table().drop_columns(["w"]), tmp_path, "lacking.parquet")
    words = "lacking.parquet: there is no column 'w'|--data.weight"
    refuse("test", *checkpoint[:2], "--data.path", lacking, cwd=tmp_path, words=words)


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_rows_without_a_weight_are_dropped(memory_limit: Any) -> None:
    content = table()
    weights, a = content["w"].to_numpy().copy(), content["a"].to_numpy().copy()
    weights[[3, 77, 200]], a[[5, 77]] = np.nan, np.nan
    content = content.set_column(2, "w", pa.array(weights)).set_column(0, "a", pa.array(a))
    more: Any = {"memory_limit": memory_limit, "batch_size": 10, "shuffle": False}
    with pytest.raises(InputError, match="'w', row 4: a value is missing"):
        loaded(content, missing="error", **more)
    assert loaded(content, missing="drop", **more).num_rows_to_fit == loaded(content, **more).num_rows_to_fit == 396
    filled = loaded(content, missing="mean", **more)
    assert filled.num_rows_to_fit == 397
    x, _, w = (torch.cat(parts) for parts in zip(*filled.rows(), strict=True))
    known = ~(np.isnan(weights) | np.isnan(a))
    assert float(x[4, 0]) == pytest.approx(np.average(a[known], weights=weights[known]), rel=1e-6)
    assert w[:5, 0].tolist() == weights[[0, 1, 2, 4, 5]].tolist()


def test_plain_loader_with_weights() -> None:
    content = table()
    x, y, w = (torch.tensor(columns(content, *names)).float() for names in ("ab", "yz", "w"))
    model, other = (LinearRegression.tutorial(2, 2, learning_rate=0.01) for _ in range(2))
    w = w / w.mean()
    plain_trainer(5).fit(model, DataLoader(TensorDataset(x, y, w), batch_size=400))
    plain_trainer(5).fit(other, loaded(content, shuffle=False))
    torch.testing.assert_close(model.W, other.W)


CSV = "x,w,y\n1,1,2\n2,{},4\n3,1,6\n"
BAD = {
    "negative": (CSV.format(-0.5), "", "t.csv: column 'w', row 2: the weight is -0.5|0 or more|--data.weight"),
    "infinite": (CSV.format("inf"), "", "t.csv: column 'w', row 2: inf is not a finite number"),
    "no number": (CSV.format("much"), "", "t.csv: column 'w', row 2: 'much'|must be numbers"),
    "missing": (
        CSV.format(""),
        "--data.missing error",
        "t.csv: column 'w', row 2: a value is missing|--data.missing drop",
    ),
    "all zero": ("x,w,y\n1,0,2\n2,0,4\n", "", "t.csv: the weights of all rows are 0|--data.weight"),
    "all zero, streamed": (
        "x,w,y\n1,0,2\n2,0,4\n",
        "--data.memory_limit 0 --data.batch_size 1",
        "t.csv: the weights of all rows are 0",
    ),
    "no such column": (CSV.format(1), "--data.weight v", "t.csv: there is no column 'v'|--data.weight"),
}


@pytest.mark.parametrize(("content", "more", "words"), BAD.values(), ids=BAD)
def test_bad_weights(content: str, more: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    data = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--data.weight", "w")
    refuse("fit", *data, *more.split(), cwd=tmp_path, words=words)


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize("part", ["fit", "val"])
def test_part_without_weight_is_refused(part: Any, memory_limit: Any) -> None:
    in_part = Split(0, 0.2).mask(part, 0, 400)
    assert in_part is not None
    content = table().set_column(2, "w", pa.array(np.where(in_part, 0.0, 1.0)))
    with pytest.raises(InputError, match="the weights of all rows are 0"):
        loaded(content, val_fraction=0.2, batch_size=9, memory_limit=memory_limit)


def test_evaluation_without_weight_is_refused(tmp_path: Path) -> None:
    path = written(table(), tmp_path)
    run = ("--model.learning_rate", "0.01", "--trainer.max_epochs", "1")
    assert linreg("fit", *flags(path, *WEIGHT), *run, cwd=tmp_path).code == 0
    none = written(table().set_column(2, "w", pa.array(np.zeros(400))), tmp_path, "none.parquet")
    checkpoint = ("--ckpt_path", str(RUN / "checkpoints" / "step=1.ckpt"), "--data.path", none)
    refuse("test", *checkpoint, cwd=tmp_path, words="none.parquet: the weights of all rows are 0")
