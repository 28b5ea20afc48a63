"""Computes a run's exact solution, largest stable learning rate and length, before its first step.

One pass over the rows gives the exact solution. The Hessians of an epoch's batches give the largest stable learning
rate. If batches are drawn anew at every epoch, a rare row may be in any of them, and a second pass accounts for that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor

from linreg_pl.core.forecast import Forecast, course, forecast, forecast_of_cycle, forecast_of_gap
from linreg_pl.core.learning_rate_schedules import Schedule
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.run_length import ExpectedDescent
from linreg_pl.core.scaling import Scaling, theta_of
from linreg_pl.core.stability import (
    batch_hessian,
    curvature_noise,
    cycle,
    largest_in_mean_square,
    largest_stable_learning_rate,
)
from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import InputError, quoted

TARGET_GAP = 1e-3
"""Distance from the exact J at which a run of automatic length ends, as a fraction of the variance explained."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The least-squares problem that a run solves, and how its batches divide it."""

    safe_share: ClassVar[float] = 0.5
    """Share of the largest stable learning rate that `auto` takes: there the steepest direction converges in one step,
    and no direction oscillates."""

    optimum: Optimum
    scaling: Scaling  # of the W and b that are trained
    hessians: Tensor  # (n, P, P), of all batches of an epoch, or of a sample of them
    variance_explained: float  # difference of J between W = 0 and its optimum
    is_cycle: bool  # whether `hessians` has all batches, and they are the same at every epoch
    curvature_noise: float | None  # of the batches, if they are drawn anew at every epoch
    steps_per_epoch: int
    batch_size: int
    dependent_columns: list[str]  # all columns that take part in a linear dependence

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Returns the Hessian's eigenvalues over all rows, for W and b as they are trained; (P,), largest first."""
        eigenvalues: Tensor = 2 * torch.linalg.svdvals(self.optimum.factor_of(self.scaling)).square()
        return eigenvalues

    @property
    def condition_number(self) -> float:
        """Returns the largest eigenvalue divided by the smallest; infinite if columns are linearly dependent."""
        if self.dependent_columns:
            return float("inf")
        return float(self.eigenvalues[0] / self.eigenvalues[-1])

    @cache  # noqa: B019 (a problem lives as long as its run)
    def stable_learning_rates(self, momentum: float = 0.0) -> dict[str, float]:
        """Returns the largest stable learning rates under different assumptions.

        - `full_batch`: every step takes all rows.
        - `worst_batch`: every step takes the steepest known batch. Only with several batches, as the next two.
        - `cycle`: steps take the known batches in turn. Only if every epoch has the same batches, and not too many.
        - `mean_square`: steps take random batches, and the mean square of the error shrinks. Only if batches are drawn
          anew at every epoch.
        """
        on_all_rows = 2 * (1 + momentum) / float(self.eigenvalues[0]) if self.eigenvalues[0] > 0 else float("inf")
        rates = {"full_batch": on_all_rows}
        if self.is_cycle and self.steps_per_epoch == 1:
            return rates
        steepest = float(torch.linalg.eigvalsh(self.hessians)[:, -1].max())
        rates["worst_batch"] = 2 * (1 + momentum) / steepest if steepest > 0 else float("inf")
        if self.is_cycle:
            rates["cycle"] = largest_stable_learning_rate(self.hessians, momentum)
        if self.curvature_noise is not None and self.eigenvalues[0] > 0:
            rates["mean_square"] = largest_in_mean_square(float(self.eigenvalues[0]), self.curvature_noise, momentum)
        return rates

    def largest_stable_learning_rate(self, momentum: float = 0.0) -> float:
        """Returns the bound below which this run is stable: the cycle's, or else the smallest of the others."""
        rates = self.stable_learning_rates(momentum)
        return rates["cycle"] if "cycle" in rates else min(rates.values())

    def instability(self, learning_rate: float, momentum: float = 0.0) -> str:
        """Returns a warning if a learning rate is too high, else an empty string.

        A run diverges above the bound of its cycle, or of all rows. Above the bound of the worst batch, it may
        converge, because other batches compensate. Above the bound of the mean square, it may converge until a rare
        row is drawn.
        """
        rates, bound = self.stable_learning_rates(momentum), self.largest_stable_learning_rate(momentum)
        if learning_rate <= bound:
            return ""
        surely = learning_rate > rates.get("cycle", rates["full_batch"])
        word = "will" if surely else "may"
        return f"learning_rate {learning_rate:g} is above {bound:.5g}, the largest stable one: descent {word} diverge"

    def safe_learning_rate(self, momentum: float = 0.0) -> float:
        """Returns the value of `learning_rate="auto"`.

        Raises:
            InputError: every learning rate is stable, as all features are 0.
        """
        bound = self.largest_stable_learning_rate(momentum)
        if bound == float("inf"):
            raise InputError(
                "learning_rate auto: there is nothing to learn, as all features are 0; give other features"
            )
        return self.safe_share * bound

    def errors(self, W: Tensor, b: Tensor) -> Tensor:
        """Returns θ - θ* (1+D, K) for W (D, K) and b (K,) in the units in which they are trained."""
        return theta_of(W, b) - self.scaling.inverse @ self.optimum.theta.high

    def epochs_to_the_optimum(
        self,
        W: Tensor,
        b: Tensor,
        learning_rate: float,
        momentum: float,
        schedule: Schedule,
        max_steps: int = 100_000,
    ) -> int:
        """Returns the epochs after which J, from this W and b on, is expected to be close to its optimum.

        Close means within half of `TARGET_GAP` of the variance explained. If almost nothing is explained, a millionth
        of the initial gap replaces the variance. The result is at most `max_steps`, or one epoch if that is longer.
        """
        factor, errors = self.optimum.factor_of(self.scaling), self.errors(W, b)[self.optimum.free]
        _, lengths, Vt = torch.linalg.svd(factor)
        initial_gap = float((factor @ errors).square().sum())
        descent = ExpectedDescent(
            eigenvalues=2 * lengths.square(),
            errors=Vt @ errors,
            learning_rate=learning_rate,
            momentum=momentum,
            schedule=schedule,
            noise=self.optimum.objective / self.batch_size if self.steps_per_epoch > 1 else 0.0,
        )
        target = TARGET_GAP / 2 * max(self.variance_explained, 1e-6 * initial_gap)
        if max(self.variance_explained, initial_gap) <= 1e-12 * self.optimum.data.variance(fit_intercept=False):
            return 1  # the rest is rounding
        needed = descent.steps_to(target, most=max(max_steps, self.steps_per_epoch))
        return -(-needed // self.steps_per_epoch)

    def forecast(self, learning_rate: float, momentum: float = 0.0) -> Forecast:
        """Forecasts how each direction of (b, W) converges, epoch by epoch."""
        if self.is_cycle and self.steps_per_epoch > 1:
            return forecast_of_cycle(self.hessians, learning_rate, momentum)
        factor = self.optimum.factor_of(self.scaling)
        return forecast(factor, learning_rate, self.steps_per_epoch, momentum)

    def forecast_of_gap(
        self, errors: Tensor, every_n_epochs: int, count: int, learning_rate: float, momentum: float = 0.0
    ) -> Tensor:
        """Forecasts J - J* at `errors` (1+D, K), and then `count` times after `every_n_epochs` each; (1 + count,)."""
        factor, free = self.optimum.factor_of(self.scaling), self.optimum.free
        if self.is_cycle:
            epoch = cycle(self.hessians, learning_rate, momentum)
        else:
            step = cycle(2 * (factor.T @ factor).unsqueeze(0), learning_rate, momentum)
            epoch = torch.linalg.matrix_power(step, self.steps_per_epoch)
        return forecast_of_gap(factor, epoch, errors[free], every_n_epochs, count)

    def course(
        self,
        errors: Tensor,
        every_n_steps: int,
        count: int,
        learning_rate_at: Callable[[float], float],
        momentum: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Computes θ - θ*, (1 + count, P, K), and J - J*, (1 + count,), at the start and after `every_n_steps` each.

        Each step takes all rows and has its own learning rate; batches follow this course on average.
        """
        factor = self.optimum.factor_of(self.scaling)
        errors = course(factor, errors[self.optimum.free], learning_rate_at, momentum, every_n_steps, count)
        return errors, (factor @ errors).square().sum(dim=(1, 2))


def problem(
    data: BatchDataModule,
    l2: float,
    fit_intercept: bool,
    fold_bias: bool,
    scaling: Scaling,
    *,
    num_samples: int = 16,
    max_cycle_work: float = 2e6,
) -> Problem:
    """Returns the problem that the data poses under these settings of the model; takes the pass over the data.

    Args:
        data: Set up for fit.
        l2: As in `LinearRegression`, like the next two.
        fit_intercept: Whether b is trained.
        fold_bias: Whether b is penalised.
        scaling: Of the W and b that are trained.
        num_samples: Size of the sample of batches, if an epoch has too many, or draws new ones each time.
        max_cycle_work: Limit of the number of batches times P³. The bound of a cycle takes about 100 products of that
            many multiplications. With momentum, it takes about 400 products, each eight times as large: seconds.
    """
    penalty = penalty_rows(data.num_features, l2, fold_bias, scaling)
    count, size = data.steps_per_epoch, data.num_features + fit_intercept
    is_cycle = data.has_fixed_batches and count * size**3 <= max_cycle_work
    # Spread over the epoch: a streamed table is shuffled in windows, which may differ.
    sample = sorted({index * count // num_samples for index in range(num_samples)})
    batches = (data.batch(0, index) for index in (range(count) if is_cycle else sample))
    hessians = [
        batch_hessian(x, penalty.high, data.num_targets, scaling, fit_intercept, *weights) for x, _, *weights in batches
    ]
    solution = optimum(data.triangle, penalty, fit_intercept)
    noise = None
    if not data.has_fixed_batches and count > 1:
        noise = curvature_noise(data.watched_rows(), data.triangle, data.batch_size, scaling, fit_intercept)
    names = ["the intercept", *data.feature_names]
    return Problem(
        optimum=solution,
        scaling=scaling,
        hessians=torch.stack(hessians),
        variance_explained=max(0.0, data.triangle.variance(fit_intercept) - solution.objective),
        is_cycle=is_cycle,
        curvature_noise=noise,
        steps_per_epoch=count,
        batch_size=data.batch_size,
        dependent_columns=[names[column] for column in solution.dependent],
    )


def collinearity_warning(problem: Problem) -> str:
    """Returns the warning about linearly dependent columns."""
    columns = quoted(problem.dependent_columns)
    return f"{columns} are collinear: many W are exact, and the smallest of them is shown"
