"""What a run on a GPU relies on, without a GPU: no step reads a number from the device, and no operation mixes devices.

The device here is torch's "meta", whose tensors have no values: reading one raises an error.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from linreg_pl import LinearRegression, SyntheticDataModule, TableDataModule
from linreg_pl.data.table import memory
from linreg_pl.training import evaluation, execute
from linreg_pl.training.executions import Executions, sent
from linreg_pl.training.late_check import LateCheck
from linreg_pl.training.tail_average import TailAverage
from tests.commands import linreg
from tests.runs import DIABETES, JOBS, RUN, assert_same_end, curves, equal
from tests.sabotage import patch
from tests.trainers import plain_trainer

STEPS: dict[str, dict[str, Any]] = {
    "plain": {"precondition": False, "standardize": False, "schedule": "constant"},
    "preconditioned, with momentum": {"momentum": 0.5, "l2": 0.1},
    "an average": {"tail_averaging": 0.9, "fold_bias": True},
    "l1, with momentum": {"l1": 0.1, "momentum": 0.5, "fit_intercept": False},
}


class OneDevice(TorchDispatchMode):
    """Refuses operations that mix devices, as those of CUDA do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = {each.device for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)}
        assert len(devices) <= 1, f"{func} of tensors on {devices}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("settings", STEPS.values(), ids=STEPS)
def test_steps_read_no_number(settings: dict[str, Any], weighted: bool) -> None:
    with torch.device("meta"):
        model = LinearRegression(3, 2, learning_rate=0.1, **settings)
        optimizer = torch.optim.SGD([model.W, model.b], lr=0.1, momentum=model.momentum)
        model._trainer = SimpleNamespace(global_step=5, optimizers=[optimizer])  # type: ignore[assignment]
        model._total_steps = 100
        model._tail = TailAverage(0.99, 100) if model.tail_averaging else None
        model.late_check = LateCheck([model.W, model.b], optimizer)
        batch = torch.empty(8, 3), torch.empty(8, 2), *([torch.empty(8, 1)] if weighted else [])
        with torch.no_grad(), OneDevice():
            for _ in range(3):
                model.descend(batch, optimizer.step, [])
            losses = model.newest_losses()
        assert model.late_check.num_steps == 3
        assert {value.device.type for value in losses.values()} == {"meta"}


@pytest.mark.parametrize("standardize", [False, True])
def test_evaluation_reads_no_number(standardize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of all batches stay on the device until they are printed; only the check of a batch reads."""
    monkeypatch.setattr(evaluation, "checked_batch", lambda batch, *sizes: batch)
    with torch.device("meta"):
        model = LinearRegression(3, 2, standardize=standardize)
        batch = torch.empty(8, 3), torch.empty(8, 2)
        with OneDevice():
            sums = model.evaluated(batch).merge(model.evaluated(batch))
    assert (sums.squares.device.type, sums.squares.dtype) == ("meta", torch.float64)


def test_same_start_on_all_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is drawn on the CPU, also where another device is the default: its generator is there."""
    real, drawn_on = torch.nn.init.trunc_normal_, []

    def trunc_normal_(tensor: torch.Tensor, **settings: Any) -> torch.Tensor:
        drawn_on.append(tensor.device.type)
        return real(tensor, **settings)

    monkeypatch.setattr(torch.nn.init, "trunc_normal_", trunc_normal_)
    with torch.device("meta"):
        model = LinearRegression(3)
    assert drawn_on == ["cpu", "cpu"]
    assert model.W.device.type == model.b.device.type == "meta"


@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_in_memory_are_gathered_on_the_device(shuffle: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If they have room there: the same rows, with a CPU that plays the device."""
    columns = {name: np.random.default_rng(0).standard_normal(50) for name in ("a", "b", "y")}
    data = TableDataModule(
        pd.DataFrame({**columns, "w": columns["a"] ** 2}), "y", weight="w", batch_size=20, shuffle=shuffle
    )
    data.setup("fit")
    data.prepare(None, torch.float32)
    numbers = [(epoch, index) for epoch in range(2) for index in range(2)]
    near = [data.batch(*number) for number in numbers]
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 50 * 4 * 4)
    data.hold_on(torch.device("cpu"))
    assert all(map(equal, [data.batch(*number) for number in numbers], near))
    with OneDevice():
        data.hold_on(torch.device("meta"))
        assert {part.device.type for number in numbers for part in data.batch(*number)} == {"meta"}
    monkeypatch.setattr(memory, "free_bytes", lambda device: 2 * 50 * 4 * 4 - 1)
    data.hold_on(torch.device("meta"))
    assert {part.device.type for number in numbers for part in data.batch(*number)} == {"cpu"}


def test_other_rows_are_sent_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[torch.Tensor] = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    there = sent(torch.ones(2), torch.device("meta"), torch.float64)
    assert (there.device.type, there.dtype, len(pinned)) == ("meta", torch.float64, 1)
    sent(there, torch.device("meta"), torch.float64)
    assert len(pinned) == 1


class Reads(TorchDispatchMode):
    """Counts the numbers that Python reads from tensors."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Noted(LinearRegression):
    """Counts the numbers that are read within each training_step."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.reads: list[int] = []

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        with Reads() as reads:
            result = super().training_step(batch, batch_idx)
        self.reads.append(reads.count)
        return result


def trained() -> Noted:
    """Returns a model after a run of 15 executions of 4 steps; the curves have a point at step 50."""
    model = Noted(learning_rate=0.01, l1=0.1, momentum=0.5, tail_averaging=0.9)
    data, trainer = SyntheticDataModule(num_rows=40, batch_size=10), plain_trainer(15, limit_val_batches=0)
    model.measures_gap = False
    data.group_steps(Executions())
    trainer.fit(model, data)
    return model


def test_one_look_an_execution(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps have the same bits, whether each is looked at or many together; the curves look at their point."""
    monkeypatch.setattr(Executions, "max_seconds", math.inf)
    near, looks, real = trained(), [], LateCheck.largest

    def largest(check: LateCheck) -> list[float]:
        looks.append(check.num_steps)
        return real(check)

    monkeypatch.setattr(LateCheck, "largest", largest)
    monkeypatch.setattr(execute, "looks_late", lambda module: True)
    far = trained()
    of_point = near.reads[12] - 3 * 4
    assert near.reads == [3 * 4] * 12 + [3 * 4 + of_point] + [3 * 4] * 2
    assert far.reads == [0] * 12 + [of_point] + [0] * 2
    assert looks == [4] * 12 + [2, 2] + [4] * 2
    assert torch.equal(near.W, far.W)
    assert torch.equal(near.b, far.b)


@dataclass
class LookLate:
    """Takes steps as on a device."""

    def __call__(self) -> None:
        patch(execute, "looks_late", lambda module: True)


@pytest.mark.parametrize(("job", "code"), [("scheduled", 0), ("synthetic", 3)])
def test_run_is_that_of_the_cpu(job: str, code: int, tmp_path: Path) -> None:
    """A run that diverges is undone to its step, and reported there."""
    flags, reports, drawn = (*JOBS[job], *(("--model.learning_rate", "0.01") if code else ())), [], []
    for name, before in (("near", None), ("far", LookLate())):
        (folder := tmp_path / name).mkdir()
        result = linreg("fit", *flags, cwd=folder, before=before)
        assert result.code == code
        reports.append((result.stderr, (folder / RUN / "report.json").read_bytes()))
        drawn.append(curves(folder / RUN))
    assert reports[0] == reports[1]
    assert drawn[0] == drawn[1]
    if not code:
        assert_same_end(tmp_path / "near", tmp_path / "far")


@dataclass
class OnAppleGPU:
    """Makes Lightning believe that it trains on Apple's GPU."""

    def __call__(self) -> None:
        patch(CPUAccelerator, "setup_device", lambda *args: None)
        patch(SingleDeviceStrategy, "root_device", torch.device("mps"))


def test_float64_is_refused_on_apples_gpu(tmp_path: Path) -> None:
    flags = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
    result = linreg("fit", *flags, cwd=tmp_path, before=OnAppleGPU())
    words = "Apple's GPU has no float64, which this model needs: give --trainer.accelerator cpu"
    assert (result.code, result.stderr) == (2, f"linreg: {words}\n")
