"""Prepares the model from a user's own loader, and the loader's batches for training."""

import math
from typing import Any

import torch

from linreg_pl.core.scaling import Scaling
from linreg_pl.data.loader_rows import LoaderRows, checked_batch
from linreg_pl.data.loaders import Batch
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.checkpoint_contents import CheckpointContents, LoaderState, add_to_checkpoint
from linreg_pl.training.preparation import PreparedModule, planned_epochs
from linreg_pl.training.problem import Problem
from linreg_pl.training.users_loader import accept_listed_batches, start_anew, users_rows


class AnyLoaderModule(PreparedModule):
    """A prepared model that trains on batches in the user's units too, from a loader that no data module made."""

    _has_raw_batches = True  # whether batches are a user's own: in the user's units, and unchecked
    _loader_rows: LoaderRows | None = None
    _loader_state: LoaderState | None = None
    _share_of_rows = 1.0  # rows of the batch, divided by those of a batch on average; multiplies the gradient

    def setup(self, stage: str) -> None:
        """Sets what depends on a data module.

        A user's own loader waits for `configure_optimizers`, as a checkpoint is loaded before that.

        Raises:
            InputError: l2 is to be chosen, and the trainer has a user's own loader.
        """
        super().setup(stage)
        if stage != "fit":
            return
        self._has_raw_batches = not isinstance(getattr(self.trainer, "datamodule", None), BatchDataModule)
        self._loader_rows, self._loader_state, self._share_of_rows = None, None, 1.0
        if self._has_raw_batches:
            if self.settings.l2 == "auto":
                raise InputError(
                    "l2 is auto, and a loader's rows have no folds: give l2 a number, or train on a TableDataModule"
                )
            accept_listed_batches(self.trainer)

    def on_fit_start(self) -> None:
        """Learns from the loader now, if another `configure_optimizers` did not."""
        self.learn_from_loader()
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate if math.isnan(group["lr"]) else group["lr"]

    def teardown(self, stage: str) -> None:
        """Forgets the user's loader, which a copy of the module would copy too, and takes rows back from a device."""
        self._loader_rows = None
        if stage == "fit":
            self.hold_rows_on(torch.device("cpu"))

    def hold_rows_on(self, device: torch.device) -> None:
        """Lets a data module make batches on a device, if it can."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, BatchDataModule):
            data.hold_on(device)

    def learn_from_loader(self) -> None:
        """Sets what follows from the rows of a user's own loader, if a checkpoint did not have it.

        Raises:
            InputError: the loader's batches can't be used for this.
        """
        is_needed = self._has_raw_batches and self.settings.needs_of_data and self._loader_state is None
        rows = self._rows_of_loader() if is_needed else None
        if rows is not None:
            self.learn_from(rows, planned_epochs(self.trainer, rows))
            self._loader_state = LoaderState(rows.steps_per_epoch, rows.batch_size, rows.mean_weight)
            start_anew(self.trainer, rows)

    def _rows_of_loader(self) -> LoaderRows | None:
        if self._loader_rows is None:
            self._loader_rows = users_rows(self.trainer, *self.W.shape)
        return self._loader_rows

    def problem_of_run(self) -> Problem:
        """Returns the problem that the rows of the trainer's data or loader pose; takes passes over them, once.

        Raises:
            InputError: the loader's batches can't be used for this.
        """
        if not self._has_raw_batches:
            return self.problem(self.trainer.datamodule)  # type: ignore[attr-defined]
        rows = self._rows_of_loader()
        assert rows is not None, "a run of no batches does not begin"
        posed = self.problem(rows)
        start_anew(self.trainer, rows)
        return posed

    def total_steps(self) -> float:
        """Returns the number of steps of the run; infinite if it has no end."""
        trainer, state = self.trainer, self._loader_state
        if trainer.num_training_batches != math.inf or trainer.max_epochs == -1:
            return trainer.estimated_stepping_batches
        of_epochs = math.inf if state is None else state.steps_per_epoch * (trainer.max_epochs or 1)
        return of_epochs if trainer.max_steps == -1 else min(of_epochs, trainer.max_steps)

    def prepared(self, batch: Any) -> Batch:
        """Standardizes a batch of a user's own loader in float64, and rounds it to the type of W.

        Sets the share of rows, so that all rows count alike, also in a last batch that is smaller than the others.

        Raises:
            InputError: it can't be used.
        """
        x, y, *weights = checked_batch(batch, *self.W.shape)
        state, dtype = self._loader_state, self.W.dtype
        if self.standardize:
            x, y = Scaling(self.x_mean, self.x_scale, self.y_mean).standardized(x, y)
        if state is not None:
            self._share_of_rows = len(x) / state.batch_size
            weights = [weight / state.mean_weight for weight in weights]
        return (x.to(dtype), y.to(dtype), *(weight.to(dtype) for weight in weights))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes what an earlier run learnt of its loader, and the learning rate: nothing is learnt from another pass.

        A data module is treated as in `PreparedModule`.
        """
        contents = CheckpointContents.from_dict(checkpoint)
        is_fit = self._trainer is not None and self.trainer.state.fn == "fit"
        if is_fit and self._has_raw_batches and contents.loader is not None and contents.descent is not None:
            self._loader_state = contents.loader
            if self.settings.learning_rate == "auto":
                self.learning_rate = contents.descent.lr
        super().on_load_checkpoint(checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the learning rate in force, and what was learnt of a user's own loader."""
        super().on_save_checkpoint(checkpoint)
        add_to_checkpoint(checkpoint, loader=self._loader_state)
