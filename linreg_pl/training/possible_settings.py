"""Decides which settings and callbacks of Lightning's trainer are not possible here, and what to do instead.

The command checks what its flags say, before it makes a run's folder. A plain trainer is checked as its run begins.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    DeviceStatsMonitor,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelPruning,
    StochasticWeightAveraging,
    ThroughputMonitor,
    WeightAveraging,
)

from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError, without_flags


def impossible_settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the name of each setting of a trainer that is not possible here, and what to do about it.

    Args:
        settings: Values by name; they may lack some names.
    """
    precision, devices = str(settings.get("precision")), settings.get("devices", 1)
    several = len(devices) != 1 if isinstance(devices, list) else str(devices).isdigit()
    several = (several and str(devices) not in ("0", "1")) or devices in ("auto", -1, "-1")
    reason = "this is one process; only the commands fit, solve and path share rows among several"
    is_impossible = {
        "devices": (several, f"give 1, or a list of one device: {reason}"),
        "num_nodes": (settings.get("num_nodes", 1) != 1, f"give 1: {reason}"),
        "gradient_clip_val": (
            bool(settings.get("gradient_clip_val")),
            "leave it out; a lower --model.learning_rate shortens steps",
        ),
        "accumulate_grad_batches": (
            settings.get("accumulate_grad_batches", 1) != 1,
            "leave it out; raise --data.batch_size",
        ),
        "overfit_batches": (bool(settings.get("overfit_batches")), "leave it out; use fewer rows"),
        "limit_train_batches": (
            settings.get("limit_train_batches") is not None,  # jsonargparse may read 1 batch as 1.0, which is all
            "leave it out; --trainer.max_steps shortens a run",
        ),
        "precision": ("mixed" in precision or "16" in precision, "give 32-true or 64-true"),
        "check_val_every_n_epoch": (settings.get("check_val_every_n_epoch") == 0, "give 1 or more"),
        "val_check_interval": (settings.get("val_check_interval") == 0, "give more than 0"),
    }
    return ((name, remedy) for name, (is_so, remedy) in is_impossible.items() if is_so)


def remedy_for(callback: Callback, data: Any) -> str | None:
    """Returns what to do instead of a callback that is not possible with this data; None if it is possible."""
    averages = "leave it out; --model.tail_averaging 0.5 averages W and b over the second half of the run"
    is_summarized = isinstance(data, BatchDataModule) and data.holds_out_rows
    needs_psutil = isinstance(callback, DeviceStatsMonitor) and find_spec("psutil") is None
    remedies: dict[type[Callback], str] = {
        GradientAccumulationScheduler: "leave it out; raise --data.batch_size",
        LearningRateFinder: "leave it out; --model.learning_rate auto computes the learning rate from the rows",
        BatchSizeFinder: "leave it out; give --data.batch_size",
        StochasticWeightAveraging: averages,
        WeightAveraging: averages,
        BaseFinetuning: "leave it out; each step moves all of W and b",
        ModelPruning: "leave it out; --data.features chooses columns",
        **(
            {ThroughputMonitor: "leave it out, or hold out no rows: their summary is no batch"} if is_summarized else {}
        ),
        **({DeviceStatsMonitor: "install psutil, which it needs"} if needs_psutil else {}),
    }
    return next((remedy for kind, remedy in remedies.items() if isinstance(callback, kind)), None)


def require_possible_callbacks(callbacks: list[Callback], data: Any) -> None:
    """Refuses callbacks that would change steps in a way that is not possible, or that can't work with this data.

    Raises:
        InputError: there is one.
    """
    for callback in callbacks:
        remedy = remedy_for(callback, data)
        if remedy is not None:
            raise InputError(f"--trainer.callbacks {type(callback).__name__} is not possible here: {remedy}")


def require_float64(trainer: Trainer, module: LightningModule) -> None:
    """Refuses Apple's GPU for a model with numbers of float64, before they are moved there.

    Raises:
        InputError: the model has some, and the device can't.
    """
    tensors = chain(module.parameters(), module.buffers())
    if trainer.strategy.root_device.type == "mps" and any(tensor.dtype == torch.float64 for tensor in tensors):
        raise InputError("Apple's GPU has no float64, which this model needs: give --trainer.accelerator cpu")


def require_possible_trainer(trainer: Trainer) -> None:
    """Refuses settings and callbacks of a trainer in the command's words, with names of arguments in place of flags.

    A limit on the training batches of a user's own loader means what Lightning says. A data module would give other
    rows at each epoch, and the exact solution is that of all rows.

    Raises:
        InputError: there is one.
    """
    settings = {
        "precision": trainer.precision,
        "devices": trainer.num_devices,
        "num_nodes": trainer.num_nodes,
    }
    data = getattr(trainer, "datamodule", None)
    is_fit, is_trial = trainer.state.fn == "fit", trainer.fast_dev_run  # type: ignore[attr-defined]  # set by setattr
    names = ["gradient_clip_val", "accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval"]
    if isinstance(data, BatchDataModule) and not is_trial:
        names += ["limit_train_batches", "overfit_batches"]
    settings |= {name: getattr(trainer, name) for name in names if is_fit}
    if isinstance(trainer.limit_train_batches, float) and trainer.limit_train_batches == 1:  # Lightning's default
        settings.pop("limit_train_batches", None)
    try:
        for name, remedy in impossible_settings(settings):
            raise InputError(f"--trainer.{name} {settings[name]} is not possible here: {remedy}")
        if is_fit:
            require_possible_callbacks(trainer.callbacks, data)  # type: ignore[attr-defined]
    except InputError as error:
        raise InputError(without_flags(str(error))) from None
