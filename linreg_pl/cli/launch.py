"""Starts the processes of a command on Lightning's engine, or joins those that torchrun or SLURM have started."""

import math
import os
import signal
from collections.abc import Mapping
from typing import Any

import torch
from jsonargparse import Namespace

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.job import Start
from linreg_pl.cli.parent_process import started_outside
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.base import Rows
from linreg_pl.data.lifeline import Lifeline
from linreg_pl.errors import InputError, ToldElsewhere
from linreg_pl.signals import leave_at_signals
from linreg_pl.training.quiet import quiet


class Launched:
    """The processes of a command: their world, and how this one ends.

    Args:
        trainer: The trainer's settings; None for a command of one process.

    Raises:
        InputError: Lightning refuses them.
    """

    def __init__(self, trainer: Namespace | None) -> None:
        devices, num_nodes = (1, 1) if trainer is None else layout(trainer)
        self.world: World = ALONE
        self._lifeline: Lifeline | None = None
        if devices * num_nodes == 1:
            return
        for number in (signal.SIGINT, signal.SIGTERM):  # nothing is to be saved while processes wait for each other
            signal.signal(number, signal.SIG_DFL)
        from linreg_pl.cli.connection import connected  # not at the top: one process may do without Lightning

        with quiet("lightning.pytorch.utilities.rank_zero"):
            self._lifeline, self.world = connected(devices, num_nodes)
        leave_at_signals()
        import pyarrow  # not at the top: it is slow, and one process may have no table

        pyarrow.set_cpu_count(torch.get_num_threads())

    def end(self) -> None:
        """Ends the connections to the other processes, before this one ends."""
        if self._lifeline is not None:
            self._lifeline.end()

    def mute(self) -> None:
        """Lets this process end at a signal, with its own exit code."""
        if self._lifeline is not None:
            self._lifeline.mute()


def launched(command: str, settings: Namespace, start: Start) -> Launched:
    """Starts or joins the processes that a command's settings ask for.

    Raises:
        InputError: the command does not share its rows, or several processes can't read them.
        ToldElsewhere: likewise, in processes that are not to print it.
    """
    if not COMMANDS[command].shares_rows:
        if math.prod(started_outside()) > 1:
            if os.environ.get("RANK", os.environ.get("SLURM_PROCID")) != "0":
                raise ToldElsewhere
            raise InputError(
                f"linreg {command} is one process, and torchrun or srun has started several: leave that out; fit, solve"
                " and path share the rows among several"
            )
        return Launched(None)
    if math.prod(layout(settings.trainer)) > 1:
        require_shareable(command, settings, start)
    return Launched(settings.trainer)


def require_agreement(world: World, settings: Namespace, start: Start) -> None:
    """Checks that all processes have the same settings, and resume the same checkpoint.

    Raises:
        InputError: one has others.
    """
    entries = [f"--{name} {value}" for name, value in settings.items() if name != "config"]  # its contents are compared
    world.require_same("settings", entries)
    world.require_same("checkpoints", [f"{start.path} of step {start.steps}"])


def require_shareable(command: str, settings: Namespace, start: Start) -> None:
    """Refuses what several processes can't share.

    Raises:
        InputError: there is something.
    """
    if start.checkpoint is not None and command != "fit":
        raise InputError("--ckpt_path is for one process: leave --trainer.devices out")
    for name, possible in (("accelerator", ("auto", "cpu")), ("strategy", ("auto", "ddp"))) if command == "fit" else ():
        if settings.trainer[name] not in possible:
            raise InputError(
                f"--trainer.{name} {settings.trainer[name]} is for one process: leave it out, or --trainer.devices"
            )


def share_downloads(world: World) -> None:
    """Lets one process of each machine download what the others read, too."""
    if world.size > 1:
        from linreg_pl.data.table import remote  # not at the top: slow to import

        remote.world = world


def share_rows(data: Rows, world: World, command: str) -> None:
    """Lets the processes share the rows, after a check that they see the same files.

    A run shares each batch, also of data whose rows are in every process.

    Raises:
        InputError: files differ, or the data can't be shared.
    """
    if world.size == 1:
        return
    if not data.shares_rows:
        if command == "fit":
            world.sees_same_files = True  # none
            return
        raise InputError(
            f"several processes can't share the rows of {data}: leave --trainer.devices out, or give --data"
            " TableDataModule"
        )
    from linreg_pl.data.table.files import file_stamp  # not at the top: slow to import

    world.require_same("files", [f"{path} {file_stamp(path)}" for path in data.paths])
    world.sees_same_files = True
    data.world = world


def layout(trainer: Mapping[str, Any] | Namespace) -> tuple[int, int]:
    """Returns the number of processes on each machine, and that of machines; torchrun and srun have said so.

    Raises:
        InputError: the settings do not say how many processes to start.
    """
    devices, num_nodes = trainer["devices"], trainer["num_nodes"]
    if isinstance(devices, list):
        devices = len(devices)
    if not str(devices).isdigit():
        raise InputError(f"--trainer.devices {devices} is not possible here: give the number of processes")
    if int(devices) * num_nodes == 1:
        return started_outside()
    if num_nodes > 1 and started_outside() == (1, 1):
        raise InputError(
            f"--trainer.num_nodes {num_nodes}: start the command on each machine by torchrun or srun instead"
        )
    return int(devices), num_nodes
