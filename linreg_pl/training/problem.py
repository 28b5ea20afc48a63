"""Computes a run's exact solution, largest stable learning rate and length, before its first step.

One pass over the rows gives the exact solution. The Hessians of an epoch's batches give the largest stable learning
rate. If batches are drawn anew at every epoch, a second pass accounts for rare rows, which may be in any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor

from linreg_pl.core.forecast import Forecast, course, forecast, forecast_of_cycle, forecast_of_gap
from linreg_pl.core.optimum import Optimum
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import Scaling, theta_of
from linreg_pl.core.stability import (
    batch_hessian,
    curvature_noise,
    cycle,
    largest_in_mean_square,
    largest_stable_learning_rate,
    noise_bias,
    noise_ratio,
)
from linreg_pl.core.statistics import statistics, worst_in_standard_errors
from linreg_pl.data.fit_rows import FitRows
from linreg_pl.data.loaders import Batch
from linreg_pl.errors import InputError
from linreg_pl.training.coordinates import descent_coordinates
from linreg_pl.training.posed import posed_optimum


@dataclass(frozen=True, eq=False)
class Problem:
    """The least-squares problem that a run solves, and how its batches divide it."""

    safe_share: ClassVar[float] = 0.5
    """Share of the largest stable learning rate that `auto` takes: there the steepest direction converges in one step,
    and no direction oscillates."""

    optimum: Optimum  # of X and y less the means of the scaling
    scaling: Scaling  # of the W and b that are trained, for X and y less these means
    whole_factor: Tensor  # T for the W and b that are trained, (M, P), M ≥ Q, see `Optimum.factor_of`
    coordinates: Tensor  # (P, Q): an error θ - θ* is coordinates · u, where u are those of `descent_coordinates`
    to_coordinates: Tensor  # (Q, P), gives u
    hessians: Tensor  # (n, Q, Q), of all batches of an epoch, or of a sample of them, in u
    variance_explained: float  # difference of J between W = 0 and its optimum
    is_cycle: bool  # whether `hessians` has all batches, and they are the same at every epoch
    curvature_noise: float | None  # of the batches, if they are drawn anew at every epoch
    noise_bias: float  # standard errors by which the noise of batches moves the worst W, at a learning rate of 1
    noise_ratio: float  # of the worst W's noise to that of residuals with equal variance, see `noise_ratio`
    num_rows: int
    steps_per_epoch: int
    batch_size: float  # mean, if batches differ
    l2: float
    constant_columns: list[str]
    dependent_columns: list[str]  # those that take part in a linear dependence, which no penalty removes

    @cached_property
    def factor(self) -> Tensor:
        """Returns T for u, (M, Q): J - J* is ‖T u‖², and J's Hessian in u is twice T'T."""
        return self.whole_factor @ self.coordinates

    @cached_property
    def eigenvalues(self) -> Tensor:
        """Returns the eigenvalues of the Hessian in u over all rows; (Q,), largest first."""
        eigenvalues: Tensor = 2 * torch.linalg.svdvals(self.factor).square()
        return eigenvalues

    @cached_property
    def condition_number(self) -> float:
        """Returns the condition number of J's Hessian in the W and b that are trained; infinite if it is singular."""
        return self.optimum.condition_number(self.scaling)

    @property
    def preconditioner(self) -> Tensor:
        """Returns C (1+D, 1+D): with gradients (b; W) multiplied by C C', descent is plain in u.

        C is `coordinates`, with zeros for the other columns, and for b if it is not fitted.
        """
        C = torch.zeros(len(self.optimum.theta.high), len(self.optimum.theta.high), dtype=torch.float64)
        C[self.optimum.free, : self.coordinates.shape[1]] = self.coordinates
        return C

    @cache  # noqa: B019 (a problem lives as long as its run)
    def stable_learning_rates(self, momentum: float = 0.0) -> dict[str, float]:
        """Returns the largest stable learning rates under different assumptions.

        - `full_batch`: every step takes all rows.
        - `worst_batch`: every step takes the steepest known batch. Only with several batches, as the next two.
        - `cycle`: steps take the known batches in turn. Only if every epoch has the same batches, and not too many.
        - `mean_square`: steps take random batches, and the mean square of the error shrinks. Only if batches are drawn
          anew at every epoch.
        """
        largest = float(self.eigenvalues[0]) if len(self.eigenvalues) else 0.0
        rates = {"full_batch": 2 * (1 + momentum) / largest if largest > 0 else float("inf")}
        if not len(self.eigenvalues) or (self.is_cycle and self.steps_per_epoch == 1):
            return rates
        steepest = float(torch.linalg.eigvalsh(self.hessians)[:, -1].max())
        rates["worst_batch"] = 2 * (1 + momentum) / steepest if steepest > 0 else float("inf")
        if self.is_cycle:
            rates["cycle"] = largest_stable_learning_rate(self.hessians, momentum)
        if self.curvature_noise is not None and largest > 0:
            rates["mean_square"] = largest_in_mean_square(largest, self.curvature_noise, momentum)
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

    @cached_property
    def exceeds_float32(self) -> bool:
        """Returns whether float32's rounding of rows and coefficients would show in the coefficients.

        A rounding ε moves a coefficient by up to ε · |t| standard errors, costs ε · √condition in the directions in
        which rows hardly vary, and ε · |W| / residual deviation in predictions, with W of standardized features. In
        experiments the error was below 0.03 where the sum of the three was below 0.05.
        """
        W, unit = self.optimum.W, statistics(self.optimum).residual_std
        lengths = torch.linalg.vector_norm(self.scaling.scales.unsqueeze(1) * W, dim=0) / unit
        largest = worst_in_standard_errors(self.optimum, W) + self.optimum.condition**0.5 + float(lengths.max())
        deviation = self.optimum.data.variance(self.optimum.fit_intercept) ** 0.5
        is_held = torch.finfo(torch.float32).eps * largest <= 0.02  # not where a saturated fit has no deviation
        return not (is_held and 1e-15 < deviation < 1e15 and self.has_sizes_of_float32)

    @cached_property
    def has_sizes_of_float32(self) -> bool:
        """Returns whether float32 holds the squares of each column that is trained on."""
        return bool((self.optimum.sizes(self.scaling).log10().abs() < 15).all())

    def errors(self, W: Tensor, b: Tensor) -> Tensor:
        """Returns θ - θ* (1+D, K) for W (D, K) and b (K,) in the units in which they are trained."""
        return (theta_of(W, b) - self._trained_optimum[0]) - self._trained_optimum[1]

    @cached_property
    def _trained_optimum(self) -> list[Tensor]:
        return [self.scaling.from_users(part) for part in self.optimum.theta]  # high and low

    def gap(self, errors: Tensor) -> float:
        """Computes J - J* over all rows at `errors` (1+D, K)."""
        return self.optimum.gap_of(self.scaling.to_users(errors))

    def gradient(self, errors: Tensor) -> Tensor:
        """Computes J's gradient (P, K) over all rows at `errors` (1+D, K)."""
        return self.scaling.of_rows(self.optimum.gradient_of(self.scaling.to_users(errors)).T).T[self.optimum.free]

    def in_coordinates(self, errors: Tensor) -> Tensor:
        """Returns u (Q, K) of an error θ - θ* (1+D, K)."""
        return self.to_coordinates @ errors[self.optimum.free]

    @property
    def is_preconditioned(self) -> bool:
        """Returns whether the Hessian in u is the identity, but for rounding."""
        return self.coordinates.shape[1] == 0 or bool((self.eigenvalues - 1).abs().max() < 1e-3)

    def forecast(self, learning_rate: float, momentum: float = 0.0) -> Forecast:
        """Forecasts how each direction of (b, W) converges, epoch by epoch."""
        if self.is_cycle and self.steps_per_epoch > 1:
            return forecast_of_cycle(self.hessians, learning_rate, momentum)
        return forecast(self.factor, learning_rate, self.steps_per_epoch, momentum)

    def forecast_of_gap(
        self, errors: Tensor, every_n_epochs: int, count: int, learning_rate: float, momentum: float = 0.0
    ) -> Tensor:
        """Forecasts J - J* at `errors` (1+D, K), and then `count` times after `every_n_epochs` each; (1 + count,)."""
        factor, errors = self.factor, self.in_coordinates(errors)
        if self.is_cycle:
            epoch = cycle(self.hessians, learning_rate, momentum)
        else:
            step = cycle(2 * (factor.T @ factor).unsqueeze(0), learning_rate, momentum)
            epoch = torch.linalg.matrix_power(step, self.steps_per_epoch)
        return forecast_of_gap(factor, epoch, errors, every_n_epochs, count)

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
        inner = course(self.factor, self.in_coordinates(errors), learning_rate_at, momentum, every_n_steps, count)
        return self.coordinates @ inner, (self.factor @ inner).square().sum(dim=(1, 2))


def problem(
    data: FitRows,
    l2: float,
    fit_intercept: bool,
    fold_bias: bool,
    scaling: Scaling,
    precondition: bool = False,
    *,
    num_samples: int = 16,
    max_cycle_work: float = 2e6,
) -> Problem:
    """Returns the problem that the data poses under these settings of the model; takes the pass over the data.

    Where the solution of the triangle may have less than some nine digits, another pass refines it.

    Args:
        data: Set up for fit.
        l2: As in `LinearRegression`, like the next two.
        fit_intercept: Whether b is trained.
        fold_bias: Whether b is penalised.
        scaling: Of the W and b that are trained.
        precondition: Whether gradients are multiplied by the inverse of the Hessian.
        num_samples: Size of the sample of batches, if an epoch has too many, or draws new ones each time.
        max_cycle_work: Limit of the number of batches times Q³. The bound of a cycle takes about 100 products of that
            many multiplications. With momentum, it takes about 400 products, each eight times as large: seconds.

    Raises:
        InputError: a column's values are so small or so large that their squares are 0 or infinite in float64.
    """
    data.restore()  # to the user's units
    all_names = [*data.feature_names, *data.target_names]
    solution = posed_optimum(data.triangle, all_names, l2, fit_intercept, fold_bias, scaling)
    center, scaling = scaling.center(data.num_targets), scaling.centered
    explains_most = solution.objective < 1e-12 * solution.data.variance(fit_intercept)
    if solution.condition > 1e12 or (explains_most and not statistics(solution).is_perfect.all()):
        solution = refined(solution, data.watched_rows())
    factor, coordinates, to_coordinates = descent_coordinates(solution, scaling, precondition)
    of_columns = scaling.to_users(torch.nn.functional.pad(coordinates, (0, 0, solution.free.start, 0)))

    def centered(batch: Batch) -> Batch:
        x, y, *weights = batch
        return (x.double() - center[: data.num_features], y.double() - center[data.num_features :], *weights)

    count = data.steps_per_epoch
    is_cycle = data.has_fixed_batches and count * coordinates.shape[1] ** 3 <= max_cycle_work
    # Spread over the epoch: a streamed table is shuffled in windows, which may differ.
    sample = sorted({index * count // num_samples for index in range(num_samples)})
    penalty_of_batch = solution.penalty.high[: 0 if data.triangle.is_wide and l2 == 0 else None]
    batches = list(map(centered, data.batches(range(count) if is_cycle else sample)))
    hessians = [
        batch_hessian(x, penalty_of_batch, data.num_targets, of_columns, *weights) * (len(x) / data.batch_size)
        for x, _, *weights in batches
    ]
    noise, bias, ratio, num_rows = None, 0.0, 1.0, data.num_rows_to_fit
    if not data.has_fixed_batches and count > 1:
        sampled = data.batch_size, of_columns, solution.data.total_weight / num_rows
        noise, weighted = curvature_noise(map(centered, data.watched_rows()), solution.data, *sampled)
        bias = worst_in_standard_errors(solution, noise_bias(weighted, solution.theta.high, *sampled, num_rows)[1:])
        mse = statistics(solution).residual_std.square()
        ratio = noise_ratio(batches, solution.theta.high, mse, of_columns)
    names = ["the intercept", *data.feature_names]
    return Problem(
        optimum=solution,
        scaling=scaling,
        whole_factor=factor,
        coordinates=coordinates,
        to_coordinates=to_coordinates,
        hessians=torch.stack(hessians),
        variance_explained=max(0.0, solution.data.variance(fit_intercept) - solution.objective),
        is_cycle=is_cycle,
        curvature_noise=noise,
        noise_bias=bias,
        noise_ratio=ratio,
        num_rows=num_rows,
        steps_per_epoch=count,
        batch_size=data.batch_size,
        l2=l2,
        constant_columns=[names[column] for column in solution.constant],
        dependent_columns=[names[column] for column in solution.unidentified],
    )
