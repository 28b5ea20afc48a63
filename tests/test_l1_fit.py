"""Training with l1: proximal steps, J and the gap, resuming, and what is refused."""

from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import linreg_pl
from linreg_pl.core import objective
from linreg_pl.errors import InputError
from linreg_pl.training.proximal_step import set_exact_zeros, shrink
from linreg_pl.tuning.prediction import Prediction
from tests.problems import problem

L1 = 0.4


def rows_of(num_rows: int = 60) -> tuple[Tensor, Tensor]:
    """Draws x and y with a signal in the first of 5 columns."""
    x, noise, *_ = problem(num_rows, 5, 1, 0.0, seed=3)
    return x, 2 * x[:, :1] + noise + 4


class Save(lightning.Callback):
    """Saves a checkpoint after three epochs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 2:
            trainer.save_checkpoint(self.path)


def fitted(ckpt_path: Path | None = None, *callbacks: Save, **settings: float) -> tuple[lightning.Trainer, Tensor]:
    """Trains 6 epochs under a plain trainer on a loader in float64; returns the trainer, and b over W."""
    torch.manual_seed(0)
    model = linreg_pl.LinearRegression(5, 1, l1=L1, schedule="constant", **settings)  # type: ignore[arg-type]
    trainer = lightning.Trainer(
        max_epochs=6,
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(model, DataLoader(TensorDataset(*rows_of()), batch_size=20), ckpt_path=ckpt_path, weights_only=True)
    return trainer, torch.cat([model.b.detach().unsqueeze(0), model.W.detach()])


def test_velocity_stays_finite_at_rate_zero() -> None:
    """At a learning rate of 0, as a scheduler may set, neither W nor its velocity moves, also where W is 0."""
    W = torch.tensor([[0.0], [2.0]])
    optimizer = torch.optim.SGD([W], lr=0.0, momentum=0.5)
    optimizer.state[W]["momentum_buffer"] = torch.zeros_like(W)
    shrink(W, optimizer, 0.1)
    assert W.tolist() == [[0.0], [2.0]]
    assert optimizer.state[W]["momentum_buffer"].isfinite().all()


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_descent_ends_at_the_minimum(momentum: float) -> None:
    """On all rows W ends at the exact solution, with the same zeros, and the gap at 0."""
    x, y = rows_of()
    exact = linreg_pl.solve(x.numpy(), y[:, 0].numpy(), l1=L1)
    model = linreg_pl.fit(
        x.numpy(),
        y[:, 0].numpy(),
        l1=L1,
        momentum=momentum,
        schedule="constant",
        max_epochs=250,
        trainer={"precision": "64-true"},
    )
    W, b = model.coefficients()
    optimum = exact.problem.optimum
    assert 0 < exact.num_nonzero < 5
    torch.testing.assert_close(W, optimum.W, rtol=0, atol=1e-9)
    torch.testing.assert_close(b, optimum.b, rtol=0, atol=1e-9)
    assert ((W == 0) == (optimum.W == 0)).all()
    posed = model.problem_of_run()
    assert posed.gap(posed.errors(model.W, model.b)) <= 1e-15
    assert float(posed.gradient(posed.errors(model.W, model.b)).abs().max()) <= 1e-8


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_resumed_run_has_the_same_bits(tmp_path: Path, momentum: float) -> None:
    path = tmp_path / "half.ckpt"
    _, whole = fitted(None, Save(path), momentum=momentum)
    half = torch.load(path, weights_only=True)["state_dict"]["W"]
    _, resumed = fitted(path, momentum=momentum)
    assert not torch.equal(half, whole[1:])
    assert torch.equal(resumed, whole)


def test_loss_and_gap_include_l1() -> None:
    trainer, theta = fitted()
    metrics, module = trainer.callback_metrics, trainer.lightning_module
    assert isinstance(module, linreg_pl.LinearRegression)
    x, y = rows_of()
    posed, (W, b) = module.problem_of_run(), module.coefficients()
    z = (x - module.x_mean) / module.x_scale
    cost = objective.objective(z, y - module.y_mean, theta[1:], theta[0], 0.0, l1=L1)
    assert float(metrics["gap/objective"]) == pytest.approx(float(cost) - posed.optimum.objective, rel=1e-9)
    step = module.newest_step
    assert step is not None
    assert float(step.loss) == pytest.approx(float(step.mse + L1 * step.penalized.abs().sum()))
    assert W.shape == (5, 1)
    assert b.shape == (1,)


def test_preconditioned_without_l1_only() -> None:
    model = linreg_pl.LinearRegression(5)
    assert model.l1 == 0
    assert model.precondition
    assert not linreg_pl.LinearRegression(5, l1=0.1).precondition


def test_noise_of_batches_leaves_zeros() -> None:
    """Batches keep W off 0; the last step sets to 0 what is 0 in the exact solution."""
    x, y = rows_of(400)
    arrays = x.numpy(), y[:, 0].numpy()
    exact = linreg_pl.solve(*arrays, l1=0.03).problem.optimum.W
    seen = list[Tensor]()

    class Watch(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any) -> None:
            assert isinstance(pl_module.W, Tensor)
            seen.append(pl_module.W.detach().clone())

    model = linreg_pl.fit(
        *arrays, l1=0.03, schedule="constant", batch_size=20, max_epochs=12, trainer={"callbacks": [Watch()]}
    )
    W, _ = model.coefficients()
    assert 0 < int((exact == 0).sum()) < 5
    assert not W[exact == 0].any()
    assert W[exact != 0].all()
    assert sum(bool(each[exact == 0].any()) for each in seen[-10:]) >= 8


def test_zeros_only_where_the_loss_falls() -> None:
    """A run that has its weight on the wrong one of two columns keeps it."""
    x, y = rows_of()
    x[:, 1] = 0.8 * x[:, 0] + 0.5 * x[:, 1]
    model = linreg_pl.fit(x.numpy(), y[:, 0].numpy(), l1=L1, max_epochs=1)
    posed = model.problem_of_run()
    assert posed.optimum.W[1] == 0
    for wrong, is_set in ((1.5, False), (1e-4, True)):
        W = posed.scaling.scales.unsqueeze(1) * posed.optimum.W
        W[0], W[1] = W[0] - wrong, wrong
        before = W.clone()
        set_exact_zeros(W, model.b.detach(), posed)
        assert torch.equal(W, before) != is_set
        assert is_set == (W[1] == 0)


def test_forecast_follows_full_batches() -> None:
    """The course of J on all rows is that of the run, step by step."""
    x, y = rows_of()
    start = linreg_pl.LinearRegression(5, l1=L1, schedule="constant").double()
    model = linreg_pl.fit(
        x.numpy(), y[:, 0].numpy(), l1=L1, schedule="constant", max_epochs=7, trainer={"precision": "64-true"}
    )
    posed = model.problem_of_run()
    errors = posed.errors(start.W, model.b)
    rate = model.learning_rate
    course, gaps = posed.course(errors, 7, 1, lambda _: rate)
    torch.testing.assert_close(course[1], posed.errors(model.W, model.b), rtol=1e-6, atol=1e-8)
    assert float(gaps[1]) == pytest.approx(posed.gap(posed.errors(model.W, model.b)), rel=1e-6)


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"leave out --model\.fold_bias"):
        linreg_pl.LinearRegression(2, l1=0.1, fold_bias=True)
    with pytest.raises(InputError, match="there are none: leave one of them out"):
        linreg_pl.solve([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0], l1=0.1, robust="HC1")
    data = linreg_pl.TableDataModule(pd.DataFrame({"x": [0.0, 1, 2, 4], "y": [1.0, 2, 4, 9]}), "y")
    data.setup("fit")
    with pytest.raises(InputError, match="predicted only without l1"):
        Prediction(linreg_pl.LinearRegression(1, l1=0.1), data, 10)

    class WithAdam(linreg_pl.LinearRegression):
        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters())

    trainer = lightning.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    with pytest.raises(InputError, match="configure_optimizers returned Adam"):
        trainer.fit(WithAdam(5, l1=0.1, learning_rate=0.1), DataLoader(TensorDataset(*(t.float() for t in rows_of()))))
