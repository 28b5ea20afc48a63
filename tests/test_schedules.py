"""Compares schedules, averages and the length of a run with torch's schedulers, autograd, and real descents."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR

from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.core.forecast import course
from linreg_pl.core.learning_rate_schedules import Schedule, ScheduledRate
from linreg_pl.core.run_length import ExpectedDescent
from tests.commands import linreg
from tests.runs import DIABETES, RUN, newest
from tests.trainers import Trajectory, plain_trainer

TABLE = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")


def learning_rates(learning_rate: float, schedule: Schedule, steps: int) -> Tensor:
    """Returns the learning rate of each step of a run."""
    rate = ScheduledRate(learning_rate, schedule, steps)
    return torch.tensor([rate.at(step) for step in range(steps)], dtype=torch.float64)


def scheduler_of(schedule: Schedule, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """Returns torch's own scheduler."""
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return OneCycleLR(optimizer, 0.1, total_steps=steps, cycle_momentum=False)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_schedules_match_torch(schedule: Schedule) -> None:
    steps = 5000
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, expected = scheduler_of(schedule, optimizer, steps), []
    for step in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    rates = learning_rates(0.1, schedule, steps)
    # torch's one_cycle reaches its end with the last step, ours a step later.
    assert rates.tolist() == pytest.approx(expected, abs=0.1 * (1e-12 if schedule == "cosine" else 12 / steps))
    assert learning_rates(0.1, "constant", 3).tolist() == [0.1, 0.1, 0.1]


def descent(schedule: Schedule, tail: int) -> list[Tensor]:
    """Returns θ after each of 30 steps of autograd in float64, on all of diabetes; the last is the mean of `tail`."""
    table = torch.tensor(np.loadtxt(DIABETES, delimiter=",", skiprows=1))
    x, y = torch.cat([torch.ones(442, 1), table[:, :10]], dim=1).double(), table[:, 10:].double()
    start = LinearRegression.tutorial(10, init_seed=3)
    theta = torch.cat([start.b.detach().unsqueeze(0), start.W.detach()]).double().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=0.1, momentum=0.5)
    path = []
    for rate in learning_rates(0.1, schedule, 30).tolist():
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (x @ theta - y).square().mean().backward()
        optimizer.step()
        path.append(theta.detach().clone())
    path[-1] = torch.stack(path[-max(1, tail) :]).mean(dim=0)
    return path


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("tail", [0, 12])
def test_run_on_schedule_matches_autograd(schedule: Schedule, tail: int) -> None:
    trajectory = Trajectory()
    model = LinearRegression.tutorial(
        10, 1, learning_rate=0.1, l2=0.0, momentum=0.5, schedule=schedule, tail_averaging=tail / 30, init_seed=3
    )
    plain_trainer(30, trajectory).fit(model, TableDataModule(str(DIABETES), "progression"))
    expected = descent(schedule, tail)
    for W, b, theta in zip(trajectory.W, trajectory.b, expected, strict=True):
        torch.testing.assert_close(torch.cat([b.unsqueeze(0), W]).double(), theta, rtol=1e-4, atol=1e-3)


def test_schedule_needs_a_run_with_an_end() -> None:
    model = LinearRegression.tutorial(10, schedule="cosine")
    with pytest.raises(InputError, match="a run with an end"):
        plain_trainer(-1).fit(model, TableDataModule(str(DIABETES), "progression"))
    with pytest.raises(InputError, match=r"tail_averaging is 1\.5"):
        LinearRegression.tutorial(tail_averaging=1.5)


def test_schedule_can_be_set_later() -> None:
    models = [
        LinearRegression.tutorial(10, schedule="cosine", learning_rate=0.1),
        LinearRegression.tutorial(10, learning_rate=0.1),
    ]
    models[1].schedule = "cosine"
    for model in models:
        plain_trainer(5).fit(model, TableDataModule(str(DIABETES), "progression"))
    assert torch.equal(models[0].W, models[1].W)


def small_problem(num_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns x with a column of ones, y = x θ + noise, and the least-squares estimate of θ."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(num_rows, 5, generator=generator, dtype=torch.float64)
    x[:, 0] = 1
    x[:, 2] = x[:, 1] + 0.3 * x[:, 2]
    y = x @ torch.tensor([[1.0], [2.0], [0.5], [-1.0], [3.0]]).double()
    y += 2 * torch.randn(num_rows, 1, generator=generator, dtype=torch.float64)
    return x, y, torch.linalg.lstsq(x, y).solution


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_course_matches_descent(schedule: Schedule, momentum: float) -> None:
    x, y, exact = small_problem(50)
    theta, velocity, path = torch.zeros_like(exact), torch.zeros_like(exact), [-exact]
    for rate in learning_rates(0.1, schedule, 20).tolist():
        velocity = momentum * velocity + 2 * x.T @ (x @ theta - y) / len(x)
        theta = theta - rate * velocity
        path.append(theta - exact)
    planned = ScheduledRate(0.1, schedule, 20)
    errors = course(x / len(x) ** 0.5, -exact, planned.at, momentum, every_n_steps=4, count=5)
    torch.testing.assert_close(errors, torch.stack(path[::4]), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_expected_gap_is_the_mean_of_many_runs(schedule: Schedule, momentum: float) -> None:
    """Draws each batch from all rows, as the formula assumes; 300 runs at once."""
    x, y, exact = small_problem(4000)
    eigenvalues, vectors = torch.linalg.eigh(2 * x.T @ x / len(x))
    mse = float((x @ exact - y).square().mean())
    generator, steps, size = torch.Generator().manual_seed(0), 60, 50
    theta = torch.zeros(300, 5, 1, dtype=torch.float64)
    velocity = torch.zeros_like(theta)
    for rate in learning_rates(0.05, schedule, steps).tolist():
        chosen = torch.randint(len(x), (300, size), generator=generator)
        rows, targets = x[chosen], y[chosen]
        velocity = momentum * velocity + 2 * rows.transpose(1, 2) @ (rows @ theta - targets) / size
        theta = theta - rate * velocity
    mean_gap = float((x @ (theta - exact)).square().mean())
    descent = ExpectedDescent(eigenvalues, vectors.T @ -exact, 0.05, momentum, schedule, mse / size)
    expected = descent.gap_after(steps)
    assert expected == pytest.approx(mean_gap, rel=0.35)


def test_steps_to_gap_are_minimal() -> None:
    x, _, exact = small_problem(100)
    eigenvalues, vectors = torch.linalg.eigh(2 * x.T @ x / len(x))
    descent = ExpectedDescent(eigenvalues, vectors.T @ -exact, 0.05, schedule="cosine", noise=0.01)
    steps = descent.steps_to(1e-3, most=1_000_000)
    assert descent.gap_after(steps) <= 1e-3 < descent.gap_after(steps - 1)
    assert descent.steps_to(1e-30, most=1000) == 1000


def far_from_least_squares(folder: Path, x: np.ndarray, y: np.ndarray, names: list[str]) -> float:
    """Returns the run's final gap to NumPy's least squares, as a share of the variance explained."""
    report = json.loads((folder / RUN / "report.json").read_text())
    W = np.array([report["coefficients"][f"W/{name}"] for name in names])
    mse = np.mean((x @ W + report["coefficients"]["b"] - y) ** 2)
    z = (x - x.mean(axis=0)) / x.std(axis=0)  # without this, NumPy drops the smallest columns
    best = np.mean((z @ np.linalg.lstsq(z, y - y.mean(), rcond=1e-13)[0] - (y - y.mean())) ** 2)
    share = (mse - best) / (np.var(y) - best)
    assert report["gap_of_variance_explained"] == pytest.approx(share, rel=1e-3, abs=1e-9)
    return float(share)


def farthest(folder: Path) -> float:
    """Returns the worst coefficient's distance from the exact one, in standard errors."""
    report = json.loads((folder / RUN / "report.json").read_text())
    return float(max(value for value in report["distance_in_standard_errors"].values() if value is not None))


def write(path: Path, x: np.ndarray, y: np.ndarray) -> list[str]:
    """Writes a CSV table, and returns the names of its features."""
    names = [f"x{i}" for i in range(x.shape[1])]
    np.savetxt(path, np.column_stack([x, y]), delimiter=",", header=",".join([*names, "y"]), comments="", fmt="%.9g")
    return names


def test_defaults_fit_a_table_well(tmp_path: Path) -> None:
    result = linreg("fit", *TABLE, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    table = np.loadtxt(DIABETES, delimiter=",", skiprows=1)
    names = DIABETES.read_text().splitlines()[0].split(",")[:10]
    assert far_from_least_squares(tmp_path, table[:, :10], table[:, 10], names) < 1e-3
    config = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())
    length = config["trainer"]["max_epochs"]
    assert (
        f"length    {length} epochs, so that coefficients end within 0.3 standard errors of their exact values"
        in result.stdout
    )
    assert farthest(tmp_path) <= 0.3
    assert f"predict --ckpt_path lightning_logs/version_0/checkpoints/step={length}.ckpt" in result.stdout
    assert len([line for line in result.stdout.splitlines() if line.startswith("epoch")]) >= length


@pytest.mark.parametrize("kind", ["strong", "weak", "units apart", "dependent", "nearly dependent"])
def test_defaults_fit_large_tables_well(kind: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal((20_000, 6))
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    noise = {"strong": 0.1, "weak": 30}.get(kind, 3)
    if kind == "units apart":
        x = (x + np.arange(-60, 60, 20)) * 10.0 ** np.arange(-6, 6, 2)
    if kind == "dependent":
        x = x.round(4)  # so that the sums are exact in nine digits
    if "dependent" in kind:
        x[:, 5] = x[:, 0] + x[:, 3]
    y = x @ (generator.standard_normal(6) / x.std(axis=0)) + noise * generator.standard_normal(20_000)
    names = write(tmp_path / "t.csv", x, y)
    *x_written, y = np.loadtxt(tmp_path / "t.csv", delimiter=",", skiprows=1, unpack=True)  # rounded to 9 digits
    x = np.column_stack(x_written)
    result = linreg("fit", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert far_from_least_squares(tmp_path, x, y, names) < 1e-3
    assert farthest(tmp_path) <= 0.3
    assert "fitting 20000 rows, 6 features, 1 target" in result.stdout
    assert ", 5 an epoch" in result.stdout, "batches of 4000 rows"


def test_run_on_constant_target_ends(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    write(tmp_path / "t.csv", generator.standard_normal((6000, 3)), np.full(6000, 7.0))
    result = linreg("fit", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert report["coefficients"]["b"] == pytest.approx(7, abs=0.01)


def test_run_on_schedule_keeps_its_length(tmp_path: Path) -> None:
    job = (*TABLE, "--trainer.max_epochs", "30", "--checkpoint_every_n_epochs", "10")
    assert linreg("fit", *job, cwd=tmp_path).code == 0
    longer = ("fit", "--resume", str(RUN), "--trainer.max_epochs", "40")
    refused = linreg(*longer, cwd=tmp_path)
    assert refused.code == 2
    assert "planned for 30 steps, and now there are 40" in refused.stderr
    allowed = linreg(*longer, "--allow_changed_settings", "true", cwd=tmp_path)
    assert (allowed.code, allowed.stderr) == (0, "")
    other = ("--model.schedule", "constant", "--model.tail_averaging", "0.5", "--trainer.max_epochs", "60")
    changed = ("fit", "--resume", str(RUN), *other, "--allow_changed_settings", "true")
    assert linreg(*changed, cwd=tmp_path).code == 0


def test_scheduled_learning_rate_is_drawn(tmp_path: Path) -> None:
    from tests.runs import curves

    job = (*TABLE, "--model.learning_rate", "0.2", "--trainer.max_epochs", "40", "--trainer.log_every_n_steps", "10")
    assert linreg("fit", *job, cwd=tmp_path).code == 0
    drawn = dict(curves(tmp_path / RUN)["train/learning_rate"])
    expected = 0.1 * (1 + np.cos(np.pi * np.array([9, 19, 29, 39]) / 40))  # of the step that ends at the point
    assert [drawn[step] for step in (10, 20, 30, 40)] == pytest.approx(list(expected), rel=1e-6)


def test_longer_run_restarts_its_average(tmp_path: Path) -> None:
    """A run of 30 steps averages its last half. Thirty more average only their own steps."""
    data = TableDataModule(str(DIABETES), "progression")
    settings: dict[str, Any] = {"num_features": 10, "learning_rate": 0.1}
    shorter = plain_trainer(30)
    shorter.fit(LinearRegression.tutorial(**settings, tail_averaging=0.5), data)
    shorter.save_checkpoint(tmp_path / "short.ckpt")
    trajectory, plain, averaged = (
        Trajectory(),
        LinearRegression.tutorial(**settings),
        LinearRegression.tutorial(**settings, tail_averaging=0.5),
    )
    for model in (plain, averaged):
        plain_trainer(60, trajectory).fit(model, data, ckpt_path=tmp_path / "short.ckpt", weights_only=True)
    assert len(trajectory.W) == 60
    torch.testing.assert_close(averaged.W.detach(), torch.stack(trajectory.W[:30]).mean(dim=0), rtol=1e-5, atol=1e-4)


def test_resume_on_other_data_keeps_units(tmp_path: Path) -> None:
    """The other table has features ten times as large, which the run standardizes like the first one's."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((300, 2))
    for name, size in (("one", 1), ("two", 10)):
        lines = [f"{size * a},{size * b},{a + b + 0.1 * generator.standard_normal()}" for a, b in x.tolist()]
        (tmp_path / f"{name}.csv").write_text("a,b,y\n" + "\n".join(lines))
    job = ("--data", "TableDataModule", "--data.path", "one.csv", "--data.target", "y")
    assert linreg("fit", *job, "--trainer.max_epochs", "20", cwd=tmp_path).code == 0
    more = ("--data.path", "two.csv", "--allow_changed_settings", "true", "--trainer.max_epochs", "60")
    result = linreg("fit", "--resume", str(RUN), *more, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert farthest(tmp_path) <= 0.3, "the steps are preconditioned for the other table"
    buffers = newest(tmp_path)["state_dict"]
    np.testing.assert_allclose(buffers["x_scale"].cpu(), x.std(axis=0), rtol=1e-12)
    z = np.column_stack([np.ones(300), (10 * x - x.mean(axis=0)) / x.std(axis=0)])
    C = buffers["preconditioner"].cpu().numpy()
    np.testing.assert_allclose(C.T @ (2 * z.T @ z / 300) @ C, np.eye(3), rtol=0, atol=1e-6)


def test_run_with_nothing_to_learn_is_short(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,5\n")
    result = linreg("fit", "--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", cwd=tmp_path)
    assert "length    1 epoch, " in result.stdout
    assert (result.code, result.stderr) == (0, "")


@pytest.mark.parametrize("rate", ["1.5", "2.1", "5", "1e9"])
def test_length_promises_nothing_above_the_stable_rates(rate: str, tmp_path: Path) -> None:
    """Preconditioned steps of all rows are stable up to a learning rate of 2."""
    generator = np.random.default_rng(0)
    rows = [f"{x},{3 * x + noise}" for x, noise in generator.standard_normal((60, 2))]
    (tmp_path / "t.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    data = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y")
    result = linreg("fit", *data, "--model.learning_rate", rate, cwd=tmp_path)
    assert ("so that coefficients end within 0.3" in result.stdout) == (float(rate) < 2)
    assert (", a guess, as the learning rate is above" in result.stdout) == (float(rate) > 2)
    assert float(rate) > 2 or farthest(tmp_path) <= 0.3
