"""Checks that a checkpoint fits the model and the data: shape, columns, units and settings."""

from typing import Any

import torch

from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import CheckpointFile
from linreg_pl.training.checkpoint_contents import CheckpointContents
from linreg_pl.training.module import LinearRegression

CONTENTS = "contents of the data"


def require_suitable(checkpoint: CheckpointFile | None, model: LinearRegression, data: BatchDataModule) -> None:
    """Checks that the checkpoint, if there is one, was fitted on the data's columns and in the model's units.

    Raises:
        InputError: it was not.
    """
    if checkpoint is not None:
        require_same_shape(checkpoint, model)
        require_same_columns(checkpoint, data)
        require_same_units(checkpoint, model)


def require_same_shape(checkpoint: CheckpointFile, module: LinearRegression) -> None:
    """Compares the shape of the checkpoint's W with the module's.

    Raises:
        InputError: they differ.
    """
    fitted, needed = tuple(checkpoint.contents.state_dict["W"].shape), tuple(module.W.shape)
    if fitted != needed:
        raise InputError(
            f"{checkpoint.path}: the checkpoint's W has shape {fitted} (features, targets), but the data needs"
            f" {needed}; choose the columns it was fitted on with --data.features and --data.target"
        )


def require_same_columns(checkpoint: CheckpointFile, data: BatchDataModule) -> None:
    """Compares the checkpoint's columns with the data's, even if the data module is of another class.

    Raises:
        InputError: the columns differ, or their order does.
    """
    if checkpoint.contents.data is not None:  # Lightning compares only data modules of the same class
        try:
            data.load_state_dict(checkpoint.contents.data.values)
        except InputError as error:
            raise InputError(f"{checkpoint.path}: {error}") from error


def require_same_units(checkpoint: CheckpointFile, model: LinearRegression) -> None:
    """Compares the settings that decide the units of W and b. No run can continue in other units.

    Raises:
        InputError: one differs.
    """
    saved = checkpoint.contents.hyper_parameters
    for name in ("standardize", "fit_intercept"):
        if saved.get(name, model.hparams[name]) != model.hparams[name]:
            raise InputError(
                f"{checkpoint.path}: the checkpoint's {name} is {saved[name]}; W and b have another meaning if it is"
                f" {model.hparams[name]}: leave out --model.{name}, or start a new run"
            )


def require_same_settings(
    checkpoint: CheckpointFile, model: LinearRegression, data: BatchDataModule, precision: Any
) -> None:
    """Compares the checkpoint's settings with those to continue with.

    Raises:
        InputError: one differs that changes the mathematics.
    """
    changes = changed_settings(checkpoint.contents, model, data, precision)
    if changes:
        rows = [change for change in changes if change.startswith(CONTENTS)]
        remedies = (["leave them out"] if len(changes) > len(rows) else []) + (["restore the rows"] if rows else [])
        raise InputError(
            f"{checkpoint.path}: settings differ from the checkpoint's: {'; '.join(changes)}. To go on with the new"
            f" ones, add --allow_changed_settings true; to go on unchanged, {' and '.join(remedies)}"
        )


def require_same_length(checkpoint: CheckpointFile, model: LinearRegression, steps: int) -> None:
    """Compares the run's length with the one for which its schedule, average and l1 were planned.

    Raises:
        InputError: it differs.
    """
    planned = checkpoint.contents.progress.total_steps
    if model.depends_on_length and planned is not None and planned != steps:
        before = "left out, as the run had no end" if planned == -1 else f"planned for {planned} steps"
        after = "it has no end" if steps == -1 else f"there are {steps}"
        raise InputError(
            f"{checkpoint.path}: the run's schedule, average or l1 was {before}, and now {after}. To go on"
            " with the new length, add --allow_changed_settings true; to go on unchanged, leave it out"
        )


def changed_settings(
    checkpoint: CheckpointContents, model: LinearRegression, data: BatchDataModule, precision: Any
) -> list[str]:
    """Returns how the checkpoint's settings differ from those to continue with, as `name: old, now new`.

    Compares all hyper-parameters but the paths of tables and their memory limit. Compares the contents of the tables
    that are fitted and validated, if as many processes read them as before.
    """
    if checkpoint.data_state(type(data)) is None or checkpoint.data is None:
        return [f"data: not {type(data).__name__}"]
    current = {**data.hparams, **model.hparams}
    # Checkpoints of earlier versions have no l1.
    saved = {"l1": 0.0, **checkpoint.datamodule_hyper_parameters, **checkpoint.hyper_parameters}
    not_compared = {"path", "val_path", "test_path", "memory_limit"}
    names = [name for name in current if name in saved and name not in not_compared and current[name] != saved[name]]
    changes = [f"{name}: {saved[name]}, now {current[name]}" for name in names]
    num_parts = [str(each).count("-") for each in (checkpoint.data.fingerprint, data.fingerprint)]  # one a process
    if checkpoint.data.fingerprint != data.fingerprint and num_parts[0] == num_parts[1]:
        changes.append(f"{CONTENTS}: {checkpoint.data.fingerprint}, now {data.fingerprint}")
    bits, needed = 64 if checkpoint.state_dict["W"].dtype == torch.float64 else 32, 64 if "64" in str(precision) else 32
    if bits < needed or (bits > needed and not model.precondition):  # a preconditioned run may choose 64 by itself
        changes.append(f"precision: {bits}-true, now {precision}")
    return changes
