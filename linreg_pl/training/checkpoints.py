"""What is in a checkpoint, when is one written, and what is checked before one is used?

A checkpoint is Lightning's own: `torch.load(path, weights_only=True)` gives a dict whose `state_dict` holds `W` and
`b`, with the optimizer's state, the loops' counters, the hyper-parameters and `global_step` beside it. Its name is its
step: `checkpoints/step=4000.ckpt` in the run's folder.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.errors import InputError
from linreg_pl.training.lines import checked_interval
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.run import checkpoint_folder, checkpoints, run_folder

KEPT = 3
"""Checkpoints that stay; older ones go once a newer is written."""


class EpochCheckpoints(Checkpoint):
    """Saves after each epoch that `checkpoint_every_n_epochs` divides, and at the end.

    It counts optimizer steps where Lightning's `ModelCheckpoint` counts epochs, whose count is off by one after some
    resumes, and saves after the update, where that one warns of manual optimization.
    """

    def __init__(self, checkpoint_every_n_epochs: int = 100) -> None:
        self.every_n_epochs = checked_interval("checkpoint_every_n_epochs", checkpoint_every_n_epochs)
        self._saved_step = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves, where an interval has just ended."""
        if trainer.global_step % (self.every_n_epochs * int(trainer.num_training_batches)) == 0:
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end, unless an interval has."""
        if trainer.global_step != self._saved_step:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        run = run_folder(trainer)
        if run is None:
            return
        for logger in trainer.loggers:
            logger.save()  # points that are not on disk at a kill would be missing from the resumed curve
        trainer.save_checkpoint(checkpoint_folder(run) / f"step={trainer.global_step}.ckpt")
        self._saved_step = trainer.global_step
        for old in checkpoints(run)[:-KEPT]:
            old.unlink()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's contents, on the CPU; code in it never runs.

    Raises:
        InputError: there is no such file, it is damaged, or it holds no linear regression.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint; a run's lie in RUN/checkpoints/step=….ckpt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
            damaged = archive.testzip()
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise InputError(f"{path}: the checkpoint is damaged, or is none; take an older one") from error
    if damaged:
        raise InputError(f"{path}: the checkpoint is damaged ({damaged} fails its checksum); take an older one")
    if not isinstance(checkpoint, dict) or not {"W", "b"} <= set(checkpoint.get("state_dict", ())):
        raise InputError(f"{path}: this checkpoint holds no W and b; it was saved by another program")
    return checkpoint


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
