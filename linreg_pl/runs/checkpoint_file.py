"""How does a checkpoint get to the disk whole, and what is checked before one is believed?

Writing: beside its place under another name, flushed to the disk, renamed, and the folder flushed too. At any kill, and
at a power cut, the name stands for the old contents or for the new ones, never for a part of them. The other name is in
the same folder, so that the rename never copies from one file system to another.

Reading: the file's checksums (torch does not look at them: of 400 single flipped bits, 84 were loaded as wrong
weights), no code whatever the environment says, the step in the name, and that every number is finite.
"""

import io
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from linreg_pl.errors import InputError
from linreg_pl.runs.folder import step_of

UNFINISHED = ".unfinished"

PARTS = {"state_dict", "hyper_parameters", "global_step", "pytorch-lightning_version"}
"""What a checkpoint must have."""


def write_durably(path: Path, contents: bytes) -> None:
    """Gives the file `path` these contents, whole; makes its folder if need be.

    Raises:
        OSError: the disk is full, or the folder can't be written. The file is what it was.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        sync_folder(path.parent.parent)
    unfinished = path.with_name(f".{path.name}{UNFINISHED}")
    try:
        with unfinished.open("wb", buffering=0) as file:
            written = 0
            while written < len(contents):  # a nearly full disk takes a part, and says so only at the next write
                written += file.write(contents[written:])
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(error.errno, f"{error.strerror}; what was there before is unharmed", str(path)) from error
    sync_folder(path.parent)


def begin_durably(path: Path) -> IO[bytes]:
    """A file to write what `path` is to hold, in its folder under another name; see `end_durably`.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        return path.with_name(f".{path.name}{UNFINISHED}").open("wb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def end_durably(file: IO[bytes], path: Path) -> None:
    """Gives a file that is written its name, once it is on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    Path(file.name).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's door to checkpoints, made safe against kills, full disks and damaged files.

    Lightning's own writes by way of `$TMPDIR`, flushes nothing to the disk, and believes what torch can unpickle.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Writes all or nothing."""
        contents = io.BytesIO()
        torch.save(checkpoint, contents)
        write_durably(Path(path), contents.getvalue())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """What `read_checkpoint` finds good, whatever is asked for: never a URL, never code."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's contents, on the CPU.

    Raises:
        InputError: there is no such file, it is damaged, it holds no linear regression, or not what its name says.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint; a run's lie in RUN/checkpoints/step=….ckpt")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        checkpoint = torch.load(path, map_location="cpu", weights_only=True) if damaged is None else None
    except PermissionError as error:
        raise InputError(f"{path}: {error.strerror}; change it, or take another checkpoint") from error
    except Exception as error:  # a damaged file can fail anywhere in zipfile, torch or pickle
        reason = "it holds more than numbers and text" if isinstance(error, pickle.UnpicklingError) else "it is damaged"
        raise InputError(f"{path}: this checkpoint can't be used, {reason}; take an older one") from error
    if damaged is not None:
        raise InputError(f"{path}: this checkpoint is damaged, {damaged} fails its checksum; take an older one")
    if (
        not isinstance(checkpoint, dict)
        or PARTS - set(checkpoint)
        or not is_linear_regression(checkpoint["state_dict"])
    ):
        raise InputError(f"{path}: this is no checkpoint of a linear regression; it was saved by another program")
    if step_of(path) not in (-1, checkpoint["global_step"]):
        raise InputError(f"{path}: this checkpoint is of step {checkpoint['global_step']}, not of its name's")
    state = (checkpoint["state_dict"], checkpoint.get("optimizer_states"))
    if not all(torch.isfinite(tensor).all() for tensor in tensors(state)):
        raise InputError(f"{path}: this checkpoint holds a number that is not finite; take an older one")
    return checkpoint


def is_linear_regression(state: Any) -> bool:
    """Whether a `state_dict` holds W (D, K) and b (K,)."""
    W, b = (state.get(name) if isinstance(state, dict) else None for name in ("W", "b"))
    return isinstance(W, Tensor) and isinstance(b, Tensor) and W.ndim == 2 and b.shape == W.shape[1:]


def tensors(state: Any) -> Iterator[Tensor]:
    """All tensors in a nest of dicts, lists and tuples."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from tensors(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from tensors(value)
