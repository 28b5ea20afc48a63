"""Overrides the loss: Huber's grows only linearly with large residuals, so outliers hardly pull at the coefficients.

The exact solution is that of least squares, so a run with another loss has no gap. Both solutions are printed.
"""

import lightning
import torch
from torch import Tensor

import linreg_pl


class HuberRegression(linreg_pl.LinearRegression):
    """Linear regression that minimises Huber's loss of the residuals."""

    delta = 0.3  # a larger residual counts linearly, in the target's units

    def loss(self, residuals: Tensor) -> Tensor:
        """Returns the loss of each residual, (N, 1)."""
        zeros = torch.zeros_like(residuals)
        return torch.nn.functional.huber_loss(residuals, zeros, reduction="none", delta=self.delta)


generator = torch.Generator().manual_seed(0)
x = torch.rand(400, 2, generator=generator)
y = 3 * x[:, 0] - 2 * x[:, 1] + 1 + 0.1 * torch.randn(400, generator=generator)
y[::10] += 20 * x[::10, 0]  # a tenth of the rows is wrong

data = linreg_pl.ArrayDataModule(x, y, batch_size=100)
model = HuberRegression(data.num_features, learning_rate=1)  # Newton's step for squares, which curve more
trainer = lightning.Trainer(max_epochs=100, logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(model, data)

exact, huber = linreg_pl.solve(x, y).coefficients, model.coefficients()
print(f"{'':9}  {'Huber':>8}  {'least squares':>13}  {'true':>4}")
for name, true in {"intercept": 1, "x0": 3, "x1": -2}.items():
    print(f"{name:9}  {huber[name]:8.4f}  {exact[name]:13.4f}  {true:4}")
