"""A subclass that overrides the loss: its gradient, its minimum, and what is not drawn."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import huber
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from linreg_pl import LinearRegression
from tests.trainers import plain_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*smaller than the logging")


class Huber(LinearRegression):
    """Huber's loss, which is linear from a residual of 0.5 on."""

    def loss(self, residuals: Tensor) -> Tensor:
        return torch.nn.functional.huber_loss(residuals, torch.zeros_like(residuals), reduction="none", delta=0.5)


class Square(LinearRegression):
    """The usual loss, spelled out."""

    def loss(self, residuals: Tensor) -> Tensor:
        return residuals**2


class Mean(LinearRegression):
    """A loss that is one number for a batch, which is refused."""

    def loss(self, residuals: Tensor) -> Tensor:
        return residuals.square().mean()


def loader() -> DataLoader[tuple[Tensor, ...]]:
    """Draws rows with weights, and with noise that is far from normal; one batch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(90, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(90, 1, generator=generator, dtype=torch.float64) ** 3
    weights = 0.5 + torch.rand(90, 1, generator=generator, dtype=torch.float64)
    return DataLoader(TensorDataset(x, x @ x.new_tensor([[2.0], [-1.0]]) + 3 + noise, weights), batch_size=90)


@pytest.mark.parametrize(("l2", "fold_bias"), [(0.0, False), (0.1, False), (0.1, True)])
def test_minimum_of_the_loss(l2: float, fold_bias: bool) -> None:
    x, y, weights = (tensor.numpy() for tensor in next(iter(loader())))
    weights = weights / weights.mean()

    def cost(theta: np.ndarray) -> float:
        residuals = x @ theta[1:] + theta[0] - y[:, 0]
        penalized = theta if fold_bias else theta[1:]
        return float(np.mean(weights[:, 0] * huber(0.5, residuals)) + l2 * np.sum(penalized**2))

    model = Huber(2, l2=l2, fold_bias=fold_bias, standardize=False, learning_rate=1).double()
    trainer = plain_trainer(600)
    trainer.fit(model, loader())
    W, b = model.coefficients()
    best = minimize(cost, np.zeros(3), options={"gtol": 1e-9})
    np.testing.assert_allclose(np.append(b, W), best.x, atol=1e-6)
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(best.fun, rel=1e-9)


def test_square_spelled_out() -> None:
    usual, spelled_out = LinearRegression(2, l2=0.1), Square(2, l2=0.1)
    for model in (usual, spelled_out):
        plain_trainer(5).fit(model, loader())
    torch.testing.assert_close(tuple(usual.coefficients()), tuple(spelled_out.coefficients()), rtol=1e-6, atol=1e-6)


def test_no_gap_to_another_minimum() -> None:
    for model in (Huber(2), LinearRegression(2)):
        trainer, is_usual = plain_trainer(2), type(model) is LinearRegression
        trainer.fit(model, loader(), loader())
        drawn = trainer.callback_metrics.keys()
        assert ({"gap/objective", "gap/grad_norm", "val/loss"} <= drawn) == is_usual
        assert is_usual or not any(name.startswith("gap/") or name == "val/loss" for name in drawn)
        assert {"train/loss", "train/mse", "val/mse", "val/r2", "params/b"} <= drawn


def test_loss_of_each_residual() -> None:
    with pytest.raises(ValueError, match=r'loss returns shape \(\) for residuals \(90, 1\): .* reduction="none"'):
        plain_trainer(2).fit(Mean(2), loader())
