"""What is in a checkpoint, and when is one written?

A checkpoint is Lightning's own: `torch.load(path, weights_only=True)` gives a dict whose `state_dict` holds `W` and
`b`, with the optimizer's state, the loops' counters, the hyper-parameters and `global_step` beside it. Its name is its
step: `checkpoints/step=4000.ckpt` in the run's folder.
"""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from linreg_pl.runs.durable_files import unfinished_files
from linreg_pl.runs.folder import checkpoint_folder, checkpoints, run_folder, step_of
from linreg_pl.training.checkpoint_contents import CheckpointContents
from linreg_pl.training.due import Interval, has_ended, next_multiple, validation_follows

KEPT = 3
"""Checkpoints that stay; older ones go once a newer is safe."""


class EpochCheckpoints(Checkpoint):
    """Saves after each epoch that `checkpoint_every_n_epochs` divides, and at the end.

    It counts optimizer steps where Lightning's `ModelCheckpoint` counts epochs, whose count is off by one after some
    resumes, and saves after the update, where that one warns of manual optimization.

    Where a step is followed by a validation, it is saved after that: a resumed run does not come back to validate it.
    A run that goes on removes what lies past its start: other settings made it, or it is damaged. Where a rule has
    stopped it there, the file is written anew, or a kill would be followed by the way to that stop once more.

    Args:
        checkpoint_every_n_epochs: Epochs from one checkpoint to the next; null for a twentieth of the run.
    """

    def __init__(self, checkpoint_every_n_epochs: int | None = 100) -> None:
        self.interval = Interval("checkpoint_every_n_epochs", checkpoint_every_n_epochs)
        self.saved_step: int | None = None
        self.saves_start = False  # for settings that were changed: the file has to know them before a kill

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Sees whether the run goes on from a stop."""
        self.saves_start |= CheckpointContents.from_dict(checkpoint).progress.stopped_by is not None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the start, where that is asked for, and removes the checkpoints past it."""
        run = run_folder(trainer)
        if run is None:
            return
        if self.saves_start:
            self.save(trainer)
        for path in checkpoints(run):
            if step_of(path) > trainer.global_step:
                path.unlink()

    def next_due(self, trainer: Trainer, step: int) -> int:
        """The next step that is saved."""
        return next_multiple(self.interval.epochs(trainer) * int(trainer.num_training_batches), step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves, where an interval has just ended."""
        if not validation_follows(trainer):
            self._save_at_interval(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what a validation has kept waiting."""
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
        """Saves this step, unless it is saved, and removes what is too old."""
        run = run_folder(trainer)
        if run is None or self.saved_step == trainer.global_step:
            return
        for logger in trainer.loggers:
            logger.save()  # points that are not in the file at a kill would be missing from the resumed curve
        trainer.save_checkpoint(checkpoint_folder(run) / f"step={trainer.global_step}.ckpt")
        self.saved_step = trainer.global_step
        for leftover in unfinished_files(checkpoint_folder(run)):  # from a kill inside a save
            leftover.unlink()
        for old in checkpoints(run)[:-KEPT]:
            old.unlink()
