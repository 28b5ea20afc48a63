"""The command `linreg` as a real process of its own.

The processes are forked from a server that has imported the program once: each costs a fraction of a second, not the
three seconds of the import.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["linreg_pl.cli"])

SECONDS_AT_MOST = 120


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


def linreg(*args: str, cwd: Path, env: Mapping[str, str] | None = None) -> Result:
    """Runs `linreg args…` in the folder `cwd`, with `env` added to the environment; not a terminal."""
    stdout, stderr = cwd / ".stdout", cwd / ".stderr"
    process = _context.Process(target=_run, args=(list(args), cwd, dict(env or {}), stdout, stderr))
    process.start()
    process.join(SECONDS_AT_MOST)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"linreg {' '.join(args)} took more than {SECONDS_AT_MOST} s")
    result = Result(process.exitcode, stdout.read_text(), stderr.read_text())
    stdout.unlink()
    stderr.unlink()
    return result


def _run(args: list[str], cwd: Path, env: dict[str, str], stdout: Path, stderr: Path) -> None:
    os.chdir(cwd)
    os.environ.update(env)
    for path, stream in ((stdout, sys.stdout), (stderr, sys.stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, stream.fileno())
    from linreg_pl.cli import main

    sys.exit(main(args))
