"""Finds the place of this process among those that torchrun, srun or a process of the same command has started.

It imports nothing slow: the first process starts the others before its own imports.
"""

import os
import re
from typing import NamedTuple

from linreg_pl.errors import InputError


class Place(NamedTuple):
    """The place of a process among several."""

    rank: int
    size: int
    local_rank: int  # on this machine
    local_size: int
    host: str  # where the processes find each other: of rank 0
    port: int


def place_from_launcher() -> Place | None:
    """Returns the place that torchrun or srun has given this process; None if neither has started it.

    One task of srun may be an interactive shell, and start further processes by itself.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
        return Place(rank, size, local_rank, local_size, *address("127.0.0.1", 12910))
    # In a shell of salloc, and in the script of sbatch, SLURM_NTASKS says what srun would start there.
    size = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if size == 1 or "SLURM_PROCID" not in os.environ:
        return None
    rank, local_rank, node = (int(os.environ[f"SLURM_{name}ID"]) for name in ("PROC", "LOCAL", "NODE"))
    tasks = tasks_per_node(os.environ.get("SLURM_STEP_TASKS_PER_NODE", str(size)))
    return Place(rank, size, local_rank, tasks[node], *address(first_node(), slurm_port()))


def place_by_variables(size: int) -> Place | None:
    """Returns the place that the first process has given this one; None in the first one itself.

    Raises:
        InputError: a variable is missing.
    """
    if "LOCAL_RANK" not in os.environ:
        return None
    if "MASTER_PORT" not in os.environ:
        raise InputError(
            "the variable LOCAL_RANK is for processes that a launcher starts, and MASTER_PORT is not set: unset"
            " LOCAL_RANK, and start the command again"
        )
    rank = int(os.environ["LOCAL_RANK"])
    return Place(rank, size, rank, size, *address("127.0.0.1", 0))


def address(host: str, port: int) -> tuple[str, int]:
    """Returns where the processes find each other, by default at `host` and `port`."""
    return os.environ.get("MASTER_ADDR", host), int(os.environ.get("MASTER_PORT", port))


def tasks_per_node(text: str) -> list[int]:
    """Returns the numbers that SLURM writes as 2(x3),1: 2, 2, 2, 1."""
    parts = (part.rstrip(")").split("(x") for part in text.split(","))
    return [int(part[0]) for part in parts for _ in range(int(part[1]) if len(part) == 2 else 1)]


def first_node() -> str:
    """Returns the first name in SLURM's list of the nodes of this step: a1 of a[1-3,7],b2."""
    nodes = os.environ.get("SLURM_STEP_NODELIST", os.environ.get("SLURM_NODELIST", "127.0.0.1"))
    return re.split("[ ,]", re.sub(r"\[(\w+)[^]]*\]", r"\1", nodes))[0]


def slurm_port() -> int:
    """Returns a port that all processes of a step know; steps of one job that run at once have different ones."""
    job, step = (int(os.environ.get(f"SLURM_{name}_ID", 0)) for name in ("JOB", "STEP"))
    return 15_000 + (job + 1009 * step) % 10_000
