"""A resumed run continues with the next batch, and ends with the bits of an uninterrupted run."""

import json
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from linreg_pl import LinearRegression, SyntheticDataModule
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.checkpoint_io import DurableCheckpointIO
from linreg_pl.runs.tensorboard_logger import EVENTS
from tests.commands import linreg, start
from tests.runs import JOBS, RUN, assert_same_end, assert_same_run
from tests.sabotage import KillInSave, NoteReads, SignalInPhase
from tests.trainers import plain_trainer
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Returns a function that fits with some flags without interruption, once, and gives the folder."""

    @cache
    def run(*flags: str) -> Path:
        folder = tmp_path_factory.mktemp("whole")
        result = linreg("fit", *flags, cwd=folder)
        assert result.code == 0, result.stderr
        return folder

    return run


@pytest.mark.parametrize("job", ["synthetic", "table"])
@pytest.mark.parametrize(
    "stops",
    [(5,), (12,), (12, 24), (1, 2, 3, 4), (11, 12, 13)],
    ids=["mid-epoch", "epoch's end", "two epochs' ends", "each step", "around an epoch's end"],
)
def test_resumed_run_is_bitwise_equal(
    job: str, stops: tuple[int, ...], whole_run: Callable[..., Path], tmp_path: Path
) -> None:
    (parts := tmp_path / "parts").mkdir()
    steps = 36  # 12 epochs
    start = (*JOBS[job], "--trainer.max_epochs", "100")
    whole = whole_run(*start, "--trainer.max_steps", str(steps))
    assert linreg("fit", *start, "--trainer.max_steps", str(stops[0]), cwd=parts).code == 0
    for stop in (*stops[1:], steps):
        resumed = linreg("fit", "--resume", str(RUN), "--trainer.max_steps", str(stop), cwd=parts)
        assert resumed.code == 0, resumed.stderr
        assert resumed.stderr == ""
    assert [path.name for path in (parts / "lightning_logs").iterdir()] == ["version_0"]
    assert_same_run(whole, parts)


def test_killed_run_keeps_its_settings(tmp_path: Path) -> None:
    (whole := tmp_path / "whole").mkdir()
    (killed := tmp_path / "killed").mkdir()
    settings = (*JOBS["synthetic"], "--trainer.max_epochs", "200", "--checkpoint_every_n_epochs", "7")
    assert linreg("fit", *settings, cwd=whole).code == 0

    running = start("fit", *settings, cwd=killed, before=SignalInPhase(signal.SIGSTOP, "mid-epoch", step=30))
    folder = killed / RUN / "checkpoints"
    wait_until(lambda: any(folder.glob("step=*.ckpt")), alive=running.process.is_alive)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL

    resumed = linreg("fit", "--resume", "auto", cwd=killed)
    assert resumed.code == 0, resumed.stderr
    assert f"of {RUN}" in resumed.stdout
    assert_same_end(whole, killed)
    config, whole_config = (yaml.safe_load((folder / RUN / "config.yaml").read_text()) for folder in (killed, whole))
    assert config == whole_config
    assert json.loads((killed / RUN / "report.json").read_text())["global_step"] == 600


@pytest.mark.parametrize("saves", [1, 7, 9])
def test_killed_default_run_is_bitwise_equal(saves: int, whole_run: Callable[..., Path], tmp_path: Path) -> None:
    whole = whole_run(*JOBS["default"])
    (killed := tmp_path / "killed").mkdir()
    kill = KillInSave("before it is renamed", saves)
    assert linreg("fit", *JOBS["default"], cwd=killed, before=kill).code == -signal.SIGKILL
    resumed = linreg("fit", "--resume", "auto", cwd=killed)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert "length    " not in resumed.stdout, "it is the run's, and not settled again"
    assert "penalty   l2 0." in resumed.stdout
    assert (whole / RUN / "config.yaml").read_bytes() == (killed / RUN / "config.yaml").read_bytes()
    assert_same_end(whole, killed)


def test_config_of_a_chosen_l2_runs_again(whole_run: Callable[..., Path], tmp_path: Path) -> None:
    whole = whole_run(*JOBS["default"])
    config = whole / RUN / "config.yaml"
    result = linreg("fit", "--config", str(config), cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert "penalty   " not in result.stdout, "a number is not chosen again"
    one, other = (read_checkpoint(max(run.glob(f"{RUN}/checkpoints/*"))).contents for run in (whole, tmp_path))
    assert torch.equal(one.state_dict["W"], other.state_dict["W"])
    assert config.read_text().startswith(f"# {one.l2_choice}\n")
    assert json.loads((whole / RUN / "report.json").read_text())["l2_choice"] == one.l2_choice
    l2 = yaml.safe_load(config.read_text())["model"]["l2"]
    assert one.hyper_parameters["l2"] == other.hyper_parameters["l2"] == l2 > 0


def test_resume_finds_the_run(tmp_path: Path) -> None:
    """`auto` is the newest interrupted run. A folder or a checkpoint is resumed even if its run is finished."""
    for _ in range(3):
        assert linreg("fit", *JOBS["synthetic"], "--trainer.max_epochs", "2", cwd=tmp_path).code == 0
    (tmp_path / "lightning_logs" / "version_1" / "report.json").unlink()
    (tmp_path / "lightning_logs" / "version_1" / "checkpoints" / "step=6.ckpt").unlink()
    resumed = linreg("fit", "--resume", "auto", cwd=tmp_path)
    assert "from step 0 of lightning_logs/version_1" in resumed.stdout
    nothing = linreg("fit", "--resume", "auto", cwd=tmp_path)
    assert (nothing.code, nothing.stdout) == (2, "")
    assert "there is no interrupted run to resume" in nothing.stderr
    named = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "3", cwd=tmp_path)
    assert "from step 6 of lightning_logs/version_0" in named.stdout
    checkpoint = str(RUN / "checkpoints" / "step=6.ckpt")
    chosen = linreg("fit", "--resume", checkpoint, "--trainer.max_epochs", "4", cwd=tmp_path)
    assert "from step 6 of lightning_logs/version_0" in chosen.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("fit", "--resume", "auto", "--trainer.max_epochs", "3"),
        ("fit", "--resume", str(RUN), "--trainer.max_epochs", "3"),
        ("fit", "--resume", str(RUN / "checkpoints" / "step=6.ckpt"), "--trainer.max_epochs", "3"),
        ("predict", "--ckpt_path", str(RUN / "checkpoints" / "step=6.ckpt")),
    ],
    ids=["auto", "run", "checkpoint", "predict"],
)
def test_checkpoint_is_read_once(command: tuple[str, ...], tmp_path: Path) -> None:
    """One read serves for the checksums, the settings and the weights."""
    first = ("--trainer.max_epochs", "3" if "auto" in command else "2", "--checkpoint_every_n_epochs", "2")
    assert linreg("fit", *JOBS["synthetic"], *first, cwd=tmp_path).code == 0
    if "auto" in command:  # a run that was killed after its second epoch
        (tmp_path / RUN / "report.json").unlink()
        (tmp_path / RUN / "checkpoints" / "step=9.ckpt").unlink()
    reads = NoteReads(tmp_path / "reads")
    result = linreg(*command, cwd=tmp_path, before=reads)
    assert (result.code, result.stderr) == (0, "")
    assert reads.log.read_text().splitlines() == [str(RUN / "checkpoints" / "step=6.ckpt")]


class Scheduled(LinearRegression):
    """A model with momentum, and a learning rate that changes at every step."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=30)]


@pytest.mark.parametrize("stops", [(10,), (4, 20), (9, 18, 27)])
def test_scheduler_is_resumed(stops: tuple[int, ...], tmp_path: Path) -> None:
    """Checks that a subclass's scheduler steps with the optimizer, and resumes to the bit."""

    def trained(checkpoint: Path | None, steps: int) -> Scheduled:
        module = Scheduled(learning_rate=1e-4)
        saving = {"plugins": [DurableCheckpointIO()], "max_steps": steps, "limit_val_batches": 0}
        trainer = plain_trainer(-1, **saving)
        trainer.fit(module, SyntheticDataModule(num_rows=30, batch_size=10), ckpt_path=checkpoint, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"step={steps}.ckpt")
        return module

    whole = trained(None, 30)
    schedulers = read_checkpoint(tmp_path / "step=30.ckpt").contents.others["lr_schedulers"]
    assert schedulers[0]["last_epoch"] == 30
    checkpoint = None
    for stop in (*stops, 30):
        parts = trained(checkpoint, stop)
        checkpoint = tmp_path / f"step={stop}.ckpt"
    assert torch.equal(parts.W, whole.W)
    assert torch.equal(parts.b, whole.b)
    assert read_checkpoint(tmp_path / "step=30.ckpt").contents.others["lr_schedulers"] == schedulers


def test_resume_in_the_same_second(tmp_path: Path) -> None:
    """TensorBoard reads files in the order of their names, which have the process number after the second."""
    (whole := tmp_path / "whole").mkdir()
    (parts := tmp_path / "parts").mkdir()
    linreg("fit", *JOBS["synthetic"], "--trainer.max_epochs", "20", cwd=whole)
    linreg("fit", *JOBS["synthetic"], "--trainer.max_epochs", "10", cwd=parts)
    [events] = (parts / RUN).glob(f"{EVENTS}.*")
    last_pid_of_the_next_second = f"{EVENTS}.{int(time.time()) + 1}.vm.9999999.0"
    events.rename(events.with_name(last_pid_of_the_next_second))
    assert linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "20", cwd=parts).code == 0
    assert_same_run(whole, parts)
