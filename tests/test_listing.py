"""`linreg runs` and the last line of a run suggest the same command, and the command works."""

import json
import re
import shlex
from pathlib import Path

import pytest

from linreg_pl.runs.folder import checkpoints
from tests.commands import linreg
from tests.runs import DIABETES, PLAIN, RUN

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
    assert suggested[1].replace("FILE", str(DIABETES)) == typed
    shorter: tuple[str, ...] = ()
    if flags == TIME_IS_UP:  # which would go on for a million epochs, of two steps each
        taken = int(checkpoints(tmp_path / RUN)[-1].stem.removeprefix("step="))
        shorter = ("--trainer.max_epochs", str(taken // 2 + 10))
    followed = linreg(*shlex.split(typed), *shorter, cwd=tmp_path)
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
