"""Compares the forecasts made before a run with the run: a real Trainer, in float32."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.core.scaling import users_units
from linreg_pl.errors import Diverged
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.posed import posed_problem
from linreg_pl.training.problem import Problem
from tests.problems import problem
from tests.trainers import plain_trainer


def data() -> SyntheticDataModule:
    """Returns three fixed batches. Without noise they have one solution, so that a constant rate converges to it."""
    return SyntheticDataModule(num_rows=15, batch_size=5, noise_std=0)


def fitted(epochs: int, **settings: Any) -> tuple[LinearRegression, Problem]:
    """Returns a module after some epochs, and its problem."""
    module, rows = LinearRegression.tutorial(init_std=1, **settings), data()
    if epochs:
        plain_trainer(epochs).fit(module, datamodule=rows)
    else:
        plain_trainer(0).fit(module, datamodule=rows)
    return module, module.problem(rows)


def errors(module: LinearRegression, known: Problem) -> torch.Tensor:
    """Returns θ - θ* (2, 1), in the units in which W and b are trained."""
    theta = torch.cat([module.b.detach().unsqueeze(0), module.W.detach()]).double()
    centered = module.scaling.inverse @ torch.cat([known.optimum.b.unsqueeze(0), known.optimum.W])
    centered[0] -= module.scaling.target_means
    return theta - centered


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("standardize", [False, True])
def test_run_converges_as_forecast(standardize: bool, momentum: float) -> None:
    settings = {"learning_rate": "auto", "momentum": momentum, "standardize": standardize, "l2": 0.0}
    module, known = fitted(0, **settings)
    start = errors(module, known)
    torch.testing.assert_close(known.errors(module.W, module.b), start, rtol=1e-12, atol=1e-12)
    epochs = known.forecast(module.learning_rate, momentum).epochs_until(start)
    last = math.ceil(epochs.max().item())
    module, _ = fitted(last, **settings)
    # Beside the hundredth that the forecast allows, float32 leaves a hundred-thousandth of the error.
    assert (errors(module, known).abs() <= (0.01 + 1e-5) * start.abs()).all()


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_run_diverges_above_largest_stable_rate(momentum: float) -> None:
    _, known = fitted(0, momentum=momentum, learning_rate=1e-6)
    bound = known.largest_stable_learning_rate(momentum)
    assert bound == known.stable_learning_rates(momentum)["cycle"]
    with pytest.raises(Diverged, match="diverged at step"):
        fitted(1500, momentum=momentum, learning_rate=1.05 * bound)
    assert known.forecast(1.05 * bound, momentum).halving_epochs.max() == math.inf
    module, _ = fitted(300, momentum=momentum, learning_rate=0.95 * bound)
    assert errors(module, known).abs().max() < 2, "it started within 2 of the solution, 3.657"


def test_condition_number_of_the_hessian() -> None:
    _, known = fitted(0, learning_rate=1e-6, l2=0.0)
    x = torch.arange(15, dtype=torch.float64)
    hessian = 2 * torch.tensor([[1, x.mean()], [x.mean(), x.square().mean()]], dtype=torch.float64)
    assert known.condition_number == pytest.approx(torch.linalg.cond(hessian).item(), rel=1e-10)
    torch.testing.assert_close(known.eigenvalues, torch.linalg.eigvalsh(hessian).flip(0), rtol=1e-10, atol=0)


def test_stable_rate_accounts_for_rare_rows(tmp_path: Path) -> None:
    """One row of two thousand has nearly all of the curvature, and most batches do not contain it."""
    values = [1e4 if row == 1234 else row % 7 for row in range(2000)]
    (tmp_path / "table.csv").write_text("x,y\n" + "".join(f"{value},1\n" for value in values))
    table = TableDataModule(str(tmp_path / "table.csv"), "y", batch_size=20)
    table.setup("fit")
    known = LinearRegression.tutorial(l2=0.0).problem(table)
    rates = known.stable_learning_rates()
    steepest = 2 * sum(value**2 for value in values) / 2000  # and a little more for the intercept
    assert rates["full_batch"] == pytest.approx(2 / steepest, rel=1e-3)
    assert rates["worst_batch"] > 100 * rates["full_batch"]
    rarest = 2 * 1e8 / 20  # curvature of the one batch in a hundred that contains the row
    assert known.largest_stable_learning_rate() == pytest.approx(2 / rarest, rel=0.02)
    assert "may diverge" in known.instability(0.99 * rates["full_batch"])
    assert "will diverge" in known.instability(1.01 * rates["full_batch"])


def test_run_may_converge_above_worst_batch(tmp_path: Path) -> None:
    """Ten batches are drawn anew from a hundred normal rows: one may be steeper than all rows together are."""
    x, y, *_ = problem(100, 3, 1, 0.0, seed=0)
    rows = "".join(",".join(map(str, row)) + "\n" for row in torch.cat([x, y], dim=1).tolist())
    (tmp_path / "table.csv").write_text("a,b,c,y\n" + rows)
    table = TableDataModule(str(tmp_path / "table.csv"), "y", batch_size=10)
    table.setup("fit")
    rates = LinearRegression.tutorial(num_features=3).problem(table).stable_learning_rates()
    between = (rates["worst_batch"] + min(rates["full_batch"], 1.1 * rates["worst_batch"])) / 2
    module = LinearRegression.tutorial(num_features=3, learning_rate=between)
    assert "may diverge" in module.problem(table).instability(between)
    plain_trainer(100).fit(module, datamodule=table)
    assert module.problem(table).optimum.gap(*module.coefficients()) < 10, "noisy, but bounded"


def test_too_many_batches_are_sampled() -> None:
    rows = data()
    rows.setup("fit")
    known = posed_problem(
        rows, HyperParameters(precondition=False), users_units(1), num_samples=2, max_cycle_work=3 * 2**3 - 1
    )
    rates = known.stable_learning_rates()
    assert "cycle" not in rates
    x = torch.arange(5, 10, dtype=torch.float64)  # the second of three
    hessian = 2 * torch.tensor([[1, x.mean()], [x.mean(), x.square().mean()]], dtype=torch.float64)
    assert rates["worst_batch"] == pytest.approx(2 / torch.linalg.eigvalsh(hessian)[1].item())
    assert known.largest_stable_learning_rate() == rates["full_batch"] < rates["worst_batch"]
