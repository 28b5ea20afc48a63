"""Prepares the model for a run, from the data and from a checkpoint."""

from typing import Any

from torch import Tensor

from linreg_pl.core.scaling import Scaling, standardization
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.checkpoint_contents import CheckpointContents, DescentSettings, add_to_checkpoint
from linreg_pl.training.evaluation import EvaluatedModule
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.problem import Problem, problem


class PreparedModule(EvaluatedModule):
    """A linear model whose means and scales, start and learning rate may follow from the data."""

    settings: HyperParameters
    learning_rate: float  # NaN until the data is known, if it follows from it
    momentum: float
    tail_averaging: float
    fit_intercept: bool
    mean_theta: Tensor  # (1+D, K), mean of b above W over the steps of the tail, if iterates are averaged
    num_averaged: Tensor  # (), number of these steps

    _is_new = True  # neither trained nor loaded
    _problem: tuple[Triangle, Scaling, Problem] | None = None

    def problem(self, data: BatchDataModule) -> Problem:
        """Returns the least-squares problem that this data poses; takes a pass over the data, once."""
        scaling = self.scaling
        if self._problem is None or self._problem[0] is not data.triangle or not self._problem[1].equals(scaling):
            posed = problem(data, self.l2, self.fit_intercept, self.fold_bias, scaling)
            self._problem = data.triangle, scaling, posed
        return self._problem[2]

    def setup(self, stage: str) -> None:
        """Sets what depends on the data: means and scales, the initial b, the learning rate.

        Raises:
            InputError: the settings need the data, and it does not come from a `BatchDataModule`.
        """
        needs = self.settings.needs_of_data
        if stage != "fit" or not needs:
            return
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, BatchDataModule):
            raise InputError(
                f"{needs[0]} takes a pass over the data: train with a SyntheticDataModule or TableDataModule"
            )
        self.learn_from(data)

    def learn_from(self, data: BatchDataModule) -> None:
        """Sets means and scales, the initial b, and the learning rate from the data, as the settings ask."""
        if self.standardize and self.x_scale.isnan().any():  # otherwise W and b are in these units already
            self.standardize_like(data)
        if self.settings.start_at_mean and self.fit_intercept and self._is_new:
            self.b.data.copy_(data.triangle.means[data.num_features :])
        if self.settings.learning_rate == "auto":
            self.learning_rate = self.problem(data).safe_learning_rate(self.momentum)

    def standardize_like(self, data: BatchDataModule) -> None:
        """Takes the features' means and scales from the rows that training draws from."""
        scaling = standardization(data.triangle, self.fit_intercept)
        self.x_mean.copy_(scaling.means)
        self.x_scale.copy_(scaling.scales)
        self.x_scale[self.x_scale == 0] = 1  # too small for float32

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Loads as torch does; W and b no longer count as a new start."""
        self._is_new = False
        return super().load_state_dict(*args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps this module's learning rate, momentum and tail averaging, where the checkpoint's differ.

        With 64-true, converts the module to float64 before Lightning loads the weights, which would lose half their
        bits. Loads means and scales before computing the learning rate from the data, which may be other data.
        """
        contents = CheckpointContents.from_dict(checkpoint)
        for name in ("mean_theta", "num_averaged"):
            if self.tail_averaging:
                contents.state_dict.setdefault(name, getattr(self, name))
            else:
                contents.state_dict.pop(name, None)
        if self._trainer is not None and self.trainer.precision == "64-true":
            self.double()
        data = getattr(self._trainer, "datamodule", None)
        if self.standardize and isinstance(data, BatchDataModule) and self.trainer.state.fn == "fit":
            for name in ("x_mean", "x_scale"):
                getattr(self, name).copy_(contents.state_dict.get(name, getattr(self, name)))
            self.learn_from(data)
        contents.change_descent(self._descent_settings())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves the learning rate in force, which the hyper-parameters do not hold if they say `auto`."""
        add_to_checkpoint(checkpoint, descent=self._descent_settings())

    def _descent_settings(self) -> DescentSettings:
        return DescentSettings(lr=self.learning_rate, momentum=self.momentum)
