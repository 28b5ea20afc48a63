"""Starts the processes of `linreg fit` by Lightning's strategy and launcher, where torchrun or srun has not."""

import os
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from linreg_pl.cli.connection import connected
from linreg_pl.cli.parent_process import LAUNCHER
from linreg_pl.data.leaving import end_with_children
from linreg_pl.data.lifeline import Lifeline
from linreg_pl.data.place import Place
from linreg_pl.data.processes import Processes
from linreg_pl.errors import InputError


class KnownPlace(LightningEnvironment):
    """Tells Lightning the place of this process.

    Lightning's own class for SLURM refuses some jobs, such as one with different numbers of tasks on its nodes.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    @property
    def creates_processes_externally(self) -> bool:
        """Returns True: Lightning need not start any."""
        return True

    def world_size(self) -> int:
        """Returns the number of processes."""
        return self._place.size

    def global_rank(self) -> int:
        """Returns the number of this process."""
        return self._place.rank

    def local_rank(self) -> int:
        """Returns the number of this process on its machine."""
        return self._place.local_rank


def started_by_lightning(size: int, place: Place | None) -> tuple[Lifeline, Processes]:
    """Starts the other processes if nobody has, and connects all.

    Args:
        size: Number of processes.
        place: Of this process; None for the first one, which is to start the others.

    Raises:
        InputError: Lightning refuses the number, or a process can't be reached.
    """
    os.environ.setdefault(LAUNCHER, str(os.getpid()))  # for the processes that Lightning starts from here
    try:
        strategy: Any = Trainer(
            accelerator="cpu",  # the exact solution is computed there
            strategy="ddp",
            devices=size if place is None else place.local_size,
            plugins=[LightningEnvironment() if place is None else KnownPlace(place)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).strategy

        def join() -> tuple[Lifeline, Processes]:
            children = list(strategy.launcher.procs)
            strategy.launcher.procs.clear()  # Lightning would kill this process without a word, where one of these ends
            end_with_children(children)
            at = strategy.cluster_environment
            joined = connected(place or Place(0, size, 0, size, at.main_address, at.main_port), children)
            strategy.setup_environment()
            return joined

        joined: tuple[Lifeline, Processes] = strategy.launcher.launch(join)
    except InputError:
        raise
    except (ValueError, MisconfigurationException) as error:
        raise InputError(f"Lightning refuses --trainer.devices {size} ({error}); change it, or leave it out") from error
    return joined
