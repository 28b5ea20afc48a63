"""Compares every step of two recorded runs of the tutorial's model with TensorFlow, through a real Trainer.

TensorFlow 2.21 recorded `golden/*.npz` (graph mode, float32, CPU). The deviations of this module, on the machine where
it was written, and of a bare float32 loop with autograd:

               W, relative to 3.657     b, absolute     cost, relative
    seed                3.3e-8       0 (every bit)         1.1e-6
    penalised           8.1e-9              7.5e-9         1.4e-7
    bare loop             4e-8               8e-9              2e-6
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from linreg_pl import LinearRegression
from tests.trainers import Trajectory, plain_trainer

GOLDEN = Path(__file__).parent / "golden"


class GoldenRows(IterableDataset[tuple[Tensor, Tensor]]):
    """The batches `(x, y)` of the recorded run: one noise stream over all epochs, as golden's `meta` describes."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta
        self.noise = np.random.RandomState(meta["noise_seed"])

    def __len__(self) -> int:
        steps: int = self.meta["data_length"] // self.meta["batch_size"]
        return steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        num_rows, batch_size = self.meta["data_length"], self.meta["batch_size"]
        x = np.arange(num_rows, dtype=np.float64)
        y = self.meta["slope"] * x + self.meta["noise_std"] * self.noise.randn(num_rows)
        columns = [torch.from_numpy(column.astype(np.float32)).unsqueeze(1) for column in (x, y)]
        for index in range(len(self)):
            rows = slice(index * batch_size, (index + 1) * batch_size)
            yield columns[0][rows], columns[1][rows]


@pytest.mark.parametrize("name", ["seed", "penalised"])
def test_every_step_matches_tensorflow(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(golden["meta"]))
    module = LinearRegression.tutorial(learning_rate=meta["learning_rate"], l2=meta["reg"])
    with torch.no_grad():
        module.W.fill_(meta["W0"])
        module.b.fill_(meta["b0"])

    ours = Trajectory()
    plain_trainer(meta["num_epochs"], ours).fit(module, DataLoader(GoldenRows(meta), batch_size=None))

    W, b, cost = torch.stack(ours.W).flatten().numpy(), torch.stack(ours.b).flatten().numpy(), np.array(ours.cost)
    assert len(cost) == len(golden["cost"]) == {"seed": 4000, "penalised": 200}[name]
    error_W = np.abs(W - golden["W"]).max() / meta["slope"]
    error_b = np.abs(b - golden["b"]).max()
    error_cost = np.abs(cost / golden["cost"] - 1).max()
    print(f"{name}: W {error_W:.1e}, b {error_b:.1e}, cost {error_cost:.1e}")
    assert error_W < 1e-6
    assert error_b < 1e-7
    assert error_cost < 1e-4
