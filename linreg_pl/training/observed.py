"""Brings the curves, the gap and the checks of the command to any trainer."""

import logging
from os import PathLike
from pathlib import Path
from typing import IO, Self

from lightning.pytorch import Callback

from linreg_pl.data.loader_rows import reads_rows_by_number
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError, quoted
from linreg_pl.training.loader_fit import AnyLoaderModule
from linreg_pl.training.possible_settings import require_float64, require_possible_trainer


class ObservedModule(AnyLoaderModule):
    """A model whose runs are checked, drawn and compared with the exact solution, whichever trainer trains it."""

    measures_gap = True
    """Whether a run under a plain trainer is compared with the exact solution, which may take passes over the rows."""

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Loads a model from a checkpoint, or from the newest good checkpoint of a run's folder.

        Args:
            path: A checkpoint, or a folder such as `lightning_logs/version_0`.

        Raises:
            InputError: there is no checkpoint, or it can't be used.

        Example:
            >>> linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4]).trainer.save_checkpoint("line.ckpt")
            >>> linreg_pl.LinearRegression.load("line.ckpt").predict([3.0]).round(3)
            array([5.])
        """
        # Imported here: runs are a layer above, as they know what a checkpoint contains.
        from linreg_pl.runs.resume import checkpoint_at

        contents = checkpoint_at(Path(path)).contents
        model = cls(**{name: value for name, value in contents.hyper_parameters.items() if name[:1] != "_"})
        model.on_load_checkpoint(contents.to_dict())
        model.load_state_dict(contents.state_dict)
        return model

    def export(self, file: str | PathLike[str] | IO[bytes], format: str | None = None) -> None:
        """Writes the model to a file for other programs, which need nothing of this package.

        Args:
            file: The file's name, or a file that is open for writing bytes.
            format: json, sql, onnx or pt2; by default what the name ends in.

        Raises:
            InputError: there is no such format, the model is not trained, or a package is missing.
            OSError: nothing can be written there.

        Example:
            >>> linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4]).export("line.sql")
            >>> "x0" in Path("line.sql").read_text()
            True
        """
        # Imported here: exports are a layer above, as they know what a model has learnt.
        from linreg_pl.export.files import export

        export(self, file, format)

    def extra_repr(self) -> str:
        """Returns D, K and the other settings, for `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in vars(self.settings).items())

    def configure_callbacks(self) -> list[Callback]:
        """Returns no callbacks: puts the missing ones before the trainer's own, which may read a step's metrics.

        Lightning calls it before it makes loggers and folders. An override calls it too.

        Raises:
            InputError: a setting or a callback of the trainer is not possible here.
        """
        require_possible_trainer(self.trainer)
        data = getattr(self.trainer, "datamodule", None)
        if self.trainer.state.fn != "fit" and isinstance(data, BatchDataModule) and self.columns.learnt:
            data.read_like(self.columns.learnt)  # by name, with the fit's categories and means
        if self.trainer.state.fn == "fit":
            # Imported here: callbacks are a layer above, as they know this class. The one import that goes up lets
            # `LinearRegression` be a single class, which has its curves wherever it is imported from.
            from linreg_pl.callbacks.plain_run import missing_callbacks

            callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
            callbacks[:0] = missing_callbacks(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Sets what depends on the data, after a check of its size; logs that the rows of the fit are scored.

        Raises:
            InputError: a data module has another number of features or targets than the model, or the device lacks
                float64.
        """
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, BatchDataModule):
            require_same_size(data, *self.W.shape)
            if stage != "fit" and self.columns.learnt and data.feature_names != self.feature_names:
                raise InputError(
                    f"the model was fitted on {quoted(self.feature_names)}, and these rows have"
                    f" {quoted(data.feature_names)}: give the same columns, in the same order"
                )
        if isinstance(data, BatchDataModule) and stage in ("validate", "test") and self.was_fitted_on(data):
            self._log_scored_rows(data.part_not_held_out)
        super().setup(stage)
        require_float64(self.trainer, self)

    def _log_scored_rows(self, part: str) -> None:
        if part:
            logging.getLogger("linreg_pl").warning(
                "%s scores all rows, those of the fit too, as none are held out: give the data %s_fraction or %s_path",
                *("validate" if part == "val" else "test", part, part),
            )

    @property
    def wants_gap(self) -> bool:
        """Returns whether the gap is wanted, and the exact solution minimises this model's J."""
        return self.measures_gap and not self.has_own_loss

    @property
    def may_measure_gap(self) -> bool:
        """Returns whether passes for the exact solution leave the training batches as they are.

        Surely so if a loader reads rows by their numbers. Another may draw its rows anew at each iteration, so that a
        pass is taken only where the model has learnt from one anyway. There is no gap to another loss's minimum.
        """
        data = getattr(self.trainer, "datamodule", None)
        is_safe = isinstance(data, BatchDataModule) or bool(self.settings.needs_of_data)
        return self.wants_gap and (is_safe or reads_rows_by_number(self.trainer.train_dataloader))


def require_same_size(data: BatchDataModule, num_features: int, num_targets: int) -> None:
    """Checks that the model has D features and K targets, as the data has.

    Raises:
        InputError: it has not.
    """
    for name, size, given in (
        ("num_features", num_features, data.num_features),
        ("num_targets", num_targets, data.num_targets),
    ):
        if size != given:
            kind = name.removeprefix("num_")
            raise InputError(
                f"the data has {given} {kind}, and {name} is {size}: build the model with {name}=data.{name}"
            )
