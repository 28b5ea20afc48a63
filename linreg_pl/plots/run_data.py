"""Reads everything that is drawn of a run, from its folder and the data it was fitted on."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from lightning.pytorch.cli import instantiate_class
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import ScheduledRate
from linreg_pl.core.scaling import theta_of
from linreg_pl.data.loaders import Batch
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.exact.convergence import Convergence
from linreg_pl.runs.compatibility import changed_settings
from linreg_pl.runs.folder import CONFIG, read_data_settings, require_folder
from linreg_pl.runs.resume import newest_good_checkpoint
from linreg_pl.training.checkpoint_contents import CheckpointContents
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.problem import Problem


@dataclass(frozen=True)
class Record:
    """A run, read from its folder."""

    step: int  # of its newest good checkpoint
    total_steps: int  # of the run when it is complete; -1 for a run without an end
    curves: dict[str, Tensor]  # tag: (n, 2), step and value, float64
    start: tuple[Tensor, Tensor]  # W and b that are trained, before the first step
    data: BatchDataModule  # that the run was fitted on
    model: LinearRegression  # of the checkpoint
    convergence: Convergence

    @property
    def problem(self) -> Problem:
        """Returns the problem that the run solves."""
        return self.convergence.problem

    @cached_property
    def rows(self) -> Batch:
        """Returns the first epoch's rows in float64: x (N, D), y (N, K), and weights (N, 1), if rows have some."""
        batches = [self.data.batch(0, index) for index in range(self.data.steps_per_epoch)]
        return tuple(torch.cat(tensors).to(torch.float64) for tensors in zip(*batches, strict=True))

    @cached_property
    def predictions(self) -> Tensor:
        """Computes the predictions for these rows, (N, K)."""
        W, b = self.model.coefficients()
        return self.rows[0] @ W + b

    @property
    def forecast_of_gap(self) -> Tensor:
        """Forecasts the gap from the start to the last step, (n, 2): step and gap, at about 400 points or fewer."""
        problem, model, intervals = self.problem, self.model, 400
        if model.schedule != "constant" and self.total_steps != -1:
            every = -(-self.step // intervals)
            rate = ScheduledRate(self.convergence.learning_rate, model.schedule, self.total_steps)
            errors = problem.errors(*self.start)
            _, gaps = problem.course(errors, every, self.step // every, rate.at, model.momentum)
            return torch.stack([every * torch.arange(len(gaps), dtype=torch.float64), gaps], 1)
        epochs = self.step // problem.steps_per_epoch
        every = max(1, -(-epochs // intervals))
        gaps = problem.forecast_of_gap(
            problem.errors(*self.start), every, epochs // every, self.convergence.learning_rate, model.momentum
        )
        return torch.stack([every * problem.steps_per_epoch * torch.arange(len(gaps), dtype=torch.float64), gaps], 1)

    @property
    def path(self) -> Tensor | None:
        """Returns the two coefficients that are trained, b before W, at each point of the curves: (n, 2).

        None where there are not exactly two, or where they have no curves.
        """
        problem, names = self.problem, self.convergence.coefficient_names
        points = [curve[:, 1] for name in names if (curve := self.curves.get(f"params/{name}")) is not None]
        if self.data.num_targets > 1 or len(names) != 2 or len(points) != 2:
            return None
        theta = torch.zeros(1 + self.data.num_features, len(points[0]), dtype=torch.float64)
        theta[problem.optimum.free] = torch.stack(points)
        scaling, (W, b) = self.model.scaling, self.start
        theta[0] -= scaling.target_means
        path = torch.cat([theta_of(W, b), scaling.inverse @ theta], dim=1)
        return path[problem.optimum.free].T


def record(run: Path) -> Record:
    """Reads a run's folder, and its data.

    Raises:
        InputError: the folder is no run, the run is running or has no good checkpoint, or its data has changed.
    """
    require_folder(run)
    checkpoint = newest_good_checkpoint(run).checkpoint
    if checkpoint is None:
        raise InputError(f"{run}: the run has no checkpoint to draw; go on with it: linreg fit --resume {run}")
    contents = checkpoint.contents
    module, data = LinearRegression(**contents.hyper_parameters), run_dataset(run, contents)
    module.learn_from(data)
    W, b, target_means = module.W.detach().clone(), module.b.detach().clone(), module.scaling.target_means
    module.to(contents.state_dict["W"].dtype).load_state_dict(contents.state_dict)
    changes = changed_settings(contents, module, data, "64-true" if module.W.dtype == torch.float64 else "32-true")
    if changes:
        raise InputError(f"{run}: its data has changed since it was fitted: {'; '.join(changes)}")
    start = W, b + (target_means - module.scaling.target_means)  # up to format 2, targets were not centered
    problem = module.problem(data)
    rate = contents.descent.lr if contents.descent else module.settings.learning_rate  # auto depends on the length, too
    settings = replace(module.settings, learning_rate=rate)
    convergence = Convergence(problem, settings, data.feature_names, data.complete_categories)
    total_steps = contents.progress.total_steps or contents.global_step
    return Record(contents.global_step, total_steps, curves_of(run), start, data, module, convergence)


def run_dataset(run: Path, contents: CheckpointContents) -> BatchDataModule:
    """Reads the data that a run was fitted on, with the checkpoint's columns, categories and means.

    Raises:
        InputError: the run's config is damaged, or the data can't be read.
    """
    settings = read_data_settings(run)
    try:
        data: BatchDataModule = instantiate_class((), settings)
    except (TypeError, ValueError, ImportError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{run / CONFIG}: the run's data is damaged: {error}") from error
    data.adopt(contents.data_state(type(data)) or {})
    data.setup("fit")
    return data


def curves_of(run: Path) -> dict[str, Tensor]:
    """Reads all points that TensorBoard shows of a run: (n, 2) of step and value, by tag."""
    events = EventAccumulator(str(run), size_guidance={SCALARS: 0, IMAGES: 1}).Reload()
    return {
        tag: torch.tensor([(point.step, point.value) for point in events.Scalars(tag)], dtype=torch.float64)
        for tag in events.Tags()["scalars"]
    }
