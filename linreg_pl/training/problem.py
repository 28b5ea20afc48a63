"""What is a run heading for, how fast may it go, and when will it be there? All that is known before its first step.

One pass over the rows gives the exact answer; the Hessians of an epoch's batches give the largest stable learning rate,
with a second pass where batches are drawn anew, as a rare row may be in any of them.
"""

from dataclasses import dataclass
from functools import cache, cached_property

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

SAMPLED_BATCHES = 16
"""Where batches are too many, or drawn anew at every epoch, so many of the first epoch's stand for them."""

SAFELY = 0.5
"""Share of the largest stable learning rate at which the steepest direction arrives at once, and none oscillates."""

NEAR = 1e-3
"""Share of the variance explained by which a run of a length of our choice may miss the exact objective."""

MOST_STEPS = 100_000
"""Of such a run, where that is more than one epoch."""

MOST_WORK = 2e6
"""Batches times P³: a cycle's bound takes some hundred products of that many multiplications, and with momentum some
four hundred of eight times as many, which is seconds."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The least-squares problem under a run, and how its batches cut it."""

    optimum: Optimum
    scaling: Scaling  # of the W and b that are trained
    hessians: Tensor  # (n, P, P), of the epoch's batches, or of some
    variance_explained: float  # by how much J is smaller at its optimum than where all weights are 0
    is_cycle: bool  # whether these are all, the same at every epoch
    curvature_noise: float | None  # of batches, where they are drawn anew at every epoch
    steps_per_epoch: int
    batch_size: int
    dependent_columns: list[str]  # that are combinations of others, and these others

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Of the Hessian over all rows, for the W and b that are trained; (P,), the largest first."""
        eigenvalues: Tensor = 2 * torch.linalg.svdvals(self.optimum.factor_of(self.scaling)).square()
        return eigenvalues

    @property
    def condition_number(self) -> float:
        """Largest by smallest eigenvalue; infinite where columns depend on each other."""
        if self.dependent_columns:
            return float("inf")
        return float(self.eigenvalues[0] / self.eigenvalues[-1])

    @cache  # noqa: B019 (a problem lives as long as its run)
    def stable_learning_rates(self, momentum: float = 0.0) -> dict[str, float]:
        """The largest stable learning rates: on all rows, on the worst batch alone, over the cycle, in the mean square.

        The latter three only where there are batches; `cycle` where they are the same at every epoch, and not too many
        to multiply, `mean_square` where they are drawn anew. The worst batch is that of the Hessians that are known.
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
        """The bound that keeps this run safe: its cycle's, or else the least of the others."""
        rates = self.stable_learning_rates(momentum)
        return rates["cycle"] if "cycle" in rates else min(rates.values())

    def instability(self, learning_rate: float, momentum: float = 0.0) -> str:
        """Whether a learning rate is too high, in words; empty where it is not.

        Above the bound of its cycle or of all rows a run diverges. Above that of its worst batch alone it may not:
        where batches are drawn anew, the others may make up for it. Nor above that of the mean square, until a rare
        row is drawn.
        """
        rates, bound = self.stable_learning_rates(momentum), self.largest_stable_learning_rate(momentum)
        if learning_rate <= bound:
            return ""
        surely = learning_rate > rates.get("cycle", rates["full_batch"])
        word = "will" if surely else "may"
        return f"learning_rate {learning_rate:g} is above {bound:.5g}, the largest stable one: descent {word} diverge"

    def safe_learning_rate(self, momentum: float = 0.0) -> float:
        """What `learning_rate="auto"` means.

        Raises:
            InputError: any is stable, as no feature says anything.
        """
        bound = self.largest_stable_learning_rate(momentum)
        if bound == float("inf"):
            raise InputError(
                "learning_rate auto: there is nothing to learn, as all features are 0; give other features"
            )
        return SAFELY * bound

    def errors(self, W: Tensor, b: Tensor) -> Tensor:
        """θ - θ* (1+D, K), of a W and b that are trained."""
        return theta_of(W, b) - self.scaling.inverse @ self.optimum.theta.high

    def epochs_to_the_optimum(
        self, W: Tensor, b: Tensor, learning_rate: float, momentum: float, schedule: Schedule
    ) -> int:
        """Epochs after which J is expected to be within half of `NEAR` of its optimum, from this W and b on.

        Of the variance explained, that is, or where that is next to nothing, of a millionth of the gap at the start.
        """
        factor, errors = self.optimum.factor_of(self.scaling), self.errors(W, b)[self.optimum.free]
        _, lengths, Vt = torch.linalg.svd(factor)
        at_start = float((factor @ errors).square().sum())
        descent = ExpectedDescent(
            eigenvalues=2 * lengths.square(),
            errors=Vt @ errors,
            learning_rate=learning_rate,
            momentum=momentum,
            schedule=schedule,
            noise=self.optimum.objective / self.batch_size if self.steps_per_epoch > 1 else 0.0,
        )
        near = NEAR / 2 * max(self.variance_explained, 1e-6 * at_start)
        if max(self.variance_explained, at_start) <= 1e-12 * self.optimum.data.variance(fit_intercept=False):
            return 1  # rounding is all there is
        needed = descent.steps_to(near, most=max(MOST_STEPS, self.steps_per_epoch))
        return -(-needed // self.steps_per_epoch)

    def forecast(self, learning_rate: float, momentum: float = 0.0) -> Forecast:
        """How each direction of (b, W) converges, epoch by epoch."""
        if self.is_cycle and self.steps_per_epoch > 1:
            return forecast_of_cycle(self.hessians, learning_rate, momentum)
        factor = self.optimum.factor_of(self.scaling)
        return forecast(factor, learning_rate, self.steps_per_epoch, momentum)

    def forecast_of_gap(
        self, errors: Tensor, every_n_epochs: int, count: int, learning_rate: float, momentum: float = 0.0
    ) -> Tensor:
        """J - J* at `errors` (1+D, K), and at the end of each `every_n_epochs` epochs, `count` times; (1 + count,)."""
        factor, free = self.optimum.factor_of(self.scaling), self.optimum.free
        if self.is_cycle:
            epoch = cycle(self.hessians, learning_rate, momentum)
        else:
            step = cycle(2 * (factor.T @ factor).unsqueeze(0), learning_rate, momentum)
            epoch = torch.linalg.matrix_power(step, self.steps_per_epoch)
        return forecast_of_gap(factor, epoch, errors[free], every_n_epochs, count)

    def course(
        self, errors: Tensor, every_n_steps: int, learning_rates: Tensor, momentum: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """θ - θ* at the start and after each `every_n_steps` steps at these rates, (n, P, K), and J - J* there, (n,).

        Of descent on all rows, which batches follow on average.
        """
        factor = self.optimum.factor_of(self.scaling)
        found = course(factor, errors[self.optimum.free], learning_rates, momentum, every_n_steps)
        return found, (factor @ found).square().sum(dim=(1, 2))


def problem(data: BatchDataModule, l2: float, fit_intercept: bool, fold_bias: bool, scaling: Scaling) -> Problem:
    """The problem that the data poses under these settings of the model; takes the pass over the data."""
    penalty = penalty_rows(data.num_features, l2, fold_bias, scaling)
    count, size = data.steps_per_epoch, data.num_features + fit_intercept
    is_cycle = data.has_fixed_batches and count * size**3 <= MOST_WORK
    # Spread over the epoch: a table that is streamed is shuffled in windows, which may differ.
    sampled = sorted({index * count // SAMPLED_BATCHES for index in range(SAMPLED_BATCHES)})
    chosen = range(count) if is_cycle else sampled
    batches = (data.batch(0, index) for index in chosen)
    hessians = [batch_hessian(x, penalty.high, data.num_targets, scaling, fit_intercept, *w) for x, _, *w in batches]
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


def of_many_answers(problem: Problem) -> str:
    """Words the warning about linearly dependent columns."""
    columns = quoted(problem.dependent_columns)
    return f"{columns} are collinear: many W are exact, and the smallest of them is shown"
