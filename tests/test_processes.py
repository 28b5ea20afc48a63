"""Several processes share the rows of a table: the same bits again, errors told once, and no process left behind.

The processes are real, and connected by gloo on loopback. `tests/ranks.py` forks them as torchrun starts
them; `tests/test_shared_rows.py` has what they compute, and `tests/cluster` the long forms.
"""

import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from linreg_pl.cli.error_messages import WriteError
from linreg_pl.data.processes import blocking, portable
from tests.commands import linreg, start
from tests.ranks import Typed, answer, children, is_alive, of_srun, of_torchrun, ranks, start_ranks
from tests.sabotage import Impatient, Late, NoteJoining, SlowReading
from tests.waiting import wait_until

NUM_ROWS = 3000
AGAIN = "start the command again, a run with --resume auto\n"
TABLE = ("--data", "TableDataModule", "--data.target", "y")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with a table in row groups."""
    folder, generator = tmp_path_factory.mktemp("tables"), np.random.default_rng(5)
    x = generator.standard_normal((NUM_ROWS, 3)) + 100
    columns: dict[str, Any] = {f"x{index}": column for index, column in enumerate(x.T)}
    columns["y"] = x @ [1.0, -2.0, 3.0] + generator.standard_normal(NUM_ROWS)
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet", row_group_size=400)
    return folder


def test_same_bits_again(folder: Path) -> None:
    """Two launches give the same bits, the second one by the variables of srun."""
    flags = ("solve", *TABLE, "--data.path", "t.parquet", "--data.memory_limit", "0", "--robust", "HC1")
    assert answer(2, *flags, cwd=folder) == answer(2, *flags, cwd=folder, launcher=of_srun)


def with_value(folder: Path, name: str, value: float | None) -> str:
    """Writes a table with a value in row 2501, which the last process reads; returns its name."""
    x = [float(number % 7) for number in range(NUM_ROWS)]
    column = pa.array([*x[:2500], value, *x[2501:]], pa.float64())
    table = pa.table({"x": column, "y": np.arange(float(NUM_ROWS)) % 5})
    pyarrow.parquet.write_table(table, folder / name, row_group_size=500)
    return name


def test_error_of_one_process_is_told_once(tmp_path: Path) -> None:
    """The message is that of one process, with the row's number in the whole table."""
    content = ["x,y", *(f"{number % 7},{number % 5}" for number in range(NUM_ROWS))]
    content[2501] += ",1"
    (tmp_path / "long.csv").write_text("\n".join(content))
    command = ("solve", *TABLE, "--data.path", "long.csv")
    alone, (first, second) = linreg(*command, cwd=tmp_path), ranks(2, *command, cwd=tmp_path)
    assert "row 2501" in alone.stderr
    assert (first.code, first.stdout, first.stderr) == (2, "", alone.stderr)
    assert (second.code, second.stdout, second.stderr) == (2, "", "")


def test_missing_value_of_one_process(tmp_path: Path) -> None:
    """Its row is dropped, with the same note."""
    command = ("solve", *TABLE, "--data.path", with_value(tmp_path, "few.parquet", None))
    alone, (first, second) = linreg(*command, cwd=tmp_path), ranks(2, *command, cwd=tmp_path)
    assert "missing" in alone.stderr
    assert (first.code, first.stderr, second.stderr) == (0, alone.stderr, "")


@dataclass
class Elsewhere:
    """Moves this process to another folder, where it sees other files."""

    folder: Path

    def __call__(self) -> None:
        os.chdir(self.folder)


def test_process_with_other_settings_is_named(folder: Path) -> None:
    """Once, by process 0."""

    def other(size: int, rank: int) -> dict[str, str]:
        return {**of_torchrun(size, rank), **({"LINREG_SOLVE__MODEL__L2": "1"} if rank == 1 else {})}

    first, second = ranks(2, "solve", *TABLE, "--data.path", "t.parquet", cwd=folder, launcher=other)
    assert first.code == second.code == 2
    assert "process 1 on" in first.stderr
    assert "has other settings than process 0" in first.stderr
    assert second.stderr == ""


def test_process_that_sees_other_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    name = with_value(tmp_path, "t.parquet", 1.0)
    command = ("solve", *TABLE, "--data.path", name)
    move = {1: Elsewhere(tmp_path / "other")}
    missing = ranks(2, *command, cwd=tmp_path, before=move.get)
    assert [each.code for each in missing] == [2, 2]
    assert missing[0].stderr.startswith("linreg: process 1 on ")
    assert "t.parquet: there is no such file" in missing[0].stderr
    with_value(tmp_path / "other", "t.parquet", 2.0)
    differing = ranks(2, *command, cwd=tmp_path, before=move.get)
    assert [each.code for each in differing] == [2, 2]
    assert "has other files than process 0: t.parquet of" in differing[0].stderr
    assert missing[1].stderr + differing[1].stderr == ""


@pytest.mark.parametrize(
    ("victim", "number", "codes"),
    [
        (1, signal.SIGKILL, [2, -9, 2]),
        (0, signal.SIGTERM, [143, 2]),
    ],
)
def test_end_of_one_process_ends_all(victim: int, number: signal.Signals, codes: list[int], tmp_path: Path) -> None:
    """Rank 1 reads for minutes, and the others wait for it."""
    command, begun = ("solve", *TABLE, "--data.path", with_value(tmp_path, "t.parquet", 1.0)), tmp_path / "begun"
    slow = {1: SlowReading(begun)}
    running = start_ranks(len(codes), *command, cwd=tmp_path, before=slow.get)
    wait_until(begun.exists, running[1].process.is_alive)
    os.kill(running[victim].pid, number)
    end = time.monotonic() + 10
    results = [each.wait() for each in running]
    assert time.monotonic() < end
    assert [each.code for each in results] == codes
    told = f"linreg: process 1 (pid {running[1].pid} on {socket.gethostname()}) was ended; {AGAIN}"
    assert [each.stderr for each in results] == [told if victim else "", *[""] * (len(codes) - 1)]


@pytest.mark.parametrize("victim", [0, 1])
def test_killed_while_another_is_to_join(victim: int, folder: Path, tmp_path: Path) -> None:
    """The launcher ends those that have not joined yet."""
    joined = tmp_path / "joined"
    command = ("solve", *TABLE, "--data.path", "t.parquet")
    before: dict[int, Callable[[], None]] = {0: NoteJoining(joined), 2: Late()}
    *running, late = start_ranks(3, *command, cwd=folder, before=before.get)
    wait_until(joined.exists, running[0].process.is_alive)
    os.kill(running[victim].pid, signal.SIGKILL)
    end = time.monotonic() + 10
    results = [each.wait() for each in running]
    assert time.monotonic() < end
    assert [each.code for each in results] == ([2, -9] if victim else [-9, 2])
    told = f"linreg: process 1 (pid {running[1].pid} on {socket.gethostname()}) was ended; {AGAIN}"
    assert [each.stderr for each in results] == [told if victim else "", ""]
    os.kill(late.pid, signal.SIGKILL)
    assert late.wait().code == -signal.SIGKILL


@pytest.mark.parametrize("victim", ["the first", "the last"])
def test_killed_while_another_is_imported(victim: str, folder: Path) -> None:
    """The first process has started the others, and ends with each of them."""
    command = ("solve", *TABLE, "--trainer.devices", "3", "--data.path", "t.parquet")
    first = start(*command, cwd=folder, before=Typed(command, Late()))
    wait_until(lambda: len(children(first.pid)) == 2, first.process.is_alive)
    others = children(first.pid)
    os.kill(first.pid if victim == "the first" else others[-1], signal.SIGKILL)
    end = time.monotonic() + 10
    result = first.wait()
    wait_until(lambda: not any(map(is_alive, others)))
    assert time.monotonic() < end
    told = f"linreg: process 2 (pid {others[-1]}) ended with exit code -9; {AGAIN}"
    assert (result.code, result.stderr) == ((-9, "") if victim == "the first" else (2, told))


def test_process_that_is_stopped_ends_the_others(tmp_path: Path) -> None:
    """A long read does not. The stopped process ends when it continues."""
    command, begun = ("solve", *TABLE, "--data.path", with_value(tmp_path, "t.parquet", 1.0)), tmp_path / "begun"
    stopped, other = start_ranks(
        2, *command, cwd=tmp_path, before=lambda rank: Impatient(4, SlowReading(begun) if rank else None)
    )
    wait_until(begun.exists, other.process.is_alive)
    time.sleep(6)
    os.kill(stopped.pid, signal.SIGSTOP)
    result = other.wait()
    assert (result.code, result.stderr) == (2, no_answer(0, stopped.pid))
    os.kill(stopped.pid, signal.SIGCONT)
    result = stopped.wait()
    assert (result.code, result.stderr) == (2, "")


def no_answer(rank: int, pid: int) -> str:
    """Returns what is printed when a process does not answer for 4 s."""
    state = "has not answered for 4 s: it is stopped, or its machine can't be reached; end it, and"
    return f"linreg: process {rank} (pid {pid} on {socket.gethostname()}) {state} {AGAIN}"


def test_process_that_does_not_join(folder: Path) -> None:
    """The other one gives the reason after a stated time."""

    def of_three(size: int, rank: int) -> dict[str, str]:
        return {**of_torchrun(3, rank), "LOCAL_WORLD_SIZE": "3"}

    results = ranks(
        2, "solve", *TABLE, "--data.path", "t.parquet", cwd=folder, launcher=of_three, before=lambda rank: Impatient(4)
    )
    assert [each.code for each in results] == [2, 2]
    assert results[0].stderr == f"linreg: not all processes have joined within 4 s; {AGAIN}"
    assert results[1].stderr == ""


def test_started_by_the_first_process(tmp_path: Path) -> None:
    """Its exit code is the command's, and the other's end is not taken for a crash."""
    command = ("solve", *TABLE, "--trainer.devices", "2", "--data.path", with_value(tmp_path, "inf.parquet", np.inf))
    result = linreg(*command, cwd=tmp_path, before=Typed(command))
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "column 'x', row 2501: inf is not a finite number" in result.stderr


@pytest.mark.parametrize("flags", [("--model.l2", "x"), ("--trainer.num_nodes", "2"), ("--print_config",)])
def test_others_that_wait_end_with_the_first(flags: tuple[str, ...], folder: Path) -> None:
    """It has started them before it knows whether the command is possible; they print nothing."""
    command = ("solve", *TABLE, "--trainer.devices", "2", "--data.path", "t.parquet", *flags)
    alone = linreg(*command, cwd=folder)
    assert linreg(*command, cwd=folder, before=Typed(command)) == alone
    assert (alone.code, alone.stderr.count("\n")) == ((0, 0) if flags == ("--print_config",) else (2, 1))


def test_number_in_a_file_differs_from_the_flag(folder: Path) -> None:
    (folder / "three.yaml").write_text("trainer: {devices: 3}")
    command = ("solve", *TABLE, "--data.path", "t.parquet")
    several = (*command, "--trainer.devices", "2", "--config", "three.yaml")
    result = linreg(*several, cwd=folder, env={"OMP_NUM_THREADS": "1"}, before=Typed(several))
    assert result == linreg(*command, cwd=folder)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("tune",), "linreg tune is one process"),
        (("solve",), "several processes can't share the rows of SyntheticDataModule"),
        (("path", "--trainer.devices", "3"), "this makes 3 processes, and torchrun or srun has started 2: leave"),
    ],
)
def test_refused(command: tuple[str, ...], words: str, tmp_path: Path) -> None:
    first, second = ranks(2, *command, cwd=tmp_path)
    assert (first.code, second.code, second.stderr) == (2, 2, "")
    assert words in first.stderr
    assert first.stderr.count("\n") == 1


@pytest.mark.parametrize("devices", ["auto", "0", "[]"])
def test_refused_before_a_process_is_started(devices: str, tmp_path: Path) -> None:
    result = linreg("solve", *TABLE, "--data.path", "t.csv", "--trainer.devices", devices, cwd=tmp_path)
    assert result.code == 2
    assert f"--trainer.devices {len(devices) - 2 if devices == '[]' else devices} is not possible" in result.stderr


def test_port_in_use(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        place = {**of_torchrun(2, 0), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        result = linreg("solve", *TABLE, "--data.path", "t.parquet", cwd=folder, env=place)
    told = (
        f"linreg: port {port} of 127.0.0.1 is in use: set the variable MASTER_PORT to a free one, for all processes\n"
    )
    assert (result.code, result.stderr) == (2, told)


def test_unknown_host(folder: Path) -> None:
    place = {**of_srun(2, 1), "MASTER_ADDR": "no.such.host.invalid"}
    result = linreg("solve", *TABLE, "--data.path", "t.parquet", cwd=folder, env=place)
    assert result.code == 2
    assert result.stderr.startswith("linreg: process 0 is on no.such.host.invalid, and this machine knows no address")


def test_full_disk_is_told_to_all() -> None:
    """The error has another constructor than its message, and is the same in another process."""
    error = WriteError("runs: nothing can be written there (no space)", "--trainer.default_root_dir")
    received = pickle.loads(pickle.dumps(portable(error)))
    assert (type(received), str(received), received.cause) == (WriteError, str(error), error.cause)


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python aborts if a thread that has called torch ends while it shuts down."""
    real = Future.set_result

    def slow(future: Future[Any], result: Any) -> None:
        real(future, result)
        time.sleep(0.2)

    monkeypatch.setattr(Future, "set_result", slow)
    assert not blocking(threading.current_thread).is_alive()
