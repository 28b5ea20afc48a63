"""Does a checkpoint belong to this model and this data: their shape, their columns, their settings?"""

from pathlib import Path
from typing import Any

import torch

from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.module import LinearRegression


def require_same_shape(path: Path, checkpoint: dict[str, Any], module: LinearRegression) -> None:
    """Compares a checkpoint's W with the module's.

    Raises:
        InputError: they differ in shape.
    """
    fitted, here = tuple(checkpoint["state_dict"]["W"].shape), tuple(module.W.shape)
    if fitted != here:
        raise InputError(
            f"{path}: the checkpoint's W has shape {fitted} (features, targets), but the data asks for {here};"
            " choose the columns it was fitted on with --data.features and --data.target"
        )


def require_same_columns(path: Path, checkpoint: dict[str, Any], data: BatchDataModule) -> None:
    """Compares a checkpoint's columns with the data's, of whatever class either is.

    Raises:
        InputError: they are others, or stand in another order.
    """
    for fitted in BatchDataModule.__subclasses__():  # Lightning looks only for the state of the very same class
        if fitted.__qualname__ in checkpoint:
            try:
                data.load_state_dict(checkpoint[fitted.__qualname__])
            except InputError as error:
                raise InputError(f"{path}: {error}") from error


PLACES = ("path", "val_path", "test_path", "memory_limit")
"""Settings that say where rows lie."""

UNITS = ("standardize", "fit_intercept")
"""Settings that say what W and b mean: no run can go on in others."""


def require_same_units(path: Path, checkpoint: dict[str, Any], model: LinearRegression) -> None:
    """Compares what a checkpoint's W and b mean with what the module takes them for.

    Raises:
        InputError: something else.
    """
    then = checkpoint.get("hyper_parameters", {})
    for name in UNITS:
        if then.get(name, model.hparams[name]) != model.hparams[name]:
            raise InputError(
                f"{path}: the checkpoint's {name} is {then[name]}, and W and b mean something else where it is"
                f" {model.hparams[name]}: leave out --model.{name}, or start a new run"
            )


def require_same_settings(
    path: Path, checkpoint: dict[str, Any], model: LinearRegression, data: BatchDataModule, precision: Any
) -> None:
    """Compares a checkpoint's settings with those to go on with.

    Raises:
        InputError: one differs that changes the mathematics.
    """
    changes = changed_settings(checkpoint, model, data, precision)
    if changes:
        raise InputError(
            f"{path}: settings differ from the checkpoint's: {'; '.join(changes)}. To go on with the new ones,"
            " add --allow_changed_settings true; to go on unchanged, leave them out"
        )


def require_same_length(path: Path, checkpoint: dict[str, Any], model: LinearRegression, steps: int) -> None:
    """Compares the length of a run with that over which its schedule or its average was laid out.

    Raises:
        InputError: it is another.
    """
    then = checkpoint.get("progress", {}).get("total_steps", steps)
    if model.is_laid_out and then != steps:
        raise InputError(
            f"{path}: the run's schedule or average is laid out over {then} steps, and now there are {steps}. To go on"
            " with the new length, add --allow_changed_settings true; to go on unchanged, leave it out"
        )


def changed_settings(
    checkpoint: dict[str, Any], model: LinearRegression, data: BatchDataModule, precision: Any
) -> list[str]:
    """What differs between a checkpoint's settings and those to go on with, as `name: old, now new`.

    All hyper-parameters count, but for the places of tables, of which the contents count that are fitted or validated,
    and the memory they may take.
    """
    now = {**data.hparams, **model.hparams}
    then = {**checkpoint.get("datamodule_hyper_parameters", {}), **checkpoint.get("hyper_parameters", {})}
    state = checkpoint.get(type(data).__qualname__)
    if state is None:
        return [f"data: not {type(data).__name__}"]
    names = [name for name in now if name not in PLACES and name in then and now[name] != then[name]]
    changes = [f"{name}: {then[name]}, now {now[name]}" for name in names]
    if state.get("fingerprint") != data.fingerprint:
        changes.append(f"contents of the data: {state.get('fingerprint')}, now {data.fingerprint}")
    bits = 64 if checkpoint["state_dict"]["W"].dtype == torch.float64 else 32
    if bits != (64 if "64" in str(precision) else 32):
        changes.append(f"precision: {bits}-true, now {precision}")
    return changes
