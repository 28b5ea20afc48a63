"""Starts the processes of a command, or joins those that torchrun or SLURM have started."""

import signal

import torch
from jsonargparse import Namespace

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.job import Start
from linreg_pl.cli.siblings import Siblings
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.base import Rows
from linreg_pl.data.lifeline import Lifeline
from linreg_pl.data.place import Place, place_by_variables, place_from_launcher
from linreg_pl.errors import InputError, ToldElsewhere
from linreg_pl.signals import leave_at_signals
from linreg_pl.training.quiet import quiet


class Launched:
    """The processes of a command: their world, and how this one ends.

    Args:
        size: Number of processes.
        place: Of this process; None for the first one, if it is to start the others.
        siblings: Starts them; Lightning does so for a command that trains.

    Raises:
        InputError: they can't be started, or one can't be reached.
    """

    def __init__(self, size: int, place: Place | None, siblings: Siblings | None) -> None:
        self.world: World = ALONE
        self._lifeline: Lifeline | None = None
        if size == 1:
            return
        for number in (signal.SIGINT, signal.SIGTERM):  # nothing is to be saved while processes wait for each other
            signal.signal(number, signal.SIG_DFL)
        from linreg_pl.cli.connection import connected, divide_threads  # not at the top: slow to import

        divide_threads(size if place is None else place.local_size)
        if siblings is None:
            from linreg_pl.cli.lightning_processes import started_by_lightning  # likewise

            with quiet("lightning.pytorch.utilities.rank_zero"):
                self._lifeline, self.world = started_by_lightning(size, place)
        else:
            place = place or siblings.start(size)
            siblings.release()
            self._lifeline, self.world = connected(place, siblings.children, siblings.listener)
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


def launched(command: str, settings: Namespace, start: Start, siblings: Siblings) -> Launched:
    """Starts or joins the processes that a command's settings ask for.

    Raises:
        InputError: the command does not share its rows, or several processes can't read them.
        ToldElsewhere: likewise, in processes that are not to print it.
    """
    given = place_from_launcher()
    try:
        size = number_of_processes(command, settings, given)
        if size > 1:
            require_shareable(command, settings, start)
    except InputError as error:
        if given is not None and given.rank:
            raise ToldElsewhere from error
        raise
    place = place_by_variables(size) if given is None and size > 1 else given
    return Launched(size, place, None if COMMANDS[command].trains else siblings)


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


def number_of_processes(command: str, settings: Namespace, given: Place | None) -> int:
    """Returns how many processes share the rows: as many as the launcher has started, if one has.

    Raises:
        InputError: the settings do not say how many to start, or say another number, or the command is one process.
    """
    if not COMMANDS[command].shares_rows:
        if given is not None and given.size > 1:
            raise InputError(
                f"linreg {command} is one process, and torchrun or srun has started several: leave that out; fit, solve"
                " and path share the rows among several"
            )
        return 1
    devices, num_nodes = settings.trainer.devices, int(settings.trainer.num_nodes)
    if isinstance(devices, list):
        devices = len(devices)
    if not str(devices).isdecimal() or int(devices) == 0:
        raise InputError(f"--trainer.devices {devices} is not possible here: give the number of processes")
    size = int(devices) * num_nodes
    if given is not None:
        if size not in (1, given.size):
            raise InputError(
                f"--trainer.devices {devices}: this makes {size} processes, and torchrun or srun has started"
                f" {given.size}: leave --trainer.devices and --trainer.num_nodes out"
            )
        return given.size
    if num_nodes > 1:
        raise InputError(
            f"--trainer.num_nodes {num_nodes}: start the command on each machine by torchrun or srun instead"
        )
    if num_nodes < 1:
        raise InputError(f"--trainer.num_nodes {num_nodes} is not possible here: leave it out")
    return size
