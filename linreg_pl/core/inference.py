"""Computes the statistics that tables of regressions report, by the definitions of statsmodels' OLS and WLS.

    t = estimate / standard error                      p = P(|T| > |t|), T with N - P degrees of freedom
    F = (TSS - RSS) / (P - c) / (RSS / (N - P))        p = P(more than F) with P - c and N - P degrees of freedom
    adjusted R² = 1 - (1 - R²) (N - c) / (N - P)       VIF_j = 1 / (1 - R_j²)
    log L = -N/2 (1 + log(2π RSS / N)) + Σ log(w) / 2
    AIC = 2 P - 2 log L                                BIC = P log(N) - 2 log L

N rows of weight above 0, P coefficients of each target with b, c = 1 with b and 0 without; sums are weighted. TSS is
about the mean, or about 0 without b. R_j² is that of column j, explained by the other columns. L counts the noise's
variance as known, so it is no parameter (Draper and Smith, "Applied Regression Analysis", 3rd edition, 1998, chapters 5
and 16; Akaike 1974; Schwarz 1978).

With a penalty, P is the effective number of parameters, the trace of the matrix that maps y to its prediction (Hastie,
Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition, 2009, section 7.6), and F and p are
approximations: estimates are biased, and their errors measure the spread around their own mean. With l1 there is no F.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from linreg_pl.core.incomplete_beta import f_tail, t_tails
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.robust import RobustErrors
from linreg_pl.core.statistics import Statistics, statistics
from linreg_pl.core.student_t import student_quantile


class FTest(NamedTuple):
    """The test that all coefficients but the intercept are 0."""

    statistic: float
    p_value: float
    degrees_of_freedom: tuple[float, float]  # of the coefficients, and of the residuals


@dataclass(frozen=True, eq=False)
class Inference:
    """The statistics of an exact solution.

    NaN where `Statistics` has NaN, and where rounding alone explains the residuals.

    Args:
        solution: The exact solution.
        robust: Robust standard errors, which replace those of least squares.
    """

    solution: Optimum
    robust: RobustErrors | None = None

    @cached_property
    def fit(self) -> Statistics:
        """Returns R², the residual deviation, and the standard errors of least squares."""
        return statistics(self.solution)

    @property
    def degrees_of_freedom(self) -> float:
        """Returns N - P; a whole number without a penalty."""
        degrees = self.fit.degrees_of_freedom
        return degrees if self.solution.is_penalized or self.solution.l1_term else float(round(degrees))

    @property
    def num_parameters(self) -> float:
        """Returns P."""
        return self.solution.data.num_rows - self.degrees_of_freedom

    @property
    def reference_degrees(self) -> float:
        """Returns the degrees of freedom of t: N - P, or the number of clusters less 1."""
        return self.degrees_of_freedom if self.robust is None else self.robust.degrees_of_freedom

    @cached_property
    def standard_errors(self) -> Tensor:
        """Returns the standard errors (1+D, K) of b and W, robust ones if there are any."""
        if self.robust is None:
            return self.fit.known_errors
        return torch.where(self.fit.is_perfect, torch.nan, self.robust.standard_errors)

    def t(self, probability: float = 0.95) -> float:
        """Returns the half width of a confidence interval, in standard errors."""
        return student_quantile(probability, round(self.reference_degrees))

    @cached_property
    def t_values(self) -> Tensor:
        """Returns t (1+D, K) of b and W."""
        estimates = torch.cat([self.solution.b.unsqueeze(0), self.solution.W])
        return estimates / self.standard_errors

    @cached_property
    def p_values(self) -> Tensor:
        """Returns p (1+D, K) of b and W, two-sided; the degrees of freedom are rounded, as in `t`."""
        degrees = round(self.reference_degrees)
        return self.t_values.clone().apply_(lambda t: t_tails(t, degrees))

    @property
    def is_known(self) -> Tensor:
        """Tells which targets' residuals tell of the noise, (K,): more rows than parameters, more than rounding."""
        return ~self.fit.is_perfect & ~self.fit.is_constant & (not self.fit.is_saturated)

    @property
    def adjusted_r_squared(self) -> Tensor:
        """Returns adjusted R² (K,); NaN where no degree of freedom is left."""
        if self.fit.is_saturated:
            return torch.full_like(self.fit.r_squared, torch.nan)
        ratio = (self.solution.data.num_rows - int(self.solution.fit_intercept)) / self.degrees_of_freedom
        adjusted: Tensor = 1 - (1 - self.fit.r_squared) * ratio
        return adjusted

    @cached_property
    def f_tests(self) -> list[FTest]:
        """Returns the F test of each target; with robust errors, Wald's."""
        between, within = self.num_parameters - int(self.solution.fit_intercept), self.reference_degrees
        unknown = torch.full_like(self.fit.r_squared, torch.nan)
        if self.fit.is_saturated or between <= 0 or self.solution.l1_term is not None:
            f = unknown
        elif self.robust is None:
            f = self.fit.explained_squares / between / (self.fit.residual_squares / within)
        else:
            f = self.robust.f
        f = torch.where(self.is_known, f, unknown)
        return [FTest(each, f_tail(each, between, within), (between, within)) for each in f.tolist()]

    @property
    def log_likelihood(self) -> Tensor:
        """Returns log L (K,) at the estimates, for normal noise."""
        N, squares = self.solution.data.num_rows, self.fit.residual_squares
        log_likelihood: Tensor = (
            -0.5 * N * (1 + (2 * math.pi * squares / N).log()) + 0.5 * self.solution.data.log_weights
        )
        return torch.where(self.is_known, log_likelihood, torch.nan)

    @property
    def aic(self) -> Tensor:
        """Returns Akaike's criterion (K,)."""
        return 2 * self.num_parameters - 2 * self.log_likelihood

    @property
    def bic(self) -> Tensor:
        """Returns Schwarz's criterion (K,)."""
        return self.num_parameters * math.log(self.solution.data.num_rows) - 2 * self.log_likelihood

    @cached_property
    def vif(self) -> Tensor:
        """Returns the variance inflation factors (D,), of the columns without a penalty.

        Infinite for linearly dependent columns; NaN for constant ones, and where there are no more rows than columns.
        """
        solution = self.solution
        if solution.data.num_rows <= solution.data.num_features:
            return torch.full((solution.data.num_features,), torch.nan, dtype=torch.float64)
        if solution.is_penalized:
            penalty = penalty_rows(solution.data.num_features, 0.0)
            solution = optimum(solution.data, penalty, solution.fit_intercept)
        first = int(solution.fit_intercept)
        lengths = torch.linalg.vector_norm(solution.factor[first:, 1:], dim=0)
        vif: Tensor = (lengths * torch.linalg.vector_norm(solution.half[1:], dim=1)).square()
        vif[[column - 1 for column in solution.dependent if column]] = math.inf
        vif[[column - 1 for column in solution.constant]] = math.nan
        return vif
