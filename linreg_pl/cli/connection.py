"""Joins the processes of a command, however they were started."""

import os
import socket
from collections.abc import Sequence
from datetime import timedelta
from subprocess import Popen

import torch
import torch.distributed as dist

from linreg_pl.data.lifeline import JOINING, Lifeline
from linreg_pl.data.place import Place
from linreg_pl.data.processes import Processes, connection_failed
from linreg_pl.errors import InputError


def connected(
    place: Place, children: Sequence[Popen[bytes]] = (), listener: socket.socket | None = None
) -> tuple[Lifeline, Processes]:
    """Joins this process with the others.

    Args:
        place: Of this process.
        children: The processes that it has started.
        listener: A socket of the port at which all find each other, if it is open already.

    Raises:
        InputError: a process can't be reached.
    """
    try:
        socket.getaddrinfo(place.host, place.port)
        lifeline = Lifeline(place, children, listener)
        dist.init_process_group("gloo", store=lifeline.store, rank=place.rank, world_size=place.size, timeout=JOINING)
        # One process may read for hours while others wait: the lifeline ends that sooner where there is reason to.
        return lifeline, Processes(dist.new_group(timeout=timedelta(days=1)))
    except socket.gaierror as error:
        raise InputError(
            f"process 0 is on {place.host}, and this machine knows no address of that name: set the variable"
            " MASTER_ADDR to its address, for all processes"
        ) from error
    except (RuntimeError, OSError) as error:
        if "EADDRINUSE" in str(error):
            raise InputError(
                f"port {place.port} of {place.host} is in use: set the variable MASTER_PORT to a free one, for all"
                " processes"
            ) from error
        raise connection_failed(error) from error


def divide_threads(local_size: int) -> None:
    """Lets the processes of a machine use its processors together, unless the environment says how many threads."""
    if "OMP_NUM_THREADS" not in os.environ:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = int(os.environ.get("SLURM_CPUS_PER_TASK", 0)) or max(1, processors // local_size)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)
