"""Locks a run's folder, so that only one process at a time trains in it."""

import contextlib
import fcntl
import time
from pathlib import Path
from typing import IO

from linreg_pl.errors import InputError


def lock(run: Path) -> IO[str]:
    """Locks the run's folder for this process. The kernel unlocks it when the process ends, however it ends.

    Raises:
        InputError: another process has locked it.
    """
    file = (run / ".lock").open("w")
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(0.01)  # another process may be in `is_locked`, which locks the folder for a moment
    file.close()
    raise InputError(f"{run}: another process is training in this folder; wait for it, or stop it")


def is_locked(run: Path) -> bool:
    """Returns whether a process is training in this folder."""
    try:
        with lock(run):
            return False
    except InputError:
        return True
    except OSError:  # the folder is read-only
        return False
