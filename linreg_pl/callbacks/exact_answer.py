"""What does a run show of the answer it is heading for? Before, while and after it trains.

    gap/objective   J - J* over all rows, at W and b after the update       gap/grad_norm   norm of J's gradient there

J* is the smallest value that J has; with fresh noise at every epoch, that J is expected to have. Both come from the
triangle of the data in O(D²), so they cost nothing of note, and no noise of a batch is in them.
"""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from linreg_pl.core.learning_rate_schedules import learning_rates
from linreg_pl.core.statistics import shown_coefficients
from linreg_pl.errors import InputError
from linreg_pl.solve.epochs_in_words import MOST_NAMED, forecast_in_words
from linreg_pl.training.checkpoint_contents import CheckpointContents, ExactState, add_to_checkpoint
from linreg_pl.training.coefficient_names import named, trained_module
from linreg_pl.training.due import AtPoints, next_point
from linreg_pl.training.problem import of_many_answers

ARRIVED = 0.01
"""A coefficient is there when this share of its error at the start is left."""

MOST_FORECAST = 1_000_000
"""Coefficients times directions up to which each coefficient's way is forecast: with more it takes a minute."""

LOOKS = 1000
"""Steps at which the way on a schedule is looked at, at most."""


class StopRule:
    """When is a run near enough to the exact answer to end? Asked at the logging interval.

    Args:
        gap: Stop where gap/objective is at most this.
        grad_norm: Stop where gap/grad_norm is at most this.
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
    """Takes the pass over the data, says what it found, and knows the gap from then on.

    A checkpoint holds where the run started and when each coefficient arrived, so that a resumed run reports what an
    untouched one would.
    """

    def __init__(self, stop: StopRule) -> None:
        self.points: dict[str, float] = {}
        """The gap and the exact gradient's norm at the newest step of the logging interval."""
        self.stopping_reason_message: str | None = None
        """Why the run was stopped, in the word of Lightning's `EarlyStopping`."""
        self.stopping_rule = ""
        """The flag that stopped it."""
        self._stop = stop
        self._start: list[list[float]] | None = None  # θ - θ* before the first step
        self._arrived: dict[str, int] = {}
        self._forecast: dict[str, float] = {}  # epochs until each coefficient is there

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Solves the problem, and prints the answer and the forecast."""
        self.problem = trained_module(trainer).problem(trainer.datamodule)  # type: ignore[attr-defined]
        if self._start is None:
            self._start = self._errors(trainer).tolist()
        self._forecast = self._epochs_until_there(trainer)
        if trainer.is_global_zero:
            print(*self._preface(trainer), sep="\n")

    def next_due(self, trainer: Trainer, step: int) -> float:
        """Each point, where it may be the run's last."""
        return next_point(trainer, step) if self._stop.limits else super().next_due(trainer, step)

    def on_point(self, trainer: Trainer) -> None:
        """Looks how far the run is."""
        self.points = self._measured(trainer)
        self._note_arrivals(trainer)
        self._stop_if_near(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures the end, which need not be a point."""
        self.points = self._measured(trainer)

    def _note_arrivals(self, trainer: Trainer) -> None:
        there = self._errors(trainer).abs() <= ARRIVED * torch.tensor(self._start, dtype=torch.float64).abs()
        for name, arrived in named(trainer, there[1:], there[0]).items():
            if arrived:
                self._arrived.setdefault(name, trainer.global_step)
            else:
                self._arrived.pop(name, None)

    def _stop_if_near(self, trainer: Trainer) -> None:
        for curve, (flag, limit) in self._stop.limits.items():
            if self.points[curve] <= limit:
                trainer.should_stop = True
                self.stopping_rule = f"{flag} {limit:g}"
                self.stopping_reason_message = f"{curve} is {self.points[curve]:.3g}"

    def _measured(self, trainer: Trainer) -> dict[str, float]:
        module, optimum = trained_module(trainer), self.problem.optimum
        W, b = module.coefficients()
        gradient = module.scaling.matrix.T @ optimum.gradient(W, b)
        return {
            "gap/objective": optimum.gap(W, b),
            "gap/grad_norm": float(torch.linalg.vector_norm(gradient[optimum.free])),
        }

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Puts the start and the arrivals into the checkpoint, and the rows' triangle, which intervals rest on."""
        rows = self.problem.optimum.data
        assert self._start is not None
        exact = ExactState(self._start, self._arrived, rows.R, rows.num_rows, rows.total_weight)
        add_to_checkpoint(checkpoint, exact=exact)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Takes them out; a run that began without the exact answer starts here."""
        exact = CheckpointContents.from_dict(checkpoint).exact
        if exact is not None:
            self._start, self._arrived = exact.start, dict(exact.arrived)

    def shown(self, trainer: Trainer) -> dict[str, float]:
        """The exact coefficients by name, for printing."""
        return named(trainer, *shown_coefficients(self.problem.optimum))

    def report(self, trainer: Trainer) -> dict[str, Any]:
        """For `report.json`: the exact answer, how far from it the run ended, and the forecast beside what happened."""
        optimum, steps_per_epoch = self.problem.optimum, self.problem.steps_per_epoch
        gap, explained = self._measured(trainer)["gap/objective"], self.problem.variance_explained
        return {
            "exact": {
                "objective": optimum.objective,
                "coefficients": named(trainer, optimum.W, optimum.b),
            },
            "gap": gap,
            "gap_of_variance_explained": gap / explained if explained else None,
            "epochs_to_1_percent": {
                name: {
                    "forecast": epochs if math.isfinite(epochs) else None,
                    "seen": self._arrived[name] / steps_per_epoch if name in self._arrived else None,
                }
                for name, epochs in self._forecast.items()
            },
        }

    def _errors(self, trainer: Trainer) -> Tensor:
        """θ - θ* (1+D, K) in the user's units."""
        module = trained_module(trainer)
        return self.problem.scaling.matrix @ self.problem.errors(module.W, module.b)

    def _epochs_until_there(self, trainer: Trainer) -> dict[str, float]:
        """Epochs until each coefficient is there, by name."""
        module, free, scaling = trained_module(trainer), self.problem.optimum.free, self.problem.scaling
        epochs = torch.zeros_like(start := torch.tensor(self._start, dtype=torch.float64))
        if start.numel() * len(start) > MOST_FORECAST:
            return {}
        if module.schedule == "constant":
            forecast = self.problem.forecast(module.learning_rate, module.momentum)
            epochs[free] = forecast.in_units(scaling.matrix[free][:, free]).epochs_until(start[free], ARRIVED)
        else:
            epochs[free] = self._epochs_on_schedule(trainer, start)
        return named(trainer, epochs[1:], epochs[0])

    def _epochs_on_schedule(self, trainer: Trainer, start: Tensor) -> Tensor:
        """Epochs until each coefficient is there to stay, (P, K), on a schedule that ends with the run."""
        module, steps = trained_module(trainer), trainer.max_steps
        every = -(-steps // LOOKS)
        rates = learning_rates(module.learning_rate, module.schedule, steps)
        scaling, free = self.problem.scaling, self.problem.optimum.free
        errors, _ = self.problem.course(scaling.inverse @ start, every, rates, module.momentum)
        errors = scaling.matrix[free][:, free] @ errors
        away = errors.abs() > ARRIVED * errors[0].abs()
        looks = torch.arange(1, len(errors) + 1).view(-1, 1, 1)
        arrives = (away * looks).amax(dim=0).to(torch.float64)  # the look after the last one at which it is away
        return torch.where(arrives < len(errors), arrives * every / self.problem.steps_per_epoch, torch.inf)

    def _preface(self, trainer: Trainer) -> list[str]:
        module, optimum = trained_module(trainer), self.problem.optimum
        exact = self.shown(trainer)
        values = ", ".join(f"{name} {value:.6g}" for name, value in exact.items()) if len(exact) <= MOST_NAMED else ""
        auto = module.hparams["learning_rate"] == "auto"
        length = trainer.max_steps / self.problem.steps_per_epoch
        told = "none, for so many coefficients"
        if self._forecast:
            told = forecast_in_words(self._forecast, length, ends=module.schedule != "constant")
        lines = [
            f"exact     {values}{': ' if values else ''}loss {optimum.objective:.6g}",
            f"forecast  {told}",
        ]
        if auto:
            then = "" if module.schedule == "constant" else f", on a {module.schedule} schedule"
            lines.insert(1, f"rate      {module.learning_rate:.4g}, half of the largest stable learning rate{then}")
        if self.problem.dependent_columns:
            lines.append(f"WARNING   {of_many_answers(self.problem)}")
        unstable = self.problem.instability(module.learning_rate, module.momentum)
        if unstable:
            lines.append(f"WARNING   {unstable}; give --model.learning_rate auto, or less")
        return lines
