"""Trains on a dataset and a DataLoader of your own, and compares the result with the exact solution."""

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import linreg_pl


class Pendulum(Dataset[tuple[Tensor, Tensor]]):
    """Measurements of a pendulum: its length in metres, and the square of its period in seconds²."""

    def __init__(self, num_rows: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.length = 0.2 + 1.8 * torch.rand(num_rows, 1, generator=generator)
        noise = 0.05 * torch.randn(num_rows, 1, generator=generator)
        self.period_squared = 4 * torch.pi**2 / 9.81 * self.length + noise

    def __len__(self) -> int:
        return len(self.length)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.length[row], self.period_squared[row]


rows = Pendulum(500)
model = linreg_pl.LinearRegression(num_features=1)
trainer = lightning.Trainer(max_epochs=30, logger=False, enable_checkpointing=False, enable_progress_bar=False)
trainer.fit(model, DataLoader(rows, batch_size=50, shuffle=True))

exact = linreg_pl.solve(rows.length, rows.period_squared)
low, high = exact.intervals(0.95)["x0"]
print(f"slope     trained {model.coefficients()['x0']:.5f}  exact {exact.coefficients['x0']:.5f}")
print(f"gravity   {4 * torch.pi**2 / exact.coefficients['x0']:.3f} m/s²")
print(f"95%       {4 * torch.pi**2 / high:.3f} … {4 * torch.pi**2 / low:.3f} m/s²")
