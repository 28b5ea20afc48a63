"""The interface of a data module: rows that Lightning trains on.

The optimizer step alone gives the next batch, so a resumed run needs only its step to continue with the right one.
"""

from itertools import zip_longest
from typing import Any

from lightning.pytorch import LightningDataModule

from linreg_pl.data.base import Rows
from linreg_pl.data.loaders import StepGroups, TrainingBatches
from linreg_pl.errors import InputError, quoted


class BatchDataModule(Rows, LightningDataModule):
    """Rows with D named features and K named targets, cut into `steps_per_epoch` training batches an epoch."""

    _groups: StepGroups | None = None
    _before: dict[str, Any] | None = None  # its attributes, while it reads rows for another fit

    save_hyperparameters = LightningDataModule.save_hyperparameters

    def __init_subclass__(cls) -> None:
        """Lets Python's own messages on arguments name the data module, not its rows, whose `__init__` it has."""
        super().__init_subclass__()
        if cls.__qualname__ == getattr(cls, "data_module", None):
            cls.__init__.__qualname__ = f"{cls.__qualname__}.__init__"

    def group_steps(self, groups: StepGroups | None) -> None:
        """Lets the training loader yield all batches of an execution as one item; None: each batch on its own."""
        self._groups = groups

    def train_dataloader(self) -> TrainingBatches:
        """Returns the batches from the trainer's step on."""
        return TrainingBatches(self, self._groups)

    def read_like(self, design: dict[str, Any]) -> None:
        """Reads rows as the fit that learnt this design has read its own, until the end of the stage."""
        self._before = dict(vars(self))
        self.adopt({"design": design, "checksum_type": "float64"})

    def teardown(self, stage: str) -> None:
        """Reads rows in its own way again."""
        if self._before is not None:
            trainer, attributes = self.trainer, self._before
            vars(self).clear()
            vars(self).update(attributes, trainer=trainer)

    def on_exception(self, exception: BaseException) -> None:
        """Reads rows in its own way again."""
        self.teardown("")

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Adopts the checkpoint's state, and compares the checkpoint's columns with the data's.

        Raises:
            InputError: their names or their order differ.
        """
        self.adopt(state_dict)
        for key, flag in (("feature_names", "--data.features"), ("target_names", "--data.target")):
            saved, present = list(state_dict[key]), list(getattr(self, key))
            differing = [pair for pair in zip_longest(saved, present, fillvalue="") if len(set(pair)) > 1]
            if differing:
                old, new = (quoted(list(filter(None, names))) or "none" for names in zip(*differing, strict=True))
                raise InputError(
                    f"the checkpoint was fitted with {key} {old} where the data has {new}; choose them with {flag}"
                )
