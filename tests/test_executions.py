"""Several steps in one `training_step` of Lightning: the same bits, and every callback acts when it is due."""

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
from linreg_pl.data.loaders import Batch
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints
from linreg_pl.training.executions import Executions
from linreg_pl.tutorial import model_settings
from tests.commands import linreg
from tests.runs import JOBS, RUN, assert_same_end, curves, equal
from tests.sabotage import SignalInPhase, Threads
from tests.test_golden import GOLDEN
from tests.test_resume import Scheduled
from tests.trainers import Trajectory, plain_trainer


@pytest.mark.parametrize("job", JOBS)
def test_run_equals_single_steps(job: str, tmp_path: Path, torture: bool) -> None:
    """Compares every saved bit, Lightning's counters too, and those of a run that is resumed within an interval."""
    (one := tmp_path / "one").mkdir()
    assert linreg("fit", *JOBS[job], "--steps_per_execution", "1", cwd=one).code == 0
    for steps in ("5", "auto") if torture else ("auto",):
        several, resumed = (tmp_path / f"{steps}_{name}" for name in ("several", "resumed"))
        for folder in (several, resumed):
            folder.mkdir()
        command = ("fit", *JOBS[job], "--steps_per_execution", steps)
        assert linreg(*command, cwd=several).code == 0
        killed = linreg(*command, cwd=resumed, before=SignalInPhase(signal.SIGTERM, "mid-epoch"))
        assert killed.code == 128 + signal.SIGTERM
        assert linreg("fit", "--resume", str(RUN), cwd=resumed).code == 0
        for folder in (several, resumed):
            assert_same_end(one, folder)
        for ours, theirs in zip(checkpoints(several / RUN), checkpoints(one / RUN), strict=True):
            assert ours.name == theirs.name
            assert equal(*(read_checkpoint(path).contents.others["loops"] for path in (ours, theirs))), ours


def test_points_of_large_batches_equal_single_steps(tmp_path: Path) -> None:
    """Several threads sum so many rows, and their number changes the rounding."""
    large = ("--data.num_rows", "120000", "--data.batch_size", "40000", "--trainer.max_epochs", "20")
    drawn = []
    for steps in ("1", "auto"):
        (folder := tmp_path / steps).mkdir()
        flags = (*large, "--model.learning_rate", "1e-11", "--trainer.log_every_n_steps", "1")
        assert linreg("fit", *flags, "--steps_per_execution", steps, cwd=folder, before=Threads(2)).code == 0
        drawn.append(curves(folder / RUN))
    assert len(drawn[0]["train/loss"]) == 60
    assert drawn[0] == drawn[1]


@pytest.fixture
def _no_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets executions end only at due steps, however busy the machine is."""
    monkeypatch.setattr(Executions, "max_seconds", math.inf)


class Recording(LinearRegression):
    """Records the cost of each step, and W and b after it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{**model_settings(), **arguments})
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
    """The batches of a recorded run: one noise stream over all epochs, as golden's `meta` describes."""

    def __init__(self, meta: dict[str, Any]) -> None:
        super().__init__(num_rows=meta["data_length"], batch_size=meta["batch_size"])
        x, noise = np.arange(meta["data_length"], dtype=np.float64), np.random.RandomState(meta["noise_seed"])
        y = [meta["slope"] * x + meta["noise_std"] * noise.randn(len(x)) for _ in range(meta["num_epochs"])]
        self._ys = torch.from_numpy(np.array(y, dtype=np.float32)).unsqueeze(2)

    def batch(self, epoch: int, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return self._x[rows], self._ys[epoch, rows]


@pytest.mark.usefixtures("_no_time_limit")
@pytest.mark.parametrize("name", ["seed", "penalised"])
def test_every_step_matches_tensorflow(name: str, torture: bool) -> None:
    """Compares with TensorFlow as `test_golden` does, and with single steps to the bit; at most 300 epochs here."""
    golden = dict(np.load(GOLDEN / f"{name}.npz"))
    meta = json.loads(str(golden["meta"]))
    if not torture:
        meta["num_epochs"] = min(meta["num_epochs"], 300)
        num_steps = meta["num_epochs"] * (meta["data_length"] // meta["batch_size"])
        golden = {key: golden[key][:num_steps] for key in ("cost", "W", "b")}
    runs = []
    for executions in (None, Executions()):
        module = Recording(learning_rate=meta["learning_rate"], l2=meta["reg"])
        data = GoldenData(meta)
        data.group_steps(executions)
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


def test_schedule_of_a_subclass() -> None:
    """A subclass's scheduler steps with each step of the optimizer, not with each execution."""
    states = []
    for executions in (None, Executions(), Executions(4)):
        module = Scheduled(learning_rate=1e-4)
        data = SyntheticDataModule(num_rows=30, batch_size=10)
        data.group_steps(executions)
        trainer = plain_trainer(-1, max_steps=30, limit_val_batches=0)
        trainer.fit(module, data)
        assert (trainer.global_step, trainer.current_epoch) == (30, 10)
        schedules = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
        states.append((module.state_dict(), trainer.optimizers[0].state_dict(), schedules))
    assert equal(states[0], states[1])
    assert equal(states[0], states[2])


class EachEpoch(Callback):
    """Records the end of each epoch."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, int]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ends.append((trainer.current_epoch, trainer.global_step))


class EveryFive(Callback):
    """Needs control at every fifth step, and records the steps at which it gets it."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def next_due(self, trainer: Trainer, step: int) -> float:
        return (step // 5 + 1) * 5

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append(trainer.global_step)


@pytest.mark.usefixtures("_no_time_limit")
def test_callbacks_act_when_due() -> None:
    """A callback acts at each step or epoch for which it has a hook, and at the steps that it says are due."""
    for callback, training_steps in ((Trajectory(), 24), (EachEpoch(), 6), (EveryFive(), 5), (Callback(), 1)):
        module = Recording(learning_rate=1e-4)
        data = SyntheticDataModule(num_rows=40, batch_size=10)
        data.group_steps(Executions())
        trainer = plain_trainer(-1, callback, max_steps=24, limit_val_batches=0)
        trainer.fit(module, data)
        assert module.training_steps == training_steps
        if isinstance(callback, Trajectory):
            seen = [
                (cost, W.item(), b.item()) for cost, W, b in zip(callback.cost, callback.W, callback.b, strict=True)
            ]
            assert seen == module.seen
        if isinstance(callback, EachEpoch):
            assert callback.ends == [(epoch, 4 * (epoch + 1)) for epoch in range(6)]
        if isinstance(callback, EveryFive):
            assert callback.steps == [5, 10, 15, 20, 24]


class CountedFetches(SyntheticDataModule):
    """Counts the batches that were fetched."""

    num_fetched = 0

    def batch(self, epoch: int, index: int) -> Batch:
        self.num_fetched += 1
        return super().batch(epoch, index)


def first_item(data: SyntheticDataModule, executions: Executions) -> tuple[LinearRegression, Any]:
    """Returns a model after a run of 12 steps, and the item that the training loader yielded at its start."""
    model, trainer = LinearRegression.tutorial(learning_rate=1e-4), plain_trainer(-1, max_steps=12, limit_val_batches=0)
    model.measures_gap = False  # it would fetch batches too
    items: list[Any] = []

    class TakeItem(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            items.append(next(iter(data.train_dataloader())))

    trainer.callbacks.append(TakeItem())  # type: ignore[attr-defined]
    data.group_steps(executions)
    trainer.fit(model, data)
    return model, items[0]


@pytest.mark.usefixtures("_no_time_limit")
def test_batches_are_fetched_one_by_one() -> None:
    data = CountedFetches(num_rows=40, batch_size=10)
    model, execution = first_item(data, Executions())
    fetched = data.num_fetched
    assert fetched == 12
    moved = model.transfer_batch_to_device(execution, torch.device("meta"), 0)
    for number, (x, y) in enumerate(moved, 1):
        assert (x.device.type, y.device.type, x.shape) == ("meta", "meta", (10, 1))
        assert data.num_fetched == fetched + number
    assert number == 12


@pytest.mark.usefixtures("_no_time_limit")
def test_end_stops_after_the_current_step() -> None:
    executions, data = Executions(), SyntheticDataModule(num_rows=40, batch_size=10)
    _, execution = first_item(data, executions)
    batches = iter(execution)
    next(batches)
    next(batches)
    executions.end()
    assert next(batches, None) is None


def test_executions_end_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executions, "max_seconds", -1.0)
    module, data = Recording(learning_rate=1e-4), SyntheticDataModule(num_rows=40, batch_size=10)
    data.group_steps(Executions())
    plain_trainer(-1, max_steps=12, limit_val_batches=0).fit(module, data)
    assert module.training_steps == 12


@pytest.mark.parametrize("steps", ["auto", "7"])
def test_divergence_is_reported_at_its_step(steps: str, tmp_path: Path) -> None:
    """The report of a run that diverges within an execution equals that of single steps."""
    reports = []
    for steps_per_execution in ("1", steps):
        (folder := tmp_path / steps_per_execution).mkdir()
        diverging = (*JOBS["synthetic"], "--model.learning_rate", "0.01", "--steps_per_execution", steps_per_execution)
        result = linreg("fit", *diverging, cwd=folder)
        assert result.code == 3
        reports.append((result.stderr, (folder / RUN / "report.json").read_bytes()))
    assert reports[0] == reports[1]
