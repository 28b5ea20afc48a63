"""`linreg runs` and the last line of a run suggest the same command, and the command works."""

import json
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linreg_pl import LinearRegression
from linreg_pl.runs.folder import checkpoints
from tests.commands import linreg
from tests.runs import DIABETES, PLAIN, RUN
from tests.sabotage import patch

TABLE = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
EPOCHS = ("--trainer.max_epochs", "20")
CHECKPOINT = RUN / "checkpoints" / "step=20.ckpt"
TIME_IS_UP = ("--trainer.max_epochs", "1000000", "--trainer.max_time", "00:00:00:01")
JOBS = {
    "constant": ((*TABLE, *PLAIN, *EPOCHS), f"fit --resume {RUN} --trainer.max_epochs 40"),
    "steps": (("--trainer.max_steps", "15"), f"fit --resume {RUN} --trainer.max_steps 30"),
    "cosine": ((*TABLE, *EPOCHS), f"predict --ckpt_path {CHECKPOINT} --data.path {DIABETES}"),
    "no file": (
        (*EPOCHS, "--data.batch_size", "10000", "--model.schedule", "one_cycle"),
        f"predict --ckpt_path {CHECKPOINT}",
    ),
    "averaged": (
        (*TABLE, *PLAIN, *EPOCHS, "--model.tail_averaging", "0.5"),
        f"predict --ckpt_path {CHECKPOINT} --data.path {DIABETES}",
    ),
    "stopped": (
        ("--stop.gap", "1e9", "--stop.grad_norm", "1e-9", *EPOCHS),
        f"fit --resume {RUN} --stop.gap null --stop.grad_norm null",
    ),
    "endless": (
        (*TABLE, "--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:00:01"),
        f"fit --resume {RUN} --trainer.max_time 00:00:00:02",
    ),
    "out of time": (TIME_IS_UP, f"fit --resume {RUN} --trainer.max_time null"),
}


def listed(folder: Path) -> str:
    """Returns the arguments of the command that `linreg runs` suggests."""
    [line] = linreg("runs", cwd=folder).stdout.splitlines()[1:]
    return line.partition("linreg ")[2]


@pytest.mark.parametrize(("flags", "typed"), JOBS.values(), ids=JOBS)
def test_suggested_command_works(flags: tuple[str, ...], typed: str, tmp_path: Path) -> None:
    result = linreg("fit", *flags, cwd=tmp_path)
    assert result.code == 0, result.stderr
    suggested = re.fullmatch(r"(?:go on|predict) +\S*linreg (.*)", result.stdout.splitlines()[-1])
    assert suggested is not None
    assert suggested[1] == listed(tmp_path)
    command = suggested[1].replace("FILE", str(DIABETES))
    assert re.sub(r"(?<=max_time 00:00:00:)\d\d", "02", command) == typed, "or more, after a slow step"
    shorter: tuple[str, ...] = ()
    if flags == TIME_IS_UP:  # which would go on for a million epochs, of two steps each
        taken = int(checkpoints(tmp_path / RUN)[-1].stem.removeprefix("step="))
        shorter = ("--trainer.max_epochs", str(taken // 2 + 10))
    followed = linreg(*shlex.split(command), *shorter, cwd=tmp_path)
    assert (followed.code, followed.stderr) == (0, "")


@dataclass
class SlowStep:
    """Makes a run's first step take a while."""

    seconds: float

    def __call__(self) -> None:
        real = LinearRegression.training_step

        def step(self: LinearRegression, *arguments: Any) -> Any:
            if self.global_step == 0:
                time.sleep(seconds)
            return real(self, *arguments)

        seconds = self.seconds
        patch(LinearRegression, "training_step", step)


def test_time_of_a_slow_step(tmp_path: Path) -> None:
    """The suggested time is more than what the run has taken, even if a step took longer than it was given."""
    flags = (*TABLE, "--trainer.max_epochs", "-1", "--trainer.max_time", "00:00:00:01")
    assert linreg("fit", *flags, cwd=tmp_path, before=SlowStep(3.2)).code == 0
    suggested = listed(tmp_path)
    assert int(suggested[-2:]) in range(6, 60), suggested
    followed = linreg(*shlex.split(suggested), cwd=tmp_path)
    assert (followed.code, followed.stderr) == (0, "")


def test_damaged_run_is_listed(tmp_path: Path) -> None:
    assert linreg("fit", *TABLE, *EPOCHS, cwd=tmp_path).code == 0
    for path in (tmp_path / RUN / "checkpoints").iterdir():
        path.unlink()
    assert listed(tmp_path) == ""
    (tmp_path / RUN / "config.yaml").write_text("model: [\n")
    assert listed(tmp_path) == ""


def test_suggestion_after_divergence(tmp_path: Path) -> None:
    job = (*TABLE, *PLAIN, "--model.learning_rate", "10", "--checkpoint_every_n_epochs", "1", *EPOCHS)
    assert linreg("fit", *job, cwd=tmp_path).code == 3
    typed = listed(tmp_path)
    assert typed == f"fit --resume {RUN} --allow_changed_settings true --model.learning_rate R"
    followed = linreg(*typed.split()[:-1], "1e-3", cwd=tmp_path)
    assert (followed.code, followed.stderr) == (0, "")
    assert json.loads((tmp_path / RUN / "report.json").read_text())["state"] == "finished"
