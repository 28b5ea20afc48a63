"""Names the exact solution's numbers: coefficients, standard errors, tests, criteria of fit, learning rates."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.accuracy import certified_digits
from linreg_pl.core.inference import Inference
from linreg_pl.data.columns import Columns, name_of_intercept
from linreg_pl.errors import quoted
from linreg_pl.exact.convergence import Convergence
from linreg_pl.training.data_warnings import data_warnings
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.problem import Problem


@dataclass(frozen=True, eq=False, repr=False)
class Estimates:
    """The numbers of an exact solution by name.

    A table is a dict by the coefficient's name, the intercept's first. For several targets, each is a dict by the
    target's name of what is described here. What is unknown is NaN: standard errors of constant or linearly dependent
    columns, of perfect fits, and where there are no more rows than coefficients.
    """

    problem: Problem
    settings: HyperParameters
    columns: Columns
    complete_categories: list[list[str]]
    remarks: list[str]
    """What one should know of how the data was read."""
    inference: Inference

    @property
    def feature_names(self) -> list[str]:
        """Returns the names of the columns of x, `column=value` for a category.

        >>> linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).feature_names
        ['x0']
        """
        return self.columns.feature_names

    @property
    def target_names(self) -> list[str]:
        """Returns the names of the targets.

        >>> linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).target_names
        ['y']
        """
        return self.columns.target_names

    @property
    def intercept_name(self) -> str:
        """Returns the name of the intercept in tables: `intercept`, or `(intercept)` if a feature has that name."""
        return name_of_intercept(self.feature_names)

    @cached_property
    def convergence(self) -> Convergence:
        """Returns how gradient descent converges to this solution."""
        return Convergence(self.problem, self.settings, self.feature_names, self.complete_categories)

    # ---- tables ----

    @property
    def coefficients(self) -> dict[str, Any]:
        """Returns the estimates in the data's units: `solution.coefficients["bmi"]`.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).coefficients["x0"], 6)
        1.0
        """
        return self._table(lambda row, k: float(self._theta[row, k]))

    @property
    def standard_errors(self) -> dict[str, Any]:
        """Returns the standard errors, robust ones if asked for; with l2 of the biased estimates, with l1 NaN.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).standard_errors["x0"], 6)  # √½
        0.707107
        """
        return self._table(lambda row, k: float(self.inference.standard_errors[row, k]))

    @property
    def t_values(self) -> dict[str, Any]:
        """Returns each estimate divided by its standard error.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).t_values["x0"], 6)  # √2
        1.414214
        """
        return self._table(lambda row, k: float(self.inference.t_values[row, k]))

    @property
    def p_values(self) -> dict[str, Any]:
        """Returns the two-sided p-values of the t-values.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).p_values["x0"], 6)  # 1 - √½
        0.292893
        """
        return self._table(lambda row, k: float(self.inference.p_values[row, k]))

    @property
    def certified_digits(self) -> dict[str, Any]:
        """Returns how many decimal digits of each estimate no rounding can have changed.

        It counts the rounding of the computation, and that of decimal fractions such as 0.1, which float64 does not
        have. 15.9 is all of float64. NaN where the data does not determine a coefficient, and where l1 makes it 0.

        >>> linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).certified_digits["x0"]
        15.9
        """
        return self._table(lambda row, k: float(self._digits[row, k]))

    def intervals(self, probability: float = 0.95) -> dict[str, Any]:
        """Returns the confidence intervals (lower, upper): `solution.intervals(0.99)["bmi"]`.

        Raises:
            ValueError: `probability` is not between 0 and 1.

        >>> [round(bound, 6) for bound in linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).intervals(0.6)["x0"]]
        [0.25, 1.75]
        """
        return self._table(lambda row, k: self.interval(row, k, probability))

    @property
    def vif(self) -> dict[str, float]:
        """Returns the variance inflation factors of the features, infinite for linearly dependent columns.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).vif["x0"], 6)
        1.0
        """
        return dict(zip(self.feature_names, self.inference.vif.tolist(), strict=True))

    # ---- one number a target ----

    @property
    def num_rows(self) -> int:
        """Returns the number of rows of weight above 0.

        >>> linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).num_rows
        4
        """
        return self.problem.optimum.data.num_rows

    @property
    def num_nonzero(self) -> Any:
        """Returns how many coefficients are not 0, apart from the intercept's."""
        return self.by_target(lambda k: int((self.problem.optimum.W[:, k] != 0).sum()))

    @property
    def r_squared(self) -> Any:
        """Returns R²; about 0 instead of the mean without an intercept.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).r_squared, 6)
        0.5
        """
        return self.by_target(lambda k: float(self.inference.fit.r_squared[k]))

    @property
    def adjusted_r_squared(self) -> Any:
        """Returns R² adjusted for the number of coefficients.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).adjusted_r_squared, 6)  # 1 - (4/2) / (8/3)
        0.25
        """
        return self.by_target(lambda k: float(self.inference.adjusted_r_squared[k]))

    @property
    def residual_std(self) -> Any:
        """Returns the residual standard deviation, of a row of weight 1.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).residual_std, 6)  # √(4/2)
        1.414214
        """
        return self.by_target(lambda k: float(self.inference.fit.residual_std[k]))

    @property
    def f_test(self) -> Any:
        """Returns the test that all coefficients but the intercept are 0: statistic, p_value, degrees_of_freedom.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).f_test.statistic, 6)
        2.0
        """
        return self.by_target(lambda k: self.inference.f_tests[k])

    @property
    def log_likelihood(self) -> Any:
        """Returns the log-likelihood at the estimates, for normal noise.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).log_likelihood, 6)  # -2 (1 + log 2π)
        -5.675754
        """
        return self.by_target(lambda k: float(self.inference.log_likelihood[k]))

    @property
    def aic(self) -> Any:
        """Returns Akaike's information criterion.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).aic, 6)  # 4 (1 + log 2π) + 2·2
        15.351508
        """
        return self.by_target(lambda k: float(self.inference.aic[k]))

    @property
    def bic(self) -> Any:
        """Returns Schwarz's Bayesian information criterion.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).bic, 6)  # 4 (1 + log 2π) + 2 log 4
        14.124097
        """
        return self.by_target(lambda k: float(self.inference.bic[k]))

    # ---- one number ----

    @property
    def degrees_of_freedom(self) -> float:
        """Returns the number of rows less the number of coefficients, with l1 or l2 less their effective number.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).degrees_of_freedom, 6)
        2.0
        """
        return self.inference.degrees_of_freedom

    @property
    def condition_number(self) -> float:
        """Returns the condition number of J's Hessian in the W and b that are trained; infinite if it is singular.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).condition_number, 6)
        1.0
        """
        return self.problem.condition_number

    @property
    def learning_rates(self) -> dict[str, float]:
        """Returns the largest stable learning rates of gradient descent, under different assumptions.

        `full_batch` holds where every step takes all rows. Where batches differ, `worst_batch` holds on the steepest
        batch alone, `cycle` on batches that stay the same, and `mean_square` on batches that are drawn anew.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).learning_rates["full_batch"], 6)
        2.0
        """
        return dict(self.problem.stable_learning_rates(self.settings.momentum))

    # ---- in words ----

    def warnings(self) -> list[str]:
        """Returns a sentence for each reason why coefficients or their standard errors are not determined.

        >>> linreg_pl.solve([3, 3, 3], [1, 2, 4]).warnings()[0]
        "'x0' is constant..."
        """
        sentences = data_warnings(self.problem, self.inference.fit, self.target_names)
        robust = self.inference.robust
        if robust is not None and robust.decisive.any() and not self.inference.fit.is_saturated:
            names = [name for name, row in self.rows() if robust.decisive[row]]
            sentences.append(
                f"one row alone determines {quoted(names)}, as the only row of a category does: there is no"
                f" {robust.kind} error; --robust HC1 gives one"
            )
        return sentences

    # ---- helpers ----

    @cached_property
    def _theta(self) -> Tensor:
        optimum = self.problem.optimum
        return torch.cat([optimum.b.unsqueeze(0), optimum.W])

    @cached_property
    def _digits(self) -> Tensor:
        return certified_digits(self.problem.optimum)

    def rows(self) -> list[tuple[str, int]]:
        """Returns the names of the coefficients, and their rows in θ = (b; W)."""
        names = [self.intercept_name, *self.feature_names]
        return list(zip(names, range(len(names)), strict=True))[0 if self.settings.fit_intercept else 1 :]

    def interval(self, row: int, target: int, probability: float = 0.95) -> tuple[float, float]:
        """Returns the confidence interval of an entry of θ (1+D, K)."""
        estimate = float(self._theta[row, target])
        reach = self.inference.t(probability) * float(self.inference.standard_errors[row, target])
        return estimate - reach, estimate + reach

    def by_target(self, value: Callable[[int], Any]) -> Any:
        """Returns a value for the only target, or a dict of values by the target's name."""
        if len(self.target_names) == 1:
            return value(0)
        return {name: value(k) for k, name in enumerate(self.target_names)}

    def _table(self, value: Callable[[int, int], Any]) -> dict[str, Any]:
        table: dict[str, Any] = self.by_target(lambda k: {name: value(row, k) for name, row in self.rows()})
        return table
