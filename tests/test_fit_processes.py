"""Several processes train together: the W of one process, the same bits again, and a run that survives each of them.

`tests/cluster` has the long forms.
"""

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from linreg_pl.runs.folder import checkpoints, run_state
from tests.commands import Result, linreg
from tests.ranks import Typed, ranks
from tests.runs import DIABETES, JOBS, PLAIN, RUN, assert_same_run, newest
from tests.sabotage import FullDisk, SignalInPhase, patch

TABLE_JOB = (*JOBS["table"], "--trainer.max_epochs", "40")
STREAMED = (  # groups of 100 rows, weights, rows held out, a schedule, l1 and an average
    *("--data", "TableDataModule", "--data.path", "table.parquet", "--data.target", "progression"),
    *("--data.memory_limit", "0", "--data.batch_size", "90", "--data.weight", "w", "--data.val_fraction", "0.2"),
    *("--trainer.max_epochs", "20", "--model.momentum", "0.5", "--model.schedule", "one_cycle"),
    *("--model.tail_averaging", "0.4", "--model.l1", "5"),
)
WHOLE = {
    "tutorial": ("--trainer.callbacks", "tests.trainers.StopAt", "--trainer.callbacks.step", "399"),
    "table": TABLE_JOB,
    "streamed": STREAMED,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """Returns a function that gives the folder of a job's uninterrupted run in some processes."""
    folders: dict[tuple[str, int], Path] = {}

    def run(job: str, size: int) -> Path:
        if (job, size) not in folders:
            folder = folders[job, size] = tmp_path_factory.mktemp(f"{job}_{size}")
            write_parquet(folder)
            results = [linreg("fit", *WHOLE[job], cwd=folder)] if size == 1 else fit(size, *WHOLE[job], cwd=folder)
            assert [result.code for result in results] == [0] * size, results
        return folders[job, size]

    return run


def write_parquet(folder: Path) -> None:
    """Writes the table with weights and in row groups."""
    table = pyarrow.csv.read_csv(DIABETES)
    table = table.append_column("w", pa.array(np.random.default_rng(0).random(table.num_rows)))
    pyarrow.parquet.write_table(table, folder / "table.parquet", row_group_size=100)


def fit(size: int, *flags: str, cwd: Path, before: Callable[[int], Any] = lambda rank: None) -> list[Result]:
    """Runs `linreg fit` in several processes, of which the first alone prints."""
    results = ranks(size, "fit", *flags, cwd=cwd, before=before)
    assert not any(result.stdout + result.stderr for result in results[1:]), results
    return results


def report(folder: Path) -> dict[str, Any]:
    """Reads the report of the folder's run."""
    contents: dict[str, Any] = json.loads((folder / RUN / "report.json").read_text())
    return contents


@pytest.mark.parametrize("job", WHOLE)
def test_same_as_one_process(job: str, whole: Callable[[str, int], Path]) -> None:
    """W and b differ by the rounding of float32, and the exact solution by much less.

    Each step rounds W and b by half a spacing at most. Such errors add up as the root of their number, as the signs are
    random. A rule that only the first process knows ends the tutorial's run in all.
    """
    one, several = (report(whole(job, size)) for size in (1, 2))
    assert several.pop("num_processes") == 2
    assert one.keys() == several.keys()
    assert one["global_step"] == several["global_step"]
    values = [np.array(list(each["coefficients"].values())) for each in (one, several)]
    spacing = 2**-23  # of float32, relative
    rounding = spacing / 2 * np.sqrt(one["global_step"])
    assert np.linalg.norm(values[0] - values[1]) <= rounding * np.linalg.norm(values[0])
    for name, value in one["exact"]["coefficients"].items():
        assert several["exact"]["coefficients"][name] == pytest.approx(value, rel=1e-10)


def test_started_by_the_first_process(whole: Callable[[str, int], Path], tmp_path: Path) -> None:
    """As `make train ARGS="--trainer.devices 2 --trainer.accelerator cpu"` does; the job of this test ends sooner."""
    command = ("fit", "--trainer.devices", "2", "--trainer.accelerator", "cpu", *WHOLE["tutorial"])
    result = linreg(*command, cwd=tmp_path, env={"OMP_NUM_THREADS": "1"}, before=Typed(command))
    assert (result.code, result.stderr) == (0, "")
    assert "2 processes share each batch" in result.stdout
    assert_same_run(whole("tutorial", 2), tmp_path)


def test_kills(whole: Callable[[str, int], Path], tmp_path: Path) -> None:
    """A run whose first process is killed, and whose other is asked to end, goes on to the same bits; in one it does
    not.
    """
    folder, alone = tmp_path / "killed", tmp_path / "alone"
    folder.mkdir()
    arguments: tuple[str, ...] = TABLE_JOB
    for victim, number, codes in ((0, signal.SIGKILL, [-9, 2]), (1, signal.SIGTERM, [143, 2])):
        send = {victim: SignalInPhase(number, "mid-epoch", step=40)}
        results = fit(2, *arguments, cwd=folder, before=send.get)
        assert [result.code for result in results] == codes
        assert run_state(folder / RUN) == "interrupted"
        arguments = ("--resume", str(RUN))
    assert "interrupted at step" in results[0].stderr
    shutil.copytree(folder, alone)
    assert [result.code for result in fit(2, *arguments, cwd=folder)] == [0, 0]
    assert_same_run(whole("table", 2), folder)
    other = linreg("fit", *arguments, "--trainer.devices", "1", cwd=alone)
    assert other.code == 0
    assert "processes: 2 before, now 1" in other.stdout
    W, others = newest(folder)["state_dict"]["W"], newest(alone)["state_dict"]["W"]
    assert not torch.equal(W, others)
    assert torch.allclose(W, others, rtol=1e-5)


@dataclass
class FailAt:
    """Raises an error at the batch with this number."""

    number: int

    def __call__(self) -> None:
        from linreg_pl.data.table.training_data import TrainingData
        from linreg_pl.errors import InputError

        real, count = TrainingData.batch, 0

        def batch(data: Any, epoch: int, index: int) -> Any:
            nonlocal count
            count += data.preparation is not None
            if count == self.number:
                raise InputError("the disk is gone")
            return real(data, epoch, index)

        patch(TrainingData, "batch", batch)


def test_error_in_one_process(tmp_path: Path) -> None:
    fail = {1: FailAt(50)}
    results = fit(2, *TABLE_JOB, cwd=tmp_path, before=fail.get)
    assert [result.code for result in results] == [2, 2]
    assert results[0].stderr == "linreg: the disk is gone\n"
    assert run_state(tmp_path / RUN) == "interrupted"
    assert checkpoints(tmp_path / RUN)


def test_full_disk(whole: Callable[[str, int], Path], tmp_path: Path) -> None:
    """Only the first process writes; the run goes on where there is room again."""
    full = {0: FullDisk(9_000)}
    results = fit(2, *TABLE_JOB, cwd=tmp_path, before=full.get)
    assert [result.code for result in results] == [2, 2]
    assert re.fullmatch(rf"linreg: {RUN}[^\n]*File too large[^\n]*make room[^\n]*\n", results[0].stderr)
    assert [result.code for result in fit(2, "--resume", "auto", cwd=tmp_path)] == [0, 0]
    assert_same_run(whole("table", 2), tmp_path)


def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """It sends SIGINT to all processes at once. They may have taken different numbers of steps."""
    send = {rank: SignalInPhase(signal.SIGINT, "mid-epoch", step=40 + rank) for rank in range(2)}
    first, second = fit(2, *TABLE_JOB, cwd=tmp_path, before=send.get)
    assert (first.code, first.stderr.count("\n"), second.code) == (130, 1, 2)
    assert f"linreg fit --resume {RUN}" in first.stderr
    assert run_state(tmp_path / RUN) == "interrupted"


@dataclass
class SignalAtTheEnd:
    """Sends this process SIGTERM when it hears that the run is over."""

    def __call__(self) -> None:
        from linreg_pl.data.processes import Processes

        real = Processes.summed

        def summed(world: Any, values: torch.Tensor) -> torch.Tensor:
            total = real(world, values)
            if total[-4] > 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return total

        patch(Processes, "summed", summed)


def test_signal_at_the_end(tmp_path: Path) -> None:
    """It must not end a process that the first one still counts on; that has said what small batches cost."""
    late = {1: SignalAtTheEnd()}
    results = fit(2, *TABLE_JOB, cwd=tmp_path, before=late.get)
    assert [result.code for result in results] == [0, 0]
    assert results[0].stdout.count("WARNING   batches of 100 rows are faster in one process: leave --trainer.dev") == 1


def test_divergence_on_the_rows_of_one_process(tmp_path: Path) -> None:
    """The first one's rows are all 0, and can't diverge."""
    table = pa.table({"x": [0.0] * 500 + [1000.0] * 500, "y": np.arange(1000.0)})
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet", row_group_size=500)
    job = ("--data", "TableDataModule", "--data.path", "table.parquet", "--data.target", "y", *PLAIN)
    results = fit(2, *job, "--model.learning_rate", "1", cwd=tmp_path)
    assert [result.code for result in results] == [3, 2]
    assert results[0].stderr.startswith("linreg: diverged at step")
    assert run_state(tmp_path / RUN) == "diverged"


def test_refused(tmp_path: Path) -> None:
    result = linreg("fit", "--trainer.devices", "2", "--trainer.accelerator", "gpu", cwd=tmp_path)
    assert result.code == 2
    assert "--trainer.accelerator gpu is for one process" in result.stderr
