"""Prepares the model for a run, from the data and from a checkpoint."""

from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import Schedule
from linreg_pl.core.run_length import Plan
from linreg_pl.core.scaling import Scaling, theta_of
from linreg_pl.core.statistics import unexplained_gaps
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.fit_rows import FitRows
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.checkpoint_contents import CheckpointContents, DescentSettings, add_to_checkpoint
from linreg_pl.training.evaluation import EvaluatedModule
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.l2_choice import chosen_l2
from linreg_pl.training.planning import most_epochs, planned_plain_descent, preconditioned_descent
from linreg_pl.training.posed import posed_problem, scaling_of
from linreg_pl.training.problem import Problem
from linreg_pl.training.proximal_step import set_exact_zeros
from linreg_pl.training.shared_steps import SharedSteps


class PreparedModule(EvaluatedModule):
    """A linear model whose means and scales, start, preconditioner and learning rate may follow from the data."""

    settings: HyperParameters
    learning_rate: float  # NaN until the data is known, if it follows from it
    momentum: float
    tail_averaging: float
    fit_intercept: bool
    precondition: bool
    preconditioner: Tensor  # C (1+D, 1+D), float64: C C' multiplies gradients (b; W); NaN until the data is known
    schedule: Schedule
    mean_theta: Tensor  # (1+D, K), mean of b above W over the steps of the tail, if iterates are averaged
    num_averaged: Tensor  # (), number of these steps

    poses_problem = False
    """Whether the run needs the problem: rows in memory would be read again if it were posed after `setup`."""
    _hparams_initial: dict[str, Any]  # of Lightning, for loggers
    l2_choice: str | None = None
    """How l2 was chosen, in words, if the setting was `auto`."""
    shared_steps: SharedSteps | None = None
    """How several processes take each step together; None for a run of one process."""
    _is_new = True  # neither trained nor loaded
    _path_of_fit: Any = None  # of the table that the model was fitted on
    _problem: tuple[Triangle, Scaling, Problem] | None = None

    @property
    def depends_on_length(self) -> bool:
        """Returns whether a step depends on the length of the run; with l1, the last one sets zeros."""
        return self.schedule != "constant" or self.tail_averaging > 0 or self.l1 > 0

    def problem(self, data: FitRows) -> Problem:
        """Returns the least-squares problem that this data poses; takes a pass over the data, once."""
        scaling = self.scaling
        if self._problem is None or self._problem[0] is not data.triangle or not self._problem[1].equals(scaling):
            preparation = data.preparation
            posed = posed_problem(data, self.settings, scaling)
            if preparation is not None:
                data.prepare(*preparation)
            self._problem = data.triangle, scaling, posed
        return self._problem[2]

    def choose_l2(self, data: FitRows) -> None:
        """Replaces `auto` by the l2 that cross-validation chooses, in the hyper-parameters too; takes a pass.

        Raises:
            InputError: the rows can't be divided into folds, or the model has a loss of its own.
        """
        if self.settings.l2 != "auto":
            return
        if self.has_own_loss:
            raise InputError(
                "l2 is auto, which goes by squared errors, and the model has another loss: give l2 a number"
            )
        assert isinstance(data, BatchDataModule), "a loader is refused in `setup`"
        choice = chosen_l2(data, self.settings)
        self.settings, self.l2_choice = replace(self.settings, l2=choice.l2), choice.reason
        self.l2 = self.hparams["l2"] = self._hparams_initial["l2"] = choice.l2

    def take_problem(self, other: "PreparedModule") -> None:
        """Takes the problem that a model of equal J has posed on the same data, instead of posing it again."""
        names = ("l1", "l2", "fit_intercept", "fold_bias", "standardize", "precondition")
        if all(getattr(self.settings, name) == getattr(other.settings, name) for name in names):
            self._problem = other._problem

    def setup(self, stage: str) -> None:
        """Sets what depends on the data module: means and scales, the initial b, the learning rate."""
        if stage != "fit":
            return
        if self.trainer.precision == "64-true":
            self.double()
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, BatchDataModule):
            if self.settings.needs_of_data:
                self.learn_from(data, planned_epochs(self.trainer, data))
            self._prepare(data)

    def _prepare(self, data: BatchDataModule) -> None:
        self._columns, self._path_of_fit = data.columns, data.hparams.get("path")
        if self.poses_problem and not self.problem(data).has_sizes_of_float32:
            self.double()
        data.prepare(self.scaling if self.standardize else None, self.W.dtype)

    def learn_from(self, data: FitRows, epochs: float | None = None) -> None:
        """Sets what follows from the data, as the settings ask: units, start, type, preconditioner, learning rate.

        Args:
            data: Set up for fit.
            epochs: Length of the run; None if it is not known.
        """
        self.choose_l2(data)
        if self.standardize and self.x_scale.isnan().any():  # otherwise W and b are in these units already
            self.standardize_like(data)
        posed = self.problem(data) if self.settings.preconditions else None
        if posed is not None and posed.exceeds_float32:
            self.double()
        if self.settings.learning_rate == "auto" and not self.problem(data).has_sizes_of_float32:
            self.double()
        # Planning has moved the start already, if the preconditioner fits: another move would change its last bits.
        is_ready = posed is not None and self._fits(posed)
        if self.settings.start_at_mean and self._is_new and not is_ready:
            self._shorten_start(data)
            if self.fit_intercept:
                self.b.data.copy_(data.triangle.means[data.num_features :] - self.scaling.target_means)
        if posed is not None and not is_ready:
            is_first = bool(self.preconditioner.isnan().any())
            self.preconditioner.copy_(posed.preconditioner)
            if is_first:
                self._leave_undetermined_directions(posed)
        if self.settings.learning_rate == "auto":
            self.learning_rate = self._suitable_learning_rate(data, epochs)

    def _fits(self, posed: Problem) -> bool:
        """Returns whether the preconditioner is known, and this problem's, not that of other data."""
        # Columns of zeros, which fewer directions than columns leave, add nothing.
        factors = (C[:, C.any(dim=0)] for C in (self.preconditioner.to("cpu"), posed.preconditioner))
        ours, theirs = (C @ C.T for C in factors)
        return float(torch.linalg.norm(ours - theirs)) <= 1e-6 * float(torch.linalg.norm(theirs))

    def _suitable_learning_rate(self, data: FitRows, epochs: float | None) -> float:
        posed = self.problem(data)
        if epochs is None or not self.covers_distance(posed):
            return posed.safe_learning_rate(self.momentum)
        descent = preconditioned_descent(posed, self.settings, self.W.dtype)
        return descent.of_length(max(1, round(epochs))).learning_rate

    def covers_distance(self, posed: Problem) -> bool:
        """Returns whether the learning rate follows from the distance to cover, and not from stability alone."""
        return posed.is_preconditioned and self.schedule == "cosine" and not self.momentum

    def planned(self, data: BatchDataModule) -> Plan:
        """Returns the length of a run that ends close to the exact solution, and its learning rate."""
        self.learn_from(data)
        posed = self.problem(data)
        if self.covers_distance(posed) and self.settings.learning_rate == "auto":
            return preconditioned_descent(posed, self.settings, self.W.dtype).planned(most_epochs(posed))
        return planned_plain_descent(posed, self.W, self.b, self.learning_rate, self.momentum, self.schedule)

    def set_zeros(self) -> None:
        """Sets W to 0, at the end of a run, where the exact solution is 0, if that is known; see `set_exact_zeros`."""
        if self._problem is not None:
            set_exact_zeros(self.W, self.b, self._problem[2])

    def was_fitted_on(self, data: BatchDataModule) -> bool:
        """Returns whether the data is known to have the rows that the model was fitted on."""
        return data.preparation is not None or (bool(data.paths) and data.hparams.get("path") == self._path_of_fit)

    def is_far_from(self, posed: Problem) -> bool:
        """Returns whether W and b are further from the exact ones than chance and rounding explain."""
        return bool(unexplained_gaps(posed.optimum, posed.scaling.to_users(posed.errors(self.W, self.b))).any())

    def _shorten_start(self, data: FitRows) -> None:
        """Moves each target's initial W towards 0 until its predictions vary no more than the target.

        Descent from further away ends further away, as rounding costs digits of the start. W stays where predictions
        vary up to twice as much, so that a second call changes nothing.
        """
        triangle, D = data.triangle, data.num_features
        rows = triangle if self.fit_intercept else triangle.about_zero
        first = int(self.fit_intercept)
        W = self.scaling.to_users(theta_of(self.W, self.b))[1:]
        reach = torch.linalg.vector_norm(rows.R[first:, 1 : 1 + D] @ W, dim=0)
        size = torch.linalg.vector_norm(rows.R[first:, 1 + D :], dim=0)
        is_far = (reach > 2 * size) & (triangle.scales[D:] > 0)
        self.W.data *= torch.where(is_far, size / reach, 1.0).to(self.W)

    def _leave_undetermined_directions(self, posed: Problem) -> None:
        """Moves W and b by the part of θ - θ* that no gradient reduces, so that descent ends at θ*."""
        free, errors = posed.optimum.free, posed.errors(self.W, self.b)[posed.optimum.free]
        rest = errors - posed.coordinates @ (posed.to_coordinates @ errors)
        theta = torch.zeros(1 + len(self.W), self.W.shape[1], dtype=torch.float64)
        theta[free] = rest
        self.W.data -= theta[1:].to(self.W)
        self.b.data -= theta[0].to(self.b)

    def standardize_like(self, data: FitRows) -> None:
        """Takes the means and scales from the rows that training draws from."""
        scaling = scaling_of(data.triangle, self.settings)
        self.x_mean.copy_(scaling.means)
        self.x_scale.copy_(scaling.scales)
        self.y_mean.copy_(scaling.target_means)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Loads as torch does; W and b no longer count as a new start."""
        self._is_new = False
        return super().load_state_dict(*args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps this module's learning rate, momentum and tail averaging, where the checkpoint's differ.

        Converts the module to float64 if the checkpoint's weights are, before Lightning loads them: they would lose
        half their bits. Loads means, scales and preconditioner before computing the learning rate from the data, which
        may be other data.
        """
        contents = CheckpointContents.from_dict(checkpoint)
        if self._columns is None and contents.data is not None:
            self._columns, self._path_of_fit = contents.columns, contents.datamodule_hyper_parameters.get("path")
        for name in ("mean_theta", "num_averaged"):
            if self.tail_averaging:
                contents.state_dict.setdefault(name, getattr(self, name))
            else:
                contents.state_dict.pop(name, None)
        if contents.format_version < 3 and self.settings.preconditions:
            self._stop_preconditioning()
        if contents.state_dict["W"].dtype == torch.float64:
            self.double()
        data = getattr(self._trainer, "datamodule", None)
        if isinstance(data, BatchDataModule) and self.trainer.state.fn == "fit":
            for name in ("x_mean", "x_scale", "y_mean", "preconditioner"):
                if hasattr(self, name):
                    getattr(self, name).copy_(contents.state_dict.get(name, getattr(self, name)))
            if self.settings.needs_of_data:
                self.learn_from(data, planned_epochs(self.trainer, data))
            if self.settings.preconditions:
                contents.state_dict["preconditioner"] = self.preconditioner.clone()
            self._prepare(data)
        if contents.hyper_parameters.get("l2") == self.l2:
            self.l2_choice = contents.l2_choice
        contents.change_descent(self._descent_settings())

    def _stop_preconditioning(self) -> None:
        """Turns the setting off: Lightning's `load_from_checkpoint` takes the default where a checkpoint has none."""
        self.settings = replace(self.settings, precondition=False)
        self.hparams["precondition"] = self.precondition = False
        del self.preconditioner

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Saves how l2 was chosen, and the learning rate in force, which the hyper-parameters may call `auto`."""
        add_to_checkpoint(checkpoint, descent=self._descent_settings(), l2_choice=self.l2_choice)

    def _descent_settings(self) -> DescentSettings:
        return DescentSettings(lr=self.learning_rate, momentum=self.momentum)


def planned_epochs(trainer: Trainer, data: FitRows) -> float | None:
    """Returns the length of the trainer's run, in epochs; None if it has no end."""
    lengths = [] if trainer.max_steps == -1 else [trainer.max_steps / data.steps_per_epoch]
    lengths += [] if trainer.max_epochs in (None, -1) else [float(trainer.max_epochs)]
    return min(lengths, default=None)
