"""Describes the problem that a run solves: its exact solution, largest stable learning rates, forecast and gap."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor

from linreg_pl.core.forecast import Forecast, course, forecast, forecast_of_cycle, forecast_of_gap
from linreg_pl.core.optimum import Optimum
from linreg_pl.core.proximal_course import proximal_course
from linreg_pl.core.scaling import Scaling, theta_of
from linreg_pl.core.stability import cycle, largest_in_mean_square, largest_stable_learning_rate
from linreg_pl.core.statistics import statistics, worst_in_standard_errors
from linreg_pl.errors import InputError


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

        With l1, a soft threshold follows each step. It brings no two points further apart, so rates at which each step
        contracts stay stable; those at which only the whole cycle does may not. With momentum β this is proved for
        1 - β times the rates without it (Ochs et al., "iPiano", SIAM Journal on Imaging Sciences 7, 2014).
        """
        largest, has_l1 = float(self.eigenvalues[0]) if len(self.eigenvalues) else 0.0, self.optimum.l1_term is not None
        growth = 1 - momentum if has_l1 else 1 + momentum
        rates = {"full_batch": 2 * growth / largest if largest > 0 else float("inf")}
        if not len(self.eigenvalues) or (self.is_cycle and self.steps_per_epoch == 1):
            return rates
        steepest = float(torch.linalg.eigvalsh(self.hessians)[:, -1].max())
        rates["worst_batch"] = 2 * growth / steepest if steepest > 0 else float("inf")
        if self.is_cycle and not has_l1:
            rates["cycle"] = largest_stable_learning_rate(self.hessians, momentum)
        if self.curvature_noise is not None and largest > 0:
            bound = largest_in_mean_square(largest, self.curvature_noise, 0.0 if has_l1 else momentum)
            rates["mean_square"] = growth * bound if has_l1 else bound
        return rates

    def largest_stable_learning_rate(self, momentum: float = 0.0) -> float:
        """Returns the bound below which this run is stable: the cycle's, or else the smallest of the others."""
        rates = self.stable_learning_rates(momentum)
        return rates["cycle"] if "cycle" in rates else min(rates.values())

    def instability(self, learning_rate: float, momentum: float = 0.0) -> str:
        """Returns a warning if a learning rate is too high, else an empty string.

        A long run diverges above the bound of its cycle, or of all rows; with l1, it may. A short one may end before
        the steepest error has grown beyond what the others have lost. Above the bound of the worst batch, a run may
        converge, because other batches compensate. Above the bound of the mean square, it may converge until a rare
        row is drawn.
        """
        rates, bound = self.stable_learning_rates(momentum), self.largest_stable_learning_rate(momentum)
        if learning_rate <= bound:
            return ""
        surely = learning_rate > rates.get("cycle", rates["full_batch"]) and self.optimum.l1_term is None
        word = "will" if surely else "may"
        return (
            f"learning_rate {learning_rate:g} is above {bound:.5g}, the largest stable one: a long run {word} diverge"
        )

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
        """Computes J's gradient (P, K) over all rows at `errors` (1+D, K); with l1, its shortest subgradient."""
        gradient = self.scaling.of_rows(self.optimum.gradient_of(self.scaling.to_users(errors)).T).T
        if self.optimum.l1_term is not None:
            gradient[1:] = self.optimum.l1_term.subgradient(gradient[1:], errors[1:])
        return gradient[self.optimum.free]

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
        """Forecasts J - J* at `errors` (1+D, K), and then `count` times after `every_n_epochs` each; (1 + count,).

        With l1 there are fewer values if the steps are very many.
        """
        if self.optimum.l1_term is not None:
            every_n_steps = every_n_epochs * self.steps_per_epoch
            return self.course(errors, every_n_steps, count, lambda _: learning_rate, momentum)[1]
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

        Each step takes all rows and has its own learning rate; batches follow this course on average. With l1 there are
        fewer values if the steps are very many.
        """
        if self.optimum.l1_term is not None:
            free, setting = self.optimum.free, (learning_rate_at, momentum, every_n_steps, count)
            course_of_errors = proximal_course(self.whole_factor, self.optimum.l1_term, errors[free], *setting)
            padded = torch.nn.functional.pad(course_of_errors, (0, 0, free.start, 0))
            return course_of_errors, torch.tensor([self.gap(each) for each in padded], dtype=torch.float64)
        inner = course(self.factor, self.in_coordinates(errors), learning_rate_at, momentum, every_n_steps, count)
        return self.coordinates @ inner, (self.factor @ inner).square().sum(dim=(1, 2))
