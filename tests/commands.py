"""Runs the command `linreg` as a real process of its own.

The processes are forked from a server that imports the program once. Each then costs a fraction of a second, not the
three seconds of the import. Parallel tests share one server.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.preload"])
server: Any = forkserver._forkserver

SHARED_SERVER = "LINREG_TESTS_SERVER"
"""The variable of the environment that holds the address of the shared server."""


def share_server() -> None:
    """Starts the server, for this process and those that it will start; the server ends with this process."""
    server.ensure_running()
    os.environ[SHARED_SERVER] = server._forkserver_address


if SHARED_SERVER in os.environ:  # multiprocessing has no public way to use the server of another process
    server._forkserver_address = os.environ[SHARED_SERVER]
    server._forkserver_alive_fd = os.pipe()[1]  # passed to each command; nobody reads it
    server.ensure_running = resource_tracker.ensure_running


@dataclass(frozen=True)
class Result:
    """The exit code of a command and what it printed; the code is negative if a signal ended the process."""

    code: int
    stdout: str
    stderr: str


class Running:
    """A running command."""

    def __init__(self, process: BaseProcess, args: tuple[str, ...], stdout: Path, stderr: Path) -> None:
        self.process, self.args, self.stdout, self.stderr = process, args, stdout, stderr

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait(self) -> Result:
        """Waits for the end of the command, and returns its result."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"linreg {' '.join(self.args)} took more than {PATIENCE} s")
        result = Result(self.process.exitcode, self.stdout.read_text(), self.stderr.read_text())
        self.stdout.unlink()
        self.stderr.unlink()
        return result


def start(
    *args: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    name: str = "",
) -> Running:
    """Starts `linreg args…` in the folder `cwd`, with `env` added to the environment; not a terminal.

    `before` is called in the new process before the command, to prepare what will happen to it. `name` distinguishes
    several commands in one folder.
    """
    stdout, stderr = cwd / f".stdout{name}", cwd / f".stderr{name}"
    stdout.touch()
    stderr.touch()
    process = context.Process(target=_run, args=(list(args), cwd, dict(env or {}), stdout, stderr, before), daemon=True)
    process.start()
    return Running(process, args, stdout, stderr)


def linreg(
    *args: str, cwd: Path, env: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> Result:
    """Runs a command to its end; see `start`."""
    return start(*args, cwd=cwd, env=env, before=before).wait()


@dataclass
class Program:
    """Runs a program in place of the command, in a process that has imported the package."""

    code: str

    def __call__(self) -> None:
        exec(self.code, {"__name__": "__main__"})
        sys.exit()


def run_python(code: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Runs a program to its end, in a fork like those of the command."""
    return linreg(cwd=cwd, env=env, before=Program(code))


def _run(
    args: list[str], cwd: Path, env: dict[str, str], stdout: Path, stderr: Path, before: Callable[[], None] | None
) -> None:
    os.chdir(cwd)
    os.environ.update(env)
    for path, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.dup2(descriptor, stream.fileno())
    from linreg_pl.cli.main import main

    if before is not None:
        before()
    sys.exit(main(args))


def outside_make() -> dict[str, str]:
    """Returns the environment of a person at a prompt, without the flags and ARGS that `make test` passes on."""
    set_by_make = ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
    return {name: value for name, value in os.environ.items() if name not in set_by_make}
