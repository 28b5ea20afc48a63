"""Ends this process with that which has started it: torchrun, srun, or the first process of the command.

It imports nothing slow.
"""

import os
import signal
import time
from threading import Thread

from linreg_pl.data.place import place_from_launcher

LAUNCHER = "LAUNCHER_PID_OF_LINREG"
"""The environment variable with the process of the command that has started this one."""


def end_with_parent() -> None:
    """Ends this process by SIGTERM, which saves a run, when its launcher has ended, if it has one."""
    if LAUNCHER not in os.environ and place_from_launcher() is None:
        return
    parent = int(os.environ.get(LAUNCHER, os.getppid()))

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, daemon=True).start()
