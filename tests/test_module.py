"""The module without the command: its start, its checks, and training under a plain Trainer."""

import math
from dataclasses import asdict, fields
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.training.hyper_parameters import HyperParameters
from tests.problems import problem
from tests.runs import DIABETES
from tests.trainers import Trajectory, plain_trainer


def test_start_is_a_truncated_normal() -> None:
    """Truncation at twice the standard deviation leaves 0.8796 of it (scipy.stats.truncnorm(-2, 2).std())."""
    W = LinearRegression.tutorial(num_features=100_000, init_std=0.01).W.detach()
    assert W.abs().max() <= 0.02
    assert W.abs().max() > 0.0199, "100 000 draws come near the bound"
    assert W.mean().item() == pytest.approx(0, abs=5 * 0.0088 / math.sqrt(100_000))
    assert W.std().item() == pytest.approx(0.008796, rel=0.02)


class Doubled(LinearRegression):
    """Has an argument of its own, and changes another before it gives it on."""

    def __init__(self, num_features: int, scale: float = 2.0, l2: float = 0.1) -> None:
        super().__init__(num_features, l2=scale * l2)


def test_subclass_is_built_again_from_its_own_arguments() -> None:
    model = Doubled(3, l2=0.25)
    assert model.settings.l2 == 0.5
    assert dict(model.hparams) == asdict(model.settings) | {"scale": 2.0, "l2": 0.25}
    again = Doubled(**{name: model.hparams[name] for name in signature(Doubled).parameters})
    assert again.settings == model.settings
    assert model.hparams == model.hparams_initial


def test_start_is_a_function_of_the_seed() -> None:
    torch.manual_seed(1)
    first = LinearRegression.tutorial(num_features=3, init_seed=5)
    torch.manual_seed(2)  # the global generator must not matter
    again, other = (
        LinearRegression.tutorial(num_features=3, init_seed=5),
        LinearRegression.tutorial(num_features=3, init_seed=6),
    )
    assert torch.equal(first.W, again.W)
    assert torch.equal(first.b, again.b)
    assert not torch.equal(first.W, other.W)
    assert first.b.item() not in first.W.flatten().tolist(), "b has its own draw"


def test_forward_is_differentiable() -> None:
    module = LinearRegression.tutorial(num_features=2)
    module(torch.ones(4, 2)).sum().backward()
    assert module.W.grad is not None
    assert module.W.grad.flatten().tolist() == [4.0, 4.0]


def test_plain_trainer_and_dataloader() -> None:
    """Compares training on `(x, y)` from a DataLoader with gradient descent written out in float64."""
    x, y, *_ = problem(40, 3, 2, 0.0, seed=1)
    module = LinearRegression.tutorial(num_features=3, num_targets=2, learning_rate=0.05, l2=0.1)
    W, b = module.W.detach().double(), module.b.detach().double()
    seen = Trajectory()
    plain_trainer(3, seen).fit(module, DataLoader(TensorDataset(x.float(), y.float()), batch_size=10))
    assert len(seen.cost) == 12
    for step in range(12):
        rows = slice(10 * (step % 4), 10 * (step % 4) + 10)
        residual = x[rows] @ W + b - y[rows]
        assert seen.cost[step] == pytest.approx((residual.square().mean() + 0.1 * W.square().sum()).item(), rel=1e-5)
        W, b = W - 0.05 * (x[rows].T @ residual / 10 + 0.2 * W), b - 0.05 * residual.sum(0) / 10
        torch.testing.assert_close(seen.W[step].double(), W, rtol=1e-5, atol=1e-6)  # float32 rounding
        torch.testing.assert_close(seen.b[step].double(), b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loaded", [False, True], ids=["trained", "loaded"])
def test_second_fit_continues_the_first(loaded: bool) -> None:
    """Compares with a module that learns nothing from the data, and whose W and b are copied by hand."""
    data = TableDataModule(str(DIABETES), "progression", batch_size=100, shuffle=False)
    settings: dict[str, Any] = {"num_features": 10, "learning_rate": 0.1, "momentum": 0.5, "tail_averaging": 0.5}
    first = LinearRegression.tutorial(start_at_mean=True, **settings)
    plain_trainer(3).fit(first, data)
    by_hand = LinearRegression.tutorial(**settings)
    by_hand.W.data.copy_(first.W)
    by_hand.b.data.copy_(first.b)
    again = first
    if loaded:
        again = LinearRegression.tutorial(start_at_mean=True, **settings)
        again.load_state_dict(first.state_dict())
    for model in (by_hand, again):
        plain_trainer(2).fit(model, data)
    assert torch.equal(again.W, by_hand.W)
    assert torch.equal(again.b, by_hand.b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"l2": -1e-3}, "l2 is -0.001"),
        ({"l2": math.nan}, "l2 is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"tail_averaging": -0.1}, "tail_averaging is -0.1"),
        ({"init_std": -1.0}, "init_std is -1.0"),
        ({"init_seed": -1}, "init_seed is -1"),
        ({"num_features": 0}, "num_features is 0"),
        ({"num_targets": 0}, "num_targets is 0"),
    ],
)
def test_unusable_values_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearRegression.tutorial(**arguments)  # type: ignore[arg-type]


def test_hyper_parameters_are_the_arguments() -> None:
    """Checkpoints hold the same names and values, as plain types."""
    names = [field.name for field in fields(HyperParameters)]
    assert names == list(signature(LinearRegression).parameters)
    assert signature(HyperParameters).parameters == signature(LinearRegression).parameters, "defaults are theirs too"
    model = LinearRegression.tutorial(
        num_features=np.int64(3),  # type: ignore[arg-type]
        learning_rate=np.float32(0.5),
        init_seed=np.int32(7),
        fit_intercept=False,
    )
    assert dict(model.hparams) == asdict(model.settings)
    assert [type(value) for value in model.hparams_initial.values()] == [
        *(int, int, float, float, float, float, str, float, bool, bool, bool, bool, bool, float, int)
    ]
    assert (model.settings.num_features, model.settings.learning_rate, model.settings.init_seed) == (3, 0.5, 7)


def test_whole_numbers_keep_the_fractions_of_W() -> None:
    module = LinearRegression.tutorial(init_std=1)
    x = torch.tensor([[1], [2]])
    torch.testing.assert_close(module(x), x * module.W + module.b)


def test_wide_models_have_no_preconditioner() -> None:
    """Beyond 2048 coefficients the matrix would be larger than all else in a checkpoint."""
    for num_features, is_preconditioned in ((2047, True), (2048, False)):
        module = LinearRegression(num_features)
        assert module.precondition == is_preconditioned == ("preconditioner" in module.state_dict())
