"""What a run is told beforehand, against the run: a real Trainer, in float32."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.errors import Diverged
from linreg_pl.training import problem as problem_file
from linreg_pl.training.problem import Problem
from tests.problems import problem
from tests.trainers import plain_trainer


def data() -> SyntheticDataModule:
    """Three batches, always the same; without noise they agree on the answer, so that a constant rate ends there."""
    return SyntheticDataModule(num_rows=15, batch_size=5, noise_std=0)


def fitted(epochs: int, **settings: Any) -> tuple[LinearRegression, Problem]:
    """A module after so many epochs, and what was to be known before the first one."""
    module, rows = LinearRegression(init_std=1, **settings), data()
    if epochs:
        plain_trainer(epochs).fit(module, datamodule=rows)
    else:
        plain_trainer(1, limit_train_batches=0).fit(module, datamodule=rows)
    return module, module.problem(rows)


def errors(module: LinearRegression, known: Problem) -> torch.Tensor:
    """θ - θ* (2, 1), of the W and b that are trained."""
    theta = torch.cat([module.b.detach().unsqueeze(0), module.W.detach()]).double()
    return theta - module.scaling.inverse @ known.optimum.theta.high


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("standardize", [False, True])
def test_a_run_arrives_when_it_is_forecast_to(standardize: bool, momentum: float) -> None:
    settings = {"learning_rate": "auto", "momentum": momentum, "standardize": standardize, "l2": 0.0}
    module, known = fitted(0, **settings)
    start = errors(module, known)
    epochs = known.forecast(module.learning_rate, momentum).epochs_until(start)
    last = math.ceil(epochs.max().item())
    module, _ = fitted(last, **settings)
    # Float32 leaves a hundred-thousandth of the error where a hundredth is asked for.
    assert (errors(module, known).abs() <= (0.01 + 1e-5) * start.abs()).all()


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_a_run_diverges_above_the_largest_stable_rate(momentum: float) -> None:
    _, known = fitted(0, momentum=momentum, learning_rate=1e-6)
    bound = known.largest_stable_learning_rate(momentum)
    assert bound == known.stable_learning_rates(momentum)["cycle"]
    with pytest.raises(Diverged, match="diverged at step"):
        fitted(1500, momentum=momentum, learning_rate=1.05 * bound)
    assert known.forecast(1.05 * bound, momentum).halving_epochs.max() == math.inf
    module, _ = fitted(300, momentum=momentum, learning_rate=0.95 * bound)
    assert errors(module, known).abs().max() < 2, "it started within 2 of the answer's 3.657"


def test_condition_number_is_that_of_the_hessian() -> None:
    _, known = fitted(0, learning_rate=1e-6, l2=0.0)
    x = torch.arange(15, dtype=torch.float64)
    hessian = 2 * torch.tensor([[1, x.mean()], [x.mean(), x.square().mean()]], dtype=torch.float64)
    assert known.condition_number == pytest.approx(torch.linalg.cond(hessian).item(), rel=1e-10)
    torch.testing.assert_close(known.eigenvalues, torch.linalg.eigvalsh(hessian).flip(0), rtol=1e-10, atol=0)


def test_batches_drawn_anew_are_trusted_no_further_than_their_rarest_row(tmp_path: Path) -> None:
    """One row of two thousand has nearly all of the curvature, and most batches don't have it."""
    values = [1e4 if row == 1234 else row % 7 for row in range(2000)]
    (tmp_path / "table.csv").write_text("x,y\n" + "".join(f"{value},1\n" for value in values))
    table = TableDataModule(str(tmp_path / "table.csv"), "y", batch_size=20)
    table.setup("fit")
    known = LinearRegression(l2=0.0).problem(table)
    rates = known.stable_learning_rates()
    steepest = 2 * sum(value**2 for value in values) / 2000  # and a little, for the intercept
    assert rates["full_batch"] == pytest.approx(2 / steepest, rel=1e-3)
    assert rates["worst_batch"] > 100 * rates["full_batch"]
    rarest = 2 * 1e8 / 20  # the curvature of the one batch in a hundred that has the row
    assert known.largest_stable_learning_rate() == pytest.approx(2 / rarest, rel=0.02)
    assert "may diverge" in known.instability(0.99 * rates["full_batch"])
    assert "will diverge" in known.instability(1.01 * rates["full_batch"])


def test_above_the_worst_batch_alone_descent_may_diverge_and_need_not(tmp_path: Path) -> None:
    """Ten batches drawn anew from a hundred normal rows: one may be steeper than all, and the others make up for it."""
    x, y, *_ = problem(100, 3, 1, 0.0, seed=0)
    rows = "".join(",".join(map(str, row)) + "\n" for row in torch.cat([x, y], dim=1).tolist())
    (tmp_path / "table.csv").write_text("a,b,c,y\n" + rows)
    table = TableDataModule(str(tmp_path / "table.csv"), "y", batch_size=10)
    table.setup("fit")
    rates = LinearRegression(num_features=3).problem(table).stable_learning_rates()
    between = (rates["worst_batch"] + min(rates["full_batch"], 1.1 * rates["worst_batch"])) / 2
    module = LinearRegression(num_features=3, learning_rate=between)
    assert "may diverge" in module.problem(table).instability(between)
    plain_trainer(100).fit(module, datamodule=table)
    assert module.problem(table).optimum.gap(*module.coefficients()) < 10, "it is noisy, and stays"


def test_of_many_batches_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem_file, "MOST_WORK", 3 * 2**3 - 1)
    monkeypatch.setattr(problem_file, "SAMPLED_BATCHES", 2)
    _, known = fitted(0, learning_rate=1e-6, l2=0.0)
    rates = known.stable_learning_rates()
    assert "cycle" not in rates
    x = torch.arange(5, 10, dtype=torch.float64)  # the second of three
    hessian = 2 * torch.tensor([[1, x.mean()], [x.mean(), x.square().mean()]], dtype=torch.float64)
    assert rates["worst_batch"] == pytest.approx(2 / torch.linalg.eigvalsh(hessian)[1].item())
    assert known.largest_stable_learning_rate() == rates["full_batch"] < rates["worst_batch"]
