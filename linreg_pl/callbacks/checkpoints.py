"""Saves checkpoints while a run trains; `training/checkpoint_contents.py` describes what is in one.

A checkpoint is named by its step: `checkpoints/step=4000.ckpt` in the run's folder.
"""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.callbacks.run_end import has_ended
from linreg_pl.runs.durable_files import unfinished_files
from linreg_pl.runs.folder import checkpoint_folder, checkpoints, run_folder, step_of
from linreg_pl.training.checkpoint_contents import CheckpointContents
from linreg_pl.training.due import Interval, validation_follows


class EpochCheckpoints(Checkpoint):
    """Saves a checkpoint every `checkpoint_every_n_epochs` epochs, and at the end.

    It counts optimizer steps; Lightning's `ModelCheckpoint` counts epochs, whose count is off by one after some
    resumes. It saves after the update; `ModelCheckpoint` warns of manual optimization.

    If a validation follows a step, the checkpoint is saved after the validation, which a resumed run does not repeat.
    A run that goes on removes the checkpoints after its start: other settings made them, or they are damaged. If a
    rule stopped the run at its start, that checkpoint is saved again. Otherwise a kill would bring the stop back.

    Args:
        checkpoint_every_n_epochs: Epochs from one checkpoint to the next; null for a twentieth of the run.
    """

    num_kept = 3
    """Older checkpoints are removed once a newer one is safe."""

    def __init__(self, checkpoint_every_n_epochs: int | None = 100) -> None:
        self.interval = Interval("checkpoint_every_n_epochs", checkpoint_every_n_epochs)
        self.saved_step: int | None = None
        self.saves_start = False  # set if settings were changed: a kill must not bring the old ones back

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Finds out whether the run goes on after a rule stopped it."""
        self.saves_start |= CheckpointContents.from_dict(checkpoint).progress.stopped_by is not None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the start if that is needed, and removes the checkpoints after it."""
        run = run_folder(trainer)
        if run is None:
            return
        if self.saves_start:
            self.save(trainer)
        for path in checkpoints(run):
            if step_of(path) > trainer.global_step:
                path.unlink()

    def next_due(self, trainer: Trainer, step: int) -> int:
        """Returns the next step after `step` that is saved."""
        steps_per_epoch = int(trainer.num_training_batches)
        return self.interval.next_due(trainer, step // steps_per_epoch) * steps_per_epoch

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves if an interval has just ended and no validation follows."""
        if not validation_follows(trainer):
            self._save_at_interval(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves if an interval ended before this validation."""
        if trainer.state.fn == "fit":
            self._save_at_interval(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the end."""
        self.save(trainer)

    def _save_at_interval(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if self.next_due(trainer, step - 1) == step and not has_ended(trainer):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Saves the newest step, unless it is saved already, and removes old checkpoints."""
        run = run_folder(trainer)
        if run is None or self.saved_step == trainer.global_step:
            return
        for logger in trainer.loggers:
            logger.save()  # after a kill, the resumed curve needs the points before the checkpoint
        trainer.save_checkpoint(checkpoint_folder(run) / f"step={trainer.global_step}.ckpt")
        self.saved_step = trainer.global_step
        for path in unfinished_files(checkpoint_folder(run)):  # from a kill during a save
            path.unlink()
        for path in checkpoints(run)[: -self.num_kept]:
            path.unlink()
