"""Compares a run with the exact solution: before, while and after it trains.

    gap/objective   J - J* over all rows, at W and b after the update       gap/grad_norm   norm of J's gradient there

J* is the smallest value of J; for data with fresh noise at every epoch, of the expected J. Both curves come from the
triangle of the data in O(D²), so they cost almost nothing, and they have none of the noise of a batch.
"""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import ScheduledRate
from linreg_pl.core.scaling import theta_of
from linreg_pl.core.statistics import Statistics, rounding_of_print, shown_coefficients, statistics
from linreg_pl.errors import InputError
from linreg_pl.exact.epochs_in_words import MOST_NAMED, forecast_in_words
from linreg_pl.training.checkpoint_contents import CheckpointContents, ExactState, add_to_checkpoint
from linreg_pl.training.coefficient_names import column_names, named, named_coefficients, trained_module
from linreg_pl.training.data_warnings import data_warnings
from linreg_pl.training.due import AtPoints, has_end, next_point


class StopRule:
    """Stops a run once it is close enough to the exact solution; checked every `log_every_n_steps` steps.

    Args:
        gap: Stop once gap/objective is at most this.
        grad_norm: Stop once gap/grad_norm is at most this.
    """

    def __init__(self, gap: float | None = None, grad_norm: float | None = None) -> None:
        self.limits: dict[str, tuple[str, float]] = {}  # by curve: the flag, and its value
        for curve, flag, limit in (
            ("gap/objective", "--stop.gap", gap),
            ("gap/grad_norm", "--stop.grad_norm", grad_norm),
        ):
            if limit is not None:
                if not 0 < limit < math.inf:
                    raise InputError(f"{flag} is {limit}: give it a finite number above 0")
                self.limits[curve] = flag, limit


class ExactAnswer(AtPoints):
    """Solves the problem before the first step, prints the solution and the forecast, and then measures the gap.

    A checkpoint holds the start of the run and when each coefficient converged. So a resumed run reports the same as an
    uninterrupted one.

    Args:
        stop: When to stop the run.
    """

    remaining_error = 0.01
    """A coefficient has converged once at most this share of its initial error is left, or less than is printed."""

    def __init__(self, stop: StopRule) -> None:
        self.points: dict[str, float] = {}
        """The gap and the norm of the exact gradient, at the newest point."""
        self.stopping_reason_message: str | None = None
        """Why the run was stopped; the name is that of Lightning's `EarlyStopping`."""
        self.stopping_rule = ""
        """The flag that stopped the run."""
        self.is_solved = False
        """Whether the exact solution is known, from the start of a run on."""
        self._stop = stop
        self._start: list[list[float]] | None = None  # θ - θ* before the first step
        self._converged: dict[str, int] = {}  # the step, by name
        self._forecast: dict[str, float] = {}  # epochs until each coefficient converges

    @property
    def may_stop(self) -> bool:
        """Returns whether the run may be stopped."""
        return bool(self._stop.limits)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Asks for the problem before the rows are prepared for training; forgets an earlier run."""
        trained_module(trainer).poses_problem = True
        if stage == "fit":
            self.points, self.is_solved, self._start, self._converged = {}, False, None, {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Solves the problem, and prints the solution and the forecast."""
        self.solve(trainer)
        self._forecast = self._epochs_to_convergence(trainer)
        if trainer.is_global_zero:
            print(*self._preface(trainer), sep="\n")

    def solve(self, trainer: Trainer) -> None:
        """Solves the problem. A run that is new starts here."""
        self.problem = trained_module(trainer).problem_of_run()
        self.is_solved = True
        self.fit: Statistics = statistics(self.problem.optimum)
        W, b = shown_coefficients(self.problem.optimum)
        self._rounding = rounding_of_print(theta_of(W, b))
        if self._start is None:
            self._start = self._in_users_units(trainer, self._errors(trainer)).tolist()

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Returns the next point if the run may stop there."""
        return next_point(trainer, step) if self.may_stop else super().next_due(trainer, step)

    def on_point(self, trainer: Trainer) -> None:
        """Measures the gap, and stops the run if it is small enough."""
        errors = self._errors(trainer)
        self.points = self._measure(errors)
        self._note_converged(trainer, errors)
        self._stop_if_close(trainer)
        if self.stopping_reason_message and trained_module(trainer).l1:
            with torch.no_grad():
                trained_module(trainer).set_zeros()
            self.points = self.measured(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the gap at the end, which need not be a point."""
        self.points = self.measured(trainer)

    def measured(self, trainer: Trainer) -> dict[str, float]:
        """Returns the gap and the norm of the exact gradient after the newest step."""
        return self._measure(self._errors(trainer))

    def _note_converged(self, trainer: Trainer, errors: Tensor) -> None:
        limits = self._limits(torch.tensor(self._start, dtype=torch.float64))
        is_close = self._in_users_units(trainer, errors).abs() <= limits
        for name, converged in named(trainer, is_close[1:], is_close[0]).items():
            if converged:
                self._converged.setdefault(name, trainer.global_step)
            else:
                self._converged.pop(name, None)

    def _limits(self, start: Tensor) -> Tensor:
        """Returns the largest errors at which coefficients count as converged, (1+D, K)."""
        return torch.maximum(self.remaining_error * start.abs(), self._rounding)

    def _stop_if_close(self, trainer: Trainer) -> None:
        for curve, (flag, limit) in self._stop.limits.items():
            if self.points[curve] <= limit:
                trainer.should_stop = True
                self.stopping_rule = f"{flag} {limit:g}"
                self.stopping_reason_message = f"{curve} is {self.points[curve]:.3g}"

    def _measure(self, errors: Tensor) -> dict[str, float]:
        return {
            "gap/objective": self.problem.gap(errors),
            "gap/grad_norm": float(torch.linalg.vector_norm(self.problem.gradient(errors))),
        }

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds the start, the steps of convergence and the rows' triangle, which prediction intervals need."""
        if self._start is None or not self.is_solved:  # saved before the run has begun
            return
        rows = self.problem.optimum.data
        center = rows.center.tolist()
        exact = ExactState(self._start, self._converged, rows.R, rows.num_rows, rows.total_weight, center)
        add_to_checkpoint(checkpoint, exact=exact)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restores them. A run that began without the exact solution has its start here."""
        exact = CheckpointContents.from_dict(checkpoint).exact
        if exact is not None:
            self._start, self._converged = exact.start, dict(exact.arrived)

    def shown(self, trainer: Trainer) -> dict[str, float]:
        """Returns the exact coefficients by name, for printing."""
        return named(trainer, *shown_coefficients(self.problem.optimum))

    def report(self, trainer: Trainer) -> dict[str, Any]:
        """Returns the entries of `report.json`: exact solution, gap, and epochs to convergence, forecast and actual."""
        optimum, steps_per_epoch = self.problem.optimum, self.problem.steps_per_epoch
        trained = self._errors(trainer)
        gap, explained = self.problem.gap(trained), self.problem.variance_explained
        errors = self.fit.known_errors
        distances = self._in_users_units(trainer, trained).abs() / errors
        converged = self._converged_by_now(trainer)
        return {
            "exact": {
                "objective": optimum.objective,
                "coefficients": named(trainer, optimum.W, optimum.b),
                "standard_errors": finite(named(trainer, errors[1:], errors[0])),
            },
            "distance_in_standard_errors": finite(named(trainer, distances[1:], distances[0])),
            "gap": gap,
            "gap_of_variance_explained": gap / explained if explained else None,
            "epochs_to_1_percent": {
                name: {
                    "forecast": epochs if math.isfinite(epochs) else None,
                    "seen": converged[name] / steps_per_epoch if name in converged else None,
                }
                for name, epochs in self._forecast.items()
            },
        }

    def _converged_by_now(self, trainer: Trainer) -> dict[str, int]:
        """Returns the steps at which coefficients converged; the newest one for others that print as the exact ones."""
        shown, exact = named_coefficients(trainer), self.shown(trainer)
        alike = {name: trainer.global_step for name in exact if f"{shown[name]:.6g}" == f"{exact[name]:.6g}"}
        return alike | self._converged

    def _errors(self, trainer: Trainer) -> Tensor:
        """Returns θ - θ* (1+D, K) in the units in which W and b are trained."""
        module = trained_module(trainer)
        return self.problem.errors(module.W, module.b)

    def _in_users_units(self, trainer: Trainer, errors: Tensor) -> Tensor:
        return trained_module(trainer).scaling.to_users(errors)

    def _epochs_to_convergence(self, trainer: Trainer) -> dict[str, float]:
        """Returns the forecast number of epochs until each coefficient converges, by name.

        Empty if there are very many coefficients: above a million coefficients times directions it takes a minute.
        Empty also with l1 in a run without an end, as no formula gives the state after many steps.
        """
        module, free, problem = trained_module(trainer), self.problem.optimum.free, self.problem
        epochs = torch.zeros_like(start := torch.tensor(self._start, dtype=torch.float64))
        if start.numel() * len(start) > 1_000_000 or (module.l1 and not has_end(trainer)):
            return {}
        if (module.schedule == "constant" and not module.l1) or not has_end(trainer):
            matrix, inverse = (part[free][:, free] for part in (module.scaling.matrix, module.scaling.inverse))
            forecast = problem.forecast(module.learning_rate, module.momentum)
            forecast = forecast.in_units(matrix @ problem.coordinates, problem.to_coordinates @ inverse)
            epochs[free] = forecast.epochs_until(start[free], self.remaining_error, self._rounding[free])
        else:
            epochs[free] = self._epochs_on_schedule(trainer, start)
        return named(trainer, epochs[1:], epochs[0])

    def _epochs_on_schedule(self, trainer: Trainer, start: Tensor, most_samples: int = 1000) -> Tensor:
        """Returns the epochs until each coefficient converges for good, (P, K), on a schedule that ends with the run.

        Samples the errors at up to `most_samples` steps.
        """
        module = trained_module(trainer)
        steps = int(module.total_steps())
        every = -(-steps // most_samples)
        rate = ScheduledRate(module.learning_rate, module.schedule, steps)
        scaling, free = module.scaling, self.problem.optimum.free
        errors, _ = self.problem.course(scaling.inverse @ start, every, steps // every, rate.at, module.momentum)
        errors = scaling.matrix[free][:, free] @ errors
        is_far = errors.abs() > self._limits(start)[free]
        numbers = torch.arange(1, len(errors) + 1).view(-1, 1, 1)
        first_close = (is_far * numbers).amax(dim=0).to(torch.float64)  # the sample after the last one that is far
        is_in_time = first_close < len(errors)
        return torch.where(is_in_time, first_close * every / self.problem.steps_per_epoch, torch.inf)

    def _preface(self, trainer: Trainer) -> list[str]:
        module, optimum = trained_module(trainer), self.problem.optimum
        has_schedule = module.schedule != "constant" and has_end(trainer)
        is_followed = (has_schedule or module.l1 > 0) and has_end(trainer)  # to its end, and not beyond
        exact = self.shown(trainer)
        values = ", ".join(f"{name} {value:.6g}" for name, value in exact.items()) if len(exact) <= MOST_NAMED else ""
        forecast = "none, with l1 and without an end" if module.l1 else "none, for so many coefficients"
        if module.precondition and self.problem.is_preconditioned:
            forecast = "the error shrinks alike in every direction, as steps are preconditioned"
        elif self._forecast:
            length = module.total_steps() / self.problem.steps_per_epoch
            forecast = forecast_in_words(self._forecast, length, ends=is_followed)
        lines = [
            f"exact     {values}{': ' if values else ''}loss {optimum.objective:.6g}",
            f"forecast  {forecast}",
        ]
        if module.hparams["learning_rate"] == "auto":
            schedule = f", on a {module.schedule} schedule" if has_schedule else ""
            is_largest = module.learning_rate >= self.problem.safe_learning_rate(module.momentum)
            reason = "half of the largest stable learning rate" if is_largest else "as little as this length allows"
            rate = f"{module.learning_rate:.4g}, {reason}{schedule}"
            lines.insert(1, f"rate      {rate}")
        return [*lines, *(f"WARNING   {warning}" for warning in self.warnings(trainer, flag="--model.learning_rate"))]

    def warnings(self, trainer: Trainer, flag: str = "learning_rate") -> list[str]:
        """Returns what the rows leave undetermined, and whether the learning rate, which `flag` sets, is too high."""
        module = trained_module(trainer)
        unstable = self.problem.instability(module.learning_rate, module.momentum)
        advice = [f"{unstable}; give {flag} auto, or less"] if unstable else []
        return [*data_warnings(self.problem, self.fit, column_names(trainer)[1]), *advice]


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """Converts numbers for JSON, which has no infinity and no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
