"""Several steps in one `training_step` of Lightning: the same bits, and nothing is passed over."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from linreg_pl import LinearRegression, SyntheticDataModule
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints
from linreg_pl.training.executions import Executions
from tests.commands import linreg
from tests.runs import JOBS, RUN, assert_same_end, curves, equal
from tests.sabotage import SignalInPhase
from tests.test_golden import GOLDEN
from tests.test_resume import Scheduled
from tests.trainers import Trajectory, plain_trainer


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("steps", ["5", "auto"])
def test_run_is_that_of_one_step_at_a_time(job: str, steps: str, tmp_path: Path) -> None:
    """Every bit that is saved, Lightning's own counters among them; so if the run is resumed within an interval."""
    folders = {name: tmp_path / name for name in ("one", "several", "resumed")}
    for folder in folders.values():
        folder.mkdir()
    assert linreg("fit", *JOBS[job], "--steps_per_execution", "1", cwd=folders["one"]).code == 0
    several = ("fit", *JOBS[job], "--steps_per_execution", steps)
    assert linreg(*several, cwd=folders["several"]).code == 0
    killed = linreg(*several, cwd=folders["resumed"], before=SignalInPhase(signal.SIGTERM, "mid-epoch"))
    assert killed.code == 128 + signal.SIGTERM
    assert linreg("fit", "--resume", str(RUN), cwd=folders["resumed"]).code == 0
    for name in ("several", "resumed"):
        assert_same_end(folders["one"], folders[name])
    for ours, theirs in zip(checkpoints(folders["several"] / RUN), checkpoints(folders["one"] / RUN), strict=True):
        assert ours.name == theirs.name
        assert equal(*(read_checkpoint(path).contents.others["loops"] for path in (ours, theirs))), ours


def test_points_of_large_batches_are_those_of_one_step_at_a_time(tmp_path: Path) -> None:
    """A sum over so many rows takes several threads, and rounds as their number has it."""
    large = ("--data.num_rows", "120000", "--data.batch_size", "40000", "--trainer.max_epochs", "20")
    drawn = []
    for steps in ("1", "auto"):
        (folder := tmp_path / steps).mkdir()
        flags = (*large, "--model.learning_rate", "1e-11", "--trainer.log_every_n_steps", "1")
        assert linreg("fit", *flags, "--steps_per_execution", steps, cwd=folder).code == 0
        drawn.append(curves(folder / RUN))
    assert len(drawn[0]["train/loss"]) == 60
    assert drawn[0] == drawn[1]


@pytest.fixture
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, an execution ends where something is due, not after a tenth of a second."""
    monkeypatch.setattr(Executions, "max_seconds", math.inf)


class Recording(LinearRegression):
    """Notes the cost of each step, and W and b after it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seen: list[tuple[float, float, float]] = []
        self.training_steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, torch.Tensor]:
        self.training_steps += 1
        return super().training_step(batch, batch_idx)

    def descend(self, batch: Any, update: Any, schedulers: Any) -> None:
        super().descend(batch, update, schedulers)
        assert self.newest_step is not None
        self.seen.append((self.newest_step.loss.item(), self.W.item(), self.b.item()))


class GoldenData(SyntheticDataModule):
    """A recorded run's batches: one noise stream over all epochs, as golden's `meta` describes it."""

    def __init__(self, meta: dict[str, Any]) -> None:
        super().__init__(num_rows=meta["data_length"], batch_size=meta["batch_size"])
        x, noise = np.arange(meta["data_length"], dtype=np.float64), np.random.RandomState(meta["noise_seed"])
        y = [meta["slope"] * x + meta["noise_std"] * noise.randn(len(x)) for _ in range(meta["num_epochs"])]
        self._ys = torch.from_numpy(np.array(y, dtype=np.float32)).unsqueeze(2)

    def batch(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self._x[rows], self._ys[epoch, rows]


@pytest.mark.usefixtures("_no_hurry")
@pytest.mark.parametrize("name", ["seed", "penalised"])
def test_every_step_is_tensorflows(name: str) -> None:
    """As in `test_golden`, and the very bits of one step at a time."""
    golden = np.load(GOLDEN / f"{name}.npz")
    meta = json.loads(str(golden["meta"]))
    runs = []
    for taking in (None, Executions()):
        module = Recording(learning_rate=meta["learning_rate"], l2=meta["reg"])
        data = GoldenData(meta)
        data.group_steps(taking)
        with torch.no_grad():
            module.W.fill_(meta["W0"])
            module.b.fill_(meta["b0"])
        plain_trainer(meta["num_epochs"]).fit(module, data)
        runs.append(module)
    one, several = runs
    steps_per_epoch = meta["data_length"] // meta["batch_size"]
    assert (one.training_steps, several.training_steps) == (len(golden["cost"]), meta["num_epochs"])
    assert several.training_steps * steps_per_epoch == one.training_steps
    assert several.seen == one.seen
    cost, W, b = np.array(several.seen).T
    assert np.abs(W - golden["W"]).max() / meta["slope"] < 1e-6
    assert np.abs(b - golden["b"]).max() < 1e-7
    assert np.abs(cost / golden["cost"] - 1).max() < 1e-4


def test_schedule_and_momentum_of_a_subclass() -> None:
    """Stepped with each step of the optimizer, not with each execution."""
    states = []
    for taking in (None, Executions(), Executions(4)):
        module = Scheduled(learning_rate=1e-4)
        data = SyntheticDataModule(num_rows=30, batch_size=10)
        data.group_steps(taking)
        trainer = plain_trainer(-1, max_steps=30, limit_val_batches=0)
        trainer.fit(module, data)
        assert (trainer.global_step, trainer.current_epoch) == (30, 10)
        schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
        states.append((module.state_dict(), trainer.optimizers[0].state_dict(), schedules))
    assert equal(states[0], states[1])
    assert equal(states[0], states[2])


class EachEpoch(Callback):
    """Notes where an epoch ends."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ends.append((trainer.current_epoch, trainer.global_step))


@pytest.mark.usefixtures("_no_hurry")
def test_callbacks_get_what_they_look_at() -> None:
    """Each step, or each epoch's end, where a callback has a hook there."""
    for callback, taken in ((Trajectory(), 24), (EachEpoch(), 6), (Callback(), 1)):
        module = Recording(learning_rate=1e-4)
        data = SyntheticDataModule(num_rows=40, batch_size=10)
        data.group_steps(Executions())
        trainer = plain_trainer(-1, callback, max_steps=24, limit_val_batches=0)
        trainer.fit(module, data)
        assert module.training_steps == taken
        if isinstance(callback, Trajectory):
            seen = [
                (cost, W.item(), b.item()) for cost, W, b in zip(callback.cost, callback.W, callback.b, strict=True)
            ]
            assert seen == module.seen
        if isinstance(callback, EachEpoch):
            assert callback.ends == [(epoch, 4 * (epoch + 1)) for epoch in range(6)]


@pytest.mark.parametrize("steps", ["auto", "7"])
def test_step_that_diverges_is_told_to_the_step(steps: str, tmp_path: Path) -> None:
    """The report of a run that diverged within an execution is that of one step at a time."""
    reports = []
    for steps_per_execution in ("1", steps):
        (folder := tmp_path / steps_per_execution).mkdir()
        diverging = (*JOBS["synthetic"], "--model.learning_rate", "0.01", "--steps_per_execution", steps_per_execution)
        result = linreg("fit", *diverging, cwd=folder)
        assert result.code == 3
        reports.append((result.stderr, (folder / RUN / "report.json").read_bytes()))
    assert reports[0] == reports[1]
