"""Writes checkpoints for Lightning, and loads those that were checked."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from linreg_pl.runs.checkpoint_file import CheckpointFile, read_checkpoint
from linreg_pl.runs.durable_files import write_durably


class DurableCheckpointIO(TorchCheckpointIO):
    """Saves and loads checkpoints for Lightning, safe from kills, full disks and damaged files.

    Lightning's own class writes by way of `$TMPDIR`, flushes nothing to the disk, and loads all that torch can
    unpickle.

    Args:
        read: The checkpoint that Lightning is going to load, if it was read already; it is not read again.
    """

    def __init__(self, read: CheckpointFile | None = None) -> None:
        super().__init__()
        self._read = read

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Writes the file whole or not at all."""
        contents = io.BytesIO()
        torch.save(checkpoint, contents)
        write_durably(Path(path), contents.getvalue())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Callable[..., Any] | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Returns what `read_checkpoint` returns, whatever the arguments ask for: never a URL, never code."""
        read = self._read
        file = read if read is not None and read.path == Path(path) else read_checkpoint(Path(path))
        return file.contents.to_dict()
