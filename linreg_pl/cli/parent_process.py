"""Knows who has started this process: torchrun, srun, or the first process of the command. Imports nothing slow."""

import os
import signal
import time
from threading import Thread

LAUNCHER = "LAUNCHER_PID_OF_LINREG"
"""The environment variable with the process that has started this one."""


def started_outside() -> tuple[int, int]:
    """Returns how many processes torchrun or srun has started on each machine, and on how many; else 1 and 1."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        size, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        return local, size // local
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        size, num_nodes = (int(os.environ[f"SLURM_STEP_NUM_{name}"]) for name in ("TASKS", "NODES"))
        return size // num_nodes, num_nodes
    return 1, 1


def end_with_parent() -> None:
    """Ends this process by SIGTERM, which saves a run, when its launcher has ended, if it has one."""
    if LAUNCHER not in os.environ and started_outside() == (1, 1):
        return
    parent = int(os.environ.get(LAUNCHER, os.getppid()))

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, daemon=True).start()
