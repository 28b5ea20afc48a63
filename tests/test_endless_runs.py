"""Runs without a number of steps: a time limit or a rule ends them."""

import json
import re
import signal
from functools import partial
from pathlib import Path

import pytest
import yaml

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.callbacks.epoch_lines import EpochLines
from linreg_pl.runs.folder import run_state
from linreg_pl.runs.listing import twice
from linreg_pl.training.due import Interval
from tests.commands import linreg
from tests.runs import DIABETES, RUN
from tests.sabotage import SignalInPhase
from tests.test_cli import in_terminal
from tests.trainers import plain_trainer

TABLE = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
NO_END = ("--trainer.max_epochs", "-1")
SECOND = ("--trainer.max_time", "00:00:00:01")


def test_time_alone_ends_a_run(tmp_path: Path) -> None:
    averaged = ("--model.schedule", "cosine", "--model.tail_averaging", "0.5")
    result = linreg("fit", *TABLE, *averaged, *NO_END, *SECOND, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "1 target: steps until --trainer.max_time 00:00:00:01, 1 an epoch\n" in result.stdout
    assert "schedule  none, as cosine needs a run with an end: the learning rate keeps its full value" in result.stdout
    assert "average   none, as tail_averaging needs a run with an end" in result.stdout
    assert re.search(r"^fitted in \d+ steps \(\d+ epochs\)\nstopped by --trainer.max_time\n", result.stdout, re.M)
    assert not re.search(r"on a cosine schedule|the run's end|(?:step|of|:) -1\b|inf\b", result.stdout)
    assert len(re.findall(r"^epoch", result.stdout, re.M)) < 60
    report = json.loads((tmp_path / RUN / "report.json").read_text())
    assert (report["state"], report["total_steps"], report["stopped_by"]) == ("finished", None, "--trainer.max_time")
    config = yaml.safe_load((tmp_path / RUN / "config.yaml").read_text())["trainer"]
    assert (config["max_epochs"], config["max_time"]) == (-1, "00:00:00:01")
    steps = str(report["global_step"])
    assert linreg("runs", cwd=tmp_path).stdout.splitlines()[1].split()[1:4] == ["finished", steps, "-"]
    plot = linreg("plot", str(RUN), cwd=tmp_path)
    assert (plot.code, plot.stderr) == (0, "")

    again = linreg("fit", "--resume", str(RUN), cwd=tmp_path)
    assert (again.code, again.stderr) == (2, "linreg: no step was taken: --trainer.max_time is used up; give it more\n")
    assert run_state(tmp_path / RUN) == "finished"
    automatic = linreg("fit", "--resume", "auto", cwd=tmp_path)
    assert automatic.code == 2
    assert "no interrupted run" in automatic.stderr
    assert "--trainer.max_time" in automatic.stderr
    onward = linreg("fit", "--resume", str(RUN), "--trainer.max_time", "00:00:00:02", cwd=tmp_path)
    assert (onward.code, onward.stderr) == (0, "")
    assert f"from step {steps} of" in onward.stdout
    assert "stopped by --trainer.max_time" in onward.stdout
    ended = ("fit", "--resume", str(RUN), "--trainer.max_epochs", "10000000", "--trainer.max_time", "00:00:00:03")
    refused = linreg(*ended, cwd=tmp_path)
    assert refused.code == 2
    assert "left out, as the run had no end, and now there are 10000000. To go on" in refused.stderr
    allowed = linreg(*ended, "--allow_changed_settings", "true", cwd=tmp_path)
    assert (allowed.code, allowed.stderr) == (0, "")
    assert "stopped before step 10000000, after" in allowed.stdout


def test_rule_alone_ends_a_run(tmp_path: Path) -> None:
    result = linreg("fit", *TABLE, *NO_END, "--stop.gap", "1e9", "--display_every_n_epochs", "7", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "steps until --stop.gap 1e+09, 1 an epoch" in result.stdout
    assert "stopped by --stop.gap 1e+09: gap/objective is" in result.stdout
    assert result.stdout.splitlines()[-1].endswith(" --stop.gap null --trainer.max_time DD:HH:MM:SS")


def test_schedule_of_a_longer_run_is_not_lost(tmp_path: Path) -> None:
    """A run with an end goes on without one only if it is told to, and then at the full learning rate."""
    assert linreg("fit", *TABLE, "--trainer.max_epochs", "60", cwd=tmp_path).code == 0
    endless = ("fit", "--resume", str(RUN), *NO_END, *SECOND)
    refused = linreg(*endless, cwd=tmp_path)
    assert refused.code == 2
    assert "planned for 60 steps, and now it has no end" in refused.stderr
    onward = linreg(*endless, "--allow_changed_settings", "true", cwd=tmp_path)
    assert (onward.code, onward.stderr) == (0, "")
    from tests.runs import curves

    rates = [rate for step, rate in curves(tmp_path / RUN)["train/learning_rate"] if step > 60]
    assert len(set(rates)) == 1
    assert rates[0] > 0.1


def test_signal_saves_an_endless_run(tmp_path: Path) -> None:
    minute = ("--trainer.max_time", "00:00:01:00")
    stop = partial(SignalInPhase, signal.SIGINT, "mid-epoch")
    result = linreg("fit", *NO_END, *minute, cwd=tmp_path, before=stop())
    assert result.code == 130
    assert re.search(r"^interrupted at step \d+; to go on: \S+ fit --resume", result.stderr)
    [line] = linreg("runs", cwd=tmp_path).stdout.splitlines()[1:]
    assert line.split()[1] == "interrupted"
    assert line.endswith(f"fit --resume {RUN}"), "its time is not used up"
    onward = linreg("fit", "--resume", "auto", "--stop.gap", "1e30", cwd=tmp_path)
    assert (onward.code, onward.stderr) == (0, "")
    assert "steps until --trainer.max_time 00:00:01:00 or --stop.gap 1e+30" in onward.stdout


def test_bar_of_an_endless_run(tmp_path: Path) -> None:
    code, drawn = in_terminal("fit", *NO_END, "--trainer.max_time", "00:00:00:02", cwd=tmp_path)
    assert code == 0, drawn
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r\n", "\n").replace("\r", "\n")
    bars = re.findall(r"epoch (\d+) [━╸╺ ]+ loss \S+ +([\d,]+) steps/s +\S+", text)
    epochs = [int(epoch) for epoch, _ in bars]
    assert len(epochs) >= 3
    assert epochs == sorted(epochs)
    assert "stopped by --trainer.max_time" in text


def test_default_interval_of_an_endless_run() -> None:
    trainer = plain_trainer(-1, max_time="00:00:00:01")
    interval, due = Interval("display_every_n_epochs", None), [0]
    for _ in range(21):
        due.append(interval.next_due(trainer, due[-1]))
    assert due == [*range(10), *range(10, 100, 10), 100, 200, 300]
    assert Interval("display_every_n_epochs", 7).next_due(trainer, 20) == 21
    trainer.fit(LinearRegression(10), TableDataModule(str(DIABETES), "progression"))
    lines = EpochLines(None)
    assert [lines.next_due(trainer, step) for step in (0, 1, 2, 11, 12, 101)] == [1, 2, 3, 21, 21, 201]


@pytest.mark.parametrize(
    ("time", "spent", "doubled"),
    [
        ("00:00:00:45", 45.3, "00:00:01:30"),
        ("06:13:40:00", 0, "13:03:20:00"),
        ("00:00:00:01", 1.4, "00:00:00:02"),
        ("00:00:00:01", 59.6, "00:00:02:00"),
    ],
)
def test_time_is_doubled(time: str, spent: float, doubled: str) -> None:
    assert twice(time, spent) == doubled


def test_endless_run_has_the_full_rate(tmp_path: Path) -> None:
    model = LinearRegression(10, schedule="one_cycle", tail_averaging=0.5, learning_rate=0.1)
    trainer = plain_trainer(-1, max_time="00:00:00:01")
    trainer.fit(model, TableDataModule(str(DIABETES), "progression"))
    assert trainer.global_step > 5
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1
    assert int(model.num_averaged) == 0
