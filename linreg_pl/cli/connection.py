"""Starts the processes beside the first one by Lightning's launcher, and connects all."""

import os
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from linreg_pl.cli.parent_process import LAUNCHER
from linreg_pl.data.lifeline import JOINING, Lifeline, end_with_children
from linreg_pl.data.processes import Processes, connection_failed
from linreg_pl.errors import InputError


def connected(devices: int, num_nodes: int) -> tuple[Lifeline, Processes]:
    """Starts the other processes if nobody has, and connects all.

    Raises:
        InputError: Lightning refuses the numbers, or a process can't be reached.
    """
    os.environ.setdefault(LAUNCHER, str(os.getpid()))  # for the processes that Lightning starts from here
    try:
        strategy: Any = Trainer(
            accelerator="cpu",  # the exact solution is computed there
            strategy="ddp",
            devices=devices,
            num_nodes=num_nodes,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).strategy

        def join() -> tuple[Lifeline, Processes]:
            started = strategy.launcher.procs
            children = list(started)
            started.clear()  # Lightning would kill this process without a word, where one of these ends
            end_with_children(children)
            at, rank, size = strategy.cluster_environment, strategy.global_rank, strategy.world_size
            lifeline = Lifeline(at.main_address, at.main_port, rank, size, children)
            dist.init_process_group("gloo", store=lifeline.store, rank=rank, world_size=size, timeout=JOINING)
            strategy.setup_environment()
            # One process may read for hours while others wait: the lifeline ends that sooner where there is reason to.
            return lifeline, Processes(dist.new_group(timeout=timedelta(days=1)))

        joined: tuple[Lifeline, Processes] = strategy.launcher.launch(join)
    except InputError:
        raise
    except (ValueError, MisconfigurationException) as error:
        raise InputError(
            f"Lightning refuses --trainer.devices {devices} ({error}); change it, or leave it out"
        ) from error
    except (RuntimeError, OSError) as error:
        raise connection_failed(error) from error
    return joined
