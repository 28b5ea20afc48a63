"""Runs a command in several processes, as torchrun or srun starts them; `tests/commands.py` forks them."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.commands import Result, Running, linreg, start
from tests.sabotage import patch

LINREG = Path(sys.executable).with_name("linreg")


def of_torchrun(size: int, rank: int) -> dict[str, str]:
    """Returns the variables that torchrun sets on one machine."""
    local = {"LOCAL_WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    return {"TORCHELASTIC_RUN_ID": "tests", "WORLD_SIZE": str(size), "RANK": str(rank), **local}


def of_srun(size: int, rank: int) -> dict[str, str]:
    """Returns the variables that `srun --ntasks SIZE` sets on one machine."""
    job = {"JOB_ID": "1", "JOB_NAME": "linreg", "NODELIST": "127.0.0.1", "NNODES": "1", "NODEID": "0"}
    tasks = {"NTASKS": str(size), "STEP_NUM_TASKS": str(size), "STEP_TASKS_PER_NODE": str(size), "STEP_NUM_NODES": "1"}
    own = {"PROCID": str(rank), "LOCALID": str(rank)}
    return {f"SLURM_{name}": value for name, value in {**job, **tasks, **own}.items()}


def start_ranks(
    size: int,
    *args: str,
    cwd: Path,
    launcher: Callable[[int, int], dict[str, str]] = of_torchrun,
    before: Callable[[int], Callable[[], None] | None] = lambda rank: None,
) -> list[Running]:
    """Starts `linreg args…` in `size` processes of one thread, as a launcher does; `before(rank)` is called before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        start(*args, cwd=cwd, env={**shared, **launcher(size, rank)}, before=before(rank), name=f"-{rank}")
        for rank in range(size)
    ]


def ranks(size: int, *args: str, cwd: Path, **more: Any) -> list[Result]:
    """Runs a command in `size` processes to its end; see `start_ranks`."""
    return [each.wait() for each in start_ranks(size, *args, cwd=cwd, **more)]


def answer(size: int, *args: str, cwd: Path, **more: Any) -> Any:
    """Returns what `linreg args… --json` prints in `size` processes, of which rank 0 alone prints."""
    results = [linreg(*args, "--json", cwd=cwd)] if size == 1 else ranks(size, *args, "--json", cwd=cwd, **more)
    assert [result.code for result in results] == [0] * size, results
    assert not any(result.stdout + result.stderr for result in results[1:]), results
    return json.loads(results[0].stdout)


def is_alive(pid: int) -> bool:
    """Returns whether a process runs or is stopped; one that has ended may still wait for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Returns the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@dataclass
class Typed:
    """Makes this process look like `linreg args…` that was typed, and start the others as forks of itself."""

    args: tuple[str, ...]
    then: Callable[[], None] | None = None

    def __call__(self) -> None:
        from lightning.pytorch.strategies.launchers import subprocess_script

        from linreg_pl.cli import siblings

        sys.argv = [str(LINREG), *self.args]
        for module in (siblings, subprocess_script):
            patch(module, "subprocess", SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE))
        if self.then is not None:
            self.then()


class Forked(subprocess.Popen[bytes]):
    """Runs `linreg args…` in a fork of this process, which has imported everything."""

    def _execute_child(self, command: list[str], *rest: Any) -> None:
        self.pid = os.fork()
        environment, stdin, other_end = rest[5], rest[9], rest[10]
        if self.pid == 0:
            from linreg_pl.cli.commands import COMMANDS
            from linreg_pl.cli.main import main

            os.environ.update(environment)
            if stdin >= 0:
                os.dup2(stdin, 0)
                sys.stdin = os.fdopen(0)  # multiprocessing has closed the former
                os.close(other_end)
            os._exit(main(list(dropwhile(lambda part: part not in COMMANDS, command))))
        if stdin >= 0:
            os.close(stdin)
        self._child_created = True
