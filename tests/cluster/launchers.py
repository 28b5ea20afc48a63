"""Real launchers start several processes: torchrun, and the command itself."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from linreg_pl.runs.folder import checkpoints, run_state
from tests.commands import linreg, outside_make
from tests.pages import ROOT
from tests.ranks import LINREG, answer, children, is_alive, of_srun
from tests.runs import JOBS, RUN
from tests.waiting import wait_until

SOLVE = ("solve", "--data", "TableDataModule", "--data.path", "t.parquet", "--data.target", "y")
ENDLESS = (*JOBS["table"], "--trainer.max_epochs", "1000000")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with a table in row groups."""
    generator = np.random.default_rng(5)
    x = generator.standard_normal((3000, 3)) + 100
    columns = {f"x{index}": column for index, column in enumerate(x.T)}
    table = pa.table({**columns, "y": x @ [1.0, -2.0, 3.0] + generator.standard_normal(3000)})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet", row_group_size=400)
    return tmp_path


@pytest.mark.parametrize(
    ("launcher", "flags"),
    [(("torchrun", "--nproc-per-node", "2"), ()), ((), ("--trainer.devices", "2"))],
    ids=["torchrun", "linreg"],
)
def test_same_output_as_one_process(launcher: tuple[str, ...], flags: tuple[str, ...], folder: Path) -> None:
    command = [str(LINREG.with_name(each)) if each == "torchrun" else each for each in launcher]
    result = subprocess.run(
        [*command, LINREG, *SOLVE, *flags], cwd=folder, env=outside_make(), capture_output=True, text=True
    )
    alone = linreg(*SOLVE, cwd=folder)
    assert (result.returncode, result.stdout) == (0, alone.stdout), result.stderr


def test_same_bits_again(folder: Path) -> None:
    """Also by the variables of srun; five processes merge by pairs with one left over."""
    flags = (*SOLVE, "--data.memory_limit", "0", "--robust", "HC1")
    assert answer(5, *flags, cwd=folder) == answer(5, *flags, cwd=folder, launcher=of_srun)


def test_make_train(tmp_path: Path) -> None:
    """The tutorial's whole run; W and b differ from those of one process by the rounding of float32."""
    flags, reports = f"--trainer.accelerator cpu --trainer.default_root_dir {tmp_path}", list[dict[str, Any]]()
    for number in range(2):
        command = ["make", "train", f"ARGS=--trainer.devices {number + 1} {flags}"]
        result = subprocess.run(command, cwd=ROOT, env=outside_make(), capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), result.stdout
        reports.append(json.loads((tmp_path / RUN.with_name(f"version_{number}") / "report.json").read_text()))
    one, two = reports
    assert two["num_processes"] == 2
    assert two["coefficients"] == pytest.approx(one["coefficients"], rel=1e-5)


@pytest.mark.parametrize("victim", ["launcher", "other"])
@pytest.mark.parametrize("launcher", ["torchrun", "linreg"])
def test_killed_while_they_start(launcher: str, victim: str, folder: Path) -> None:
    """They import for seconds; nobody waits for the one that is gone."""
    torchrun = (LINREG.with_name("torchrun"), "--nproc-per-node", "3", LINREG, *SOLVE)
    command = torchrun if launcher == "torchrun" else (LINREG, *SOLVE, "--trainer.devices", "3")
    running = subprocess.Popen(command, cwd=folder, env=outside_make(), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: len(children(running.pid)) == (3 if launcher == "torchrun" else 2))
    others = children(running.pid)
    time.sleep(1)
    os.kill(running.pid if victim == "launcher" else others[-1], signal.SIGKILL)
    began = time.monotonic()
    wait_until(lambda: running.poll() is not None and not any(map(is_alive, others)))
    assert time.monotonic() < began + 10
    told = running.communicate()[1]
    if victim == "launcher":
        assert (running.returncode, "linreg:" in told, "Traceback" in told) == (-signal.SIGKILL, False, False), told
    elif launcher == "linreg":
        words = "ended with exit code -9; start the command again"
        assert (running.returncode, told.count("\n"), words in told) == (2, 1, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("victim", ["first", "other"])
def test_ended_at_any_time_of_the_start(victim: str, number: signal.Signals, folder: Path) -> None:
    """All processes end, with a sentence of the first one at most, unless they have solved it before."""
    chance = random.Random(f"{victim} {number}")
    for _ in range(8):
        running = subprocess.Popen(
            (LINREG, *SOLVE, "--trainer.devices", "3"),
            cwd=folder,
            env={**outside_make(), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(children(running.pid)) == 2, lambda: running.poll() is None)  # noqa: B023
        others = children(running.pid)
        time.sleep(chance.uniform(0, 5))
        target = running.pid if victim == "first" else chance.choice(others)
        was_over = running.poll() is not None or not is_alive(target)
        if not was_over:
            os.kill(target, number)
        told = running.communicate()[1]
        began = time.monotonic()
        wait_until(lambda: not any(map(is_alive, others)))  # noqa: B023
        assert time.monotonic() < began + 10
        assert told.count("\n") <= 1, told
        assert told == "" or (victim == "other" and told.startswith("linreg: process ")), told
        codes = {0, 2} if victim == "other" else {0, -number, 128 + number}
        assert running.returncode in codes, (running.returncode, told)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("launcher", ["torchrun", "linreg"])
def test_launcher_is_ended(launcher: str, number: signal.Signals, tmp_path: Path) -> None:
    """The run ends, and can go on; torchrun passes SIGTERM and SIGINT on, and what is left of it ends by itself."""
    torchrun = [LINREG.with_name("torchrun"), "--nproc-per-node", "2"]
    flags = () if launcher == "torchrun" else ("--trainer.devices", "2")
    command = [*(torchrun if flags == () else []), LINREG, "fit", *ENDLESS, *flags]
    running = subprocess.Popen(command, cwd=tmp_path, env=outside_make(), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: bool(checkpoints(tmp_path / RUN)), lambda: running.poll() is None)
    others = children(running.pid)
    assert len(others) == (2 if launcher == "torchrun" else 1)
    running.send_signal(number)
    began = time.monotonic()
    wait_until(lambda: running.poll() is not None and not any(map(is_alive, others)))
    assert time.monotonic() < began + 10
    assert run_state(tmp_path / RUN) == "interrupted"
    told = running.communicate()[1]
    if launcher == "linreg":
        assert running.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert ("interrupted at step" in told) == ((launcher, number) != ("linreg", signal.SIGKILL)), told
