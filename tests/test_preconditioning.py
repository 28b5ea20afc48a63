"""Checks preconditioned descent under a real Trainer against NumPy's least squares, and its planned length."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.core.refinement import refined
from linreg_pl.core.run_length import PreconditionedDescent
from linreg_pl.core.stability import curvature_noise, noise_bias
from linreg_pl.core.statistics import statistics
from linreg_pl.core.triangle import triangle_of
from linreg_pl.training.planning import most_epochs
from linreg_pl.tutorial import model_settings
from tests.trainers import plain_trainer

NOISE = 0.5


def table_of(x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, **settings: Any) -> TableDataModule:
    """Returns a table with features x0, x1, … and targets y0, y1, …"""
    columns = {f"x{i}": column for i, column in enumerate(x.T)} | {f"y{i}": column for i, column in enumerate(y.T)}
    if weights is not None:
        columns["w"], settings["weight"] = weights, "w"
    return TableDataModule(pd.DataFrame(columns), [f"y{i}" for i in range(y.shape[1])], **settings)


def rows(num_rows: int, num_features: int, num_targets: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draws normal features, and targets with noise."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((num_rows, num_features))
    y = x @ generator.standard_normal((num_features, num_targets))
    return x, y + NOISE * generator.standard_normal((num_rows, num_targets))


def conditioned(condition: float, num_rows: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Draws four features of which two are nearly equal: their Gram matrix has about this condition number."""
    x, y = rows(num_rows, 4)
    share = 1 / math.sqrt(condition)
    x[:, 1] = (1 - share) * x[:, 0] + 2 * share * x[:, 1] if condition > 1 else x[:, 1]
    return x, y


def least_squares(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None, intercept: bool = True, ridge: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes W, b and the standard errors of W by NumPy, on centred columns of length 1; `ridge` is times N·K."""
    w = np.ones(len(x)) if weights is None else weights / weights.mean()
    mean_x, mean_y = (np.average(part, axis=0, weights=w) if intercept else 0 * part[0] for part in (x, y))
    z, v = (np.sqrt(w)[:, None] * (part - mean) for part, mean in ((x, mean_x), (y, mean_y)))
    scales = np.sqrt(np.average((x - np.average(x, axis=0, weights=w)) ** 2, axis=0, weights=w))
    z = z / scales
    padded = np.vstack([z, np.sqrt(ridge * y.size) * np.eye(x.shape[1])]) if ridge else z
    targets = np.vstack([v, np.zeros((len(padded) - len(z), y.shape[1]))])
    W, _, rank, _ = np.linalg.lstsq(padded, targets, rcond=1e-13)
    deviation = np.sqrt(((v - z @ W) ** 2).sum(axis=0) / (len(x) - rank - intercept))
    spread = np.sqrt(np.diag(np.linalg.pinv(padded.T @ padded, rcond=1e-15, hermitian=True))) if not ridge else 1.0
    W = W / scales[:, None]
    return W, mean_y - mean_x @ W, np.outer(spread / scales, deviation)


def trained(data: TableDataModule, epochs: int = 10, **settings: Any) -> LinearRegression:
    """Trains the default model for some epochs."""
    data.setup("fit")
    settings = {"num_features": data.num_features, "num_targets": data.num_targets, **settings}
    model = LinearRegression(**settings)
    plain_trainer(epochs).fit(model, datamodule=data)
    return model


@pytest.mark.parametrize("exponent", [0, 2, 4, 6, 8, 10, 12])
def test_every_condition_number(exponent: int) -> None:
    """The worst coefficient ends within 0.3 standard errors, in float64 where float32 would not do."""
    x, y = conditioned(10.0**exponent)
    data = table_of(x, y)
    model = trained(data)
    W, b, _ = least_squares(x, y)
    solution = model.problem(data).optimum
    errors = statistics(solution).standard_errors[:, 0]
    np.testing.assert_allclose(solution.W.numpy(), W, rtol=0, atol=0.01 * float(errors[1:].max()))
    ours = model.coefficients()
    assert ((ours[0][:, 0] - torch.from_numpy(W[:, 0])).abs() <= 0.3 * errors[1:]).all()
    assert abs(float(ours[1] - torch.from_numpy(b))) <= 0.3 * float(errors[0])
    in_float64 = model.problem(data).exceeds_float32
    assert model.W.dtype == (torch.float64 if in_float64 else torch.float32)
    assert in_float64 == (exponent >= 11) or exponent in (9, 10), "eps · √condition is above 0.02 from 3e10 on"


@pytest.mark.parametrize(("deviation", "exceeds"), [(1e-2, False), (1e-8, True)])
def test_large_t_takes_float64(deviation: float, exceeds: bool) -> None:
    """A coefficient of many standard errors needs more digits than float32 has."""
    x, y = rows(200, 2)
    y = x @ np.array([[1.0], [-2.0]]) + deviation * (y - x @ least_squares(x, y)[0])
    data = table_of(x, y)
    model = trained(data)
    assert model.problem(data).exceeds_float32 == exceeds == (model.W.dtype == torch.float64)
    W, _, errors = least_squares(x, y)
    assert (np.abs(model.coefficients()[0].numpy() - W) <= 0.3 * errors).all()


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("num_targets", [1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_settings_of_the_model(intercept: bool, num_targets: int, weighted: bool) -> None:
    x, y = rows(150, 3, num_targets)
    x, y = x * [1.0, 1e4, 1e-4] + [3.0, 1e5, 0.0], y + 7
    weights = np.random.default_rng(1).uniform(0, 2, 150) if weighted else None
    model = trained(table_of(x, y, weights), fit_intercept=intercept)
    W, _, errors = least_squares(x, y, weights, intercept)
    assert (np.abs(model.coefficients()[0].numpy() - W) <= 0.3 * errors).all()
    if not intercept:
        assert torch.equal(model.coefficients()[1], torch.zeros(num_targets).double())


@pytest.mark.parametrize("l2", [1e-6, 0.1, 10.0])
def test_penalized_descent_ends_at_ridge(l2: float) -> None:
    x, y = conditioned(1e4)
    model = trained(table_of(x, y), l2=l2)
    W, b, _ = least_squares(x, y, ridge=l2)
    np.testing.assert_allclose(model.coefficients()[0].numpy(), W, rtol=0, atol=3e-4)
    np.testing.assert_allclose(model.coefficients()[1].numpy(), b, rtol=0, atol=3e-4)


def test_penalized_bias_ends_at_the_optimum() -> None:
    """With a penalty on b, it is the solution of the normal equations with the column of ones penalised."""
    x, y = rows(150, 3)
    y += 5
    model = trained(table_of(x, y), l2=0.2, fold_bias=True)
    z = np.column_stack([np.ones(150), (x - x.mean(0)) / x.std(0)])
    theta = np.linalg.solve(z.T @ z / 150 + 0.2 * np.eye(4), z.T @ y / 150)
    ours = np.vstack([model.b.detach().numpy()[None], model.W.detach().numpy()])
    np.testing.assert_allclose(ours, theta, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["copy", "sum", "constant", "categories", "more features than rows"])
def test_dependent_columns_end_at_the_shortest(kind: str) -> None:
    """The shortest W in standardized units, as NumPy's minimum-norm solution."""
    x, y = rows(6 if kind == "more features than rows" else 120, 8 if kind == "more features than rows" else 4)
    if kind == "copy":
        x[:, 3] = 100 * x[:, 0] + 5
    elif kind == "sum":
        x[:, 3] = x[:, 0] - 2 * x[:, 1]
    elif kind == "constant":
        x[:, 2] = 1e8 + 1 / 3
    elif kind == "categories":
        x[:, :3] = np.eye(3)[np.arange(120) % 3]
    model = trained(table_of(x, y), init_std=0.5)
    scales = x.std(axis=0)
    scales = np.where(scales > 1e-6, scales, 1.0)
    z = (x - x.mean(axis=0)) / scales * (x.std(axis=0) > 1e-6)
    W, *_ = np.linalg.lstsq(z, y - y.mean(), rcond=1e-12)
    np.testing.assert_allclose(model.W.detach().numpy(), W, rtol=0, atol=1e-4)


def rare_category() -> TableDataModule:
    """Returns 4000 rows in batches of 100; eight of them are of a category of their own."""
    x, y = rows(4000, 3, seed=2)
    x[:, 2] = 0
    x[::500, 2] = 1
    return table_of(x, y + 2 * x[:, 2:], batch_size=100)


def test_rare_category_converges() -> None:
    """In batches that mostly lack it; the planned distance is honest."""
    data = rare_category()
    data.setup("fit")
    model = LinearRegression(num_features=3)
    plan = model.planned(data)
    posed = model.problem(data)
    assert plan.epochs <= most_epochs(posed)
    assert plan.learning_rate <= 0.5 * posed.stable_learning_rates()["mean_square"] * (1 + 1e-9)
    trained_model = trained(data, plan.epochs)
    errors = statistics(posed.optimum).standard_errors[1:]
    worst = float(((trained_model.coefficients()[0] - posed.optimum.W) / errors).abs().max())
    print(f"worst {worst:.3f}, planned {plan.distance:.3f}, {plan.epochs} epochs")
    assert worst <= 1.5 * plan.distance


@pytest.mark.parametrize(("batches", "epochs"), [(5, 8), (20, 4), (20, 40), (200, 3)])
@pytest.mark.parametrize("distance", [3.0, 1e4])
def test_length_matches_a_simulation(batches: int, epochs: int, distance: float) -> None:
    """Computes the weights of the noise of each step by descent itself, in one direction."""
    descent = PreconditionedDescent(batches, largest=0.5, distance=distance, noise_bias=0.3)
    plan = descent.of_length(epochs)
    steps = batches * epochs
    rates = [plan.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)]
    error, weights = distance, np.zeros(steps)
    bias = 0.0
    for step, rate in enumerate(rates):
        error *= 1 - rate
        weights *= 1 - rate
        weights[step] = rate
        bias = (1 - rate) * bias + rate * rate * 0.3
    by_epoch = weights.reshape(epochs, batches)
    noise = batches * np.square(by_epoch - by_epoch.mean(axis=1, keepdims=True)).sum()
    expected = math.sqrt(error**2 + bias**2 + 9 * noise)
    assert plan.distance == pytest.approx(expected, rel=0.05)


def test_noise_of_an_epoch_is_a_sample_without_replacement() -> None:
    """The spread of many runs, whose epochs are random orders of fixed gradients."""
    batches, epochs = 8, 6
    plan = PreconditionedDescent(batches, largest=0.9, distance=50.0).of_length(epochs)
    generator, runs = np.random.default_rng(0), 20_000
    gradients = generator.standard_normal(batches)
    gradients = (gradients - gradients.mean()) / gradients.std()
    error = np.zeros(runs)
    for epoch in range(epochs):
        order = np.argsort(generator.random((runs, batches)), axis=1)
        for index in range(batches):
            step = epoch * batches + index
            rate = plan.learning_rate * (1 + math.cos(math.pi * step / (batches * epochs))) / 2
            error = (1 - rate) * error + rate * gradients[order[:, index]]
    # In standard errors: the gradient of a batch has √batches of them; of a sample without replacement, a little more.
    spread = error.std() * math.sqrt(batches * (batches - 1) / batches)
    drift = 50.0 * math.prod(
        1 - plan.learning_rate * (1 + math.cos(math.pi * step / (batches * epochs))) / 2
        for step in range(batches * epochs)
    )
    assert math.hypot(3 * spread, drift) == pytest.approx(plan.distance, rel=0.06)


def test_planned_length_is_the_shortest() -> None:
    descent = PreconditionedDescent(batches=12, largest=0.4, distance=1e3)
    plan = descent.planned(most=250)
    assert plan.distance <= 0.3 < descent.of_length(plan.epochs - 1).distance
    assert descent.planned(most=plan.epochs - 1).epochs == plan.epochs - 1, "the limit holds"
    assert PreconditionedDescent(1, 0.5, 1e3).planned(most=3000).epochs == 10
    assert PreconditionedDescent(1, 0.5, 1e22, rounding=1e-16).planned(most=3000).epochs == 17
    products = [np.prod((1 - np.cos(np.pi * np.arange(1, n) / n)) / 2) for n in (16, 17)]
    assert 1e6 * products[1] < 0.01 < 1e6 * products[0], "what is left of the rounding, in standard errors"
    assert PreconditionedDescent(1, 0.5, math.inf, rounding=1e-16).planned(most=3000).epochs == 3000
    assert PreconditionedDescent(1, 0.5, 1e3).planned(most=3).epochs == 3
    assert PreconditionedDescent(1, 0.5, 0.0).planned(most=3).epochs == 1, "there is nothing to learn"


def test_bias_of_the_noise_matches_many_runs() -> None:
    """Steep rows with residuals of one sign move the mean of θ, as batches of an epoch have no row in common."""
    draws, num_rows, size, rate = np.random.default_rng(0), 80, 4, 0.005
    x = np.abs(draws.standard_normal(num_rows))
    y = 0.3 * x + x**2 + 0.1 * draws.standard_normal(num_rows)
    exact, curvature = (x @ y) / (x @ x), 2 * (x @ x) / num_rows
    coordinates = torch.tensor([[0.0], [curvature**-0.5]]).double()  # the Hessian is 1 in u
    rows = [(torch.from_numpy(x[:, None]), torch.from_numpy(y[:, None]))]
    _, weighted = curvature_noise(rows, triangle_of(rows), size, coordinates)
    theta = torch.tensor([[0.0], [exact]]).double()
    bias = rate * float(noise_bias(weighted, theta, size, coordinates, 1.0, num_rows)[1])
    slope = np.full((2000, 1), exact)  # of many runs
    means = []
    for epoch in range(60):
        order = draws.permuted(np.tile(np.arange(num_rows), (2000, 1)), axis=1)
        for batch in np.split(order, num_rows // size, axis=1):
            gradient = 2 * (x[batch] * (x[batch] * slope - y[batch])).mean(axis=1, keepdims=True)
            slope = slope - rate / curvature * gradient
        if epoch >= 30:
            means.append(float(slope.mean() - exact))
    assert np.mean(means) == pytest.approx(-bias, rel=0.15)


def test_tutorial_is_plain_descent() -> None:
    """No preconditioner, no buffers, and the step of W is the learning rate times J's gradient."""
    model = LinearRegression.tutorial()
    assert {name: model.hparams[name] for name in model_settings()} == model_settings()
    assert not dict(model.named_buffers())
    assert (model.learning_rate, model.l2, model.momentum, model.schedule) == (1e-10, 1e-10, 0.0, "constant")
    assert not any((model.precondition, model.standardize, model.settings.start_at_mean))
    preset = LinearRegression.tutorial(2, learning_rate=0.5)
    assert (preset.learning_rate, preset.l2, len(preset.W)) == (0.5, 1e-10, 2)


def test_defaults_are_the_good_ones() -> None:
    model = LinearRegression(num_features=3)
    assert (model.hparams["learning_rate"], model.l2, model.momentum) == ("auto", 0.0, 0.0)
    assert model.precondition
    assert model.standardize
    assert model.settings.start_at_mean


@pytest.mark.parametrize("size", [1e12, 1e16, 1e20])
def test_large_targets_do_not_count_as_divergence(size: float) -> None:
    """From deviations of 1e15 on the run takes float64, whose squares have room."""
    random = np.random.default_rng(11)
    a = random.normal(size=300)
    rows = pd.DataFrame({"a": a, "y": size * (2 * a + random.normal(size=300))})
    model = LinearRegression(1)
    plain_trainer(10).fit(model, TableDataModule(rows, "y"))
    assert model.coefficients()[0].item() == pytest.approx(np.polyfit(a, rows["y"], 1)[0], rel=1e-6)


def test_near_perfect_fit_is_exact_to_its_digits() -> None:
    """Rounding of a large explained part, 1e10 beside noise of 1, would show in the small coefficients."""
    random = np.random.default_rng(12)
    x = random.normal(size=(3000, 2))
    y = 1e10 * x[:, 0] + x[:, 1] + random.normal(size=3000)
    data = TableDataModule(pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": y}), "y")
    data.setup("fit")
    model = LinearRegression(2)
    model.learn_from(data)
    posed = model.problem(data)
    exact = refined(posed.optimum, data.rows() if data.preparation is None else restored(data))
    error = (posed.optimum.W - exact.W).abs() / statistics(exact).standard_errors[1:]
    assert error.max() < 1e-9


def restored(data: TableDataModule) -> Any:
    """Returns the rows in the user's units."""
    data.restore()
    return data.rows()
