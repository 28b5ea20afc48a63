"""Computes the exact solution, its standard errors, and how fast gradient descent converges to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import standardization
from linreg_pl.core.statistics import Statistics, statistics
from linreg_pl.data.base import BatchDataModule
from linreg_pl.training.data_warnings import data_warnings
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.problem import Problem


@dataclass(frozen=True)
class Solution:
    """The exact solution of the least-squares problem that a model and its data pose."""

    data: BatchDataModule
    model: LinearRegression
    problem: Problem

    @cached_property
    def statistics(self) -> Statistics:
        """Computes standard errors, R² and residual deviation."""
        return statistics(self.problem.optimum)

    @cached_property
    def learning_rate(self) -> float:
        """Returns the model's learning rate; for `auto`, the one it will choose."""
        if self.model.hparams["learning_rate"] != "auto":
            return self.model.learning_rate
        return self.problem.safe_learning_rate(self.model.momentum)

    @property
    def is_preconditioned(self) -> bool:
        """Returns whether the steps of descent are preconditioned, so that all directions converge alike."""
        return self.model.precondition and self.problem.is_preconditioned

    @cached_property
    def halving_epochs(self) -> list[tuple[str, float]]:
        """Returns the epochs in which the error along each direction of (b, W) halves, by the direction's name.

        The fastest come first. With momentum an error shrinks in two modes at once; the slower one counts. With
        preconditioning all directions are one entry.
        """
        forecast = self.problem.forecast(self.learning_rate, self.model.momentum)
        if self.is_preconditioned:
            return [("every direction", float(forecast.halving_epochs.amax()))] if len(forecast.rates) else []
        named_epochs = [
            (direction_name(direction, self.coefficient_names), float(epochs))
            for direction, epochs in zip(forecast.directions.T, forecast.halving_epochs, strict=True)
        ]
        return sorted(dict(named_epochs).items(), key=lambda named: named[1]) if self.model.momentum else named_epochs

    @property
    def coefficient_names(self) -> list[str]:
        """Returns the names of b, if it is fitted, and of W's rows."""
        names = ["W"] if self.data.num_features == 1 else [f"W/{name}" for name in self.data.feature_names]
        return ["b", *names] if self.model.fit_intercept else names

    def as_json(self) -> dict[str, Any]:
        """Returns plain types, with null for what is not finite. With several targets each has an entry of its own."""
        optimum, statistics = self.problem.optimum, self.statistics
        rates = self.problem.stable_learning_rates(self.model.momentum)
        return {
            "intercept": self._by_target(lambda k: self.estimate(0, k)) if self.model.fit_intercept else None,
            "coefficients": self._by_target(
                lambda k: {name: self.estimate(1 + d, k) for d, name in enumerate(self.data.feature_names)}
            ),
            "objective": optimum.objective,
            "r_squared": self._by_target(lambda k: finite(statistics.r_squared[k])),
            "residual_std": self._by_target(lambda k: finite(statistics.residual_std[k])),
            "num_rows": optimum.data.num_rows,
            "condition_number": finite(self.problem.condition_number),
            "largest_stable_learning_rate": finite(self.problem.largest_stable_learning_rate(self.model.momentum)),
            "stable_learning_rates": {name: finite(rate) for name, rate in rates.items()},
            "halving_epochs": [{"direction": name, "epochs": finite(epochs)} for name, epochs in self.halving_epochs],
            "dependent_columns": self.problem.dependent_columns,
            "advice": " ".join(filter(None, (*map(sentence, self.warnings()), self.advice()))),
        }

    def estimate(self, row: int, target: int) -> dict[str, Any]:
        """Returns an entry of θ (1+D, K) with its standard error and its 95% confidence interval."""
        optimum = self.problem.optimum
        estimate = float(optimum.W[row - 1, target] if row else optimum.b[target])
        error = float(self.statistics.known_errors[row, target])
        reach = self.statistics.t(0.95) * error
        return {
            "estimate": estimate,
            "standard_error": finite(error),
            "confidence_interval": [finite(estimate - reach), finite(estimate + reach)],
        }

    def _by_target(self, value: Callable[[int], Any]) -> Any:
        targets = self.data.target_names
        return value(0) if len(targets) == 1 else {name: value(k) for k, name in enumerate(targets)}

    def advice(self) -> str:
        """Says in a sentence or two what converges slowly or not at all, and what would help."""
        return " ".join(filter(None, (self._learning_rate_advice(), self._column_advice())))

    def warnings(self) -> list[str]:
        """Returns a sentence for each reason why coefficients or their standard errors are not determined."""
        return data_warnings(self.problem, self.statistics, self.data.target_names)

    def _learning_rate_advice(self) -> str:
        unstable = self.problem.instability(self.learning_rate, self.model.momentum)
        return f"WARNING: {unstable}; --model.learning_rate auto is safe." if unstable else ""

    def _column_advice(self) -> str:
        if self.statistics.is_saturated:
            return ""
        if self.problem.dependent_columns:
            return self._collinearity_advice()
        if self.is_preconditioned:
            return (
                "Every direction converges alike, whatever the condition number: each step is multiplied by the inverse"
                " of J's Hessian (--model.precondition true)."
            )
        condition = self.problem.condition_number
        if self.problem.constant_columns and condition == math.inf:
            return ""
        (_, fastest), (slow, slowest) = self.halving_epochs[0], self.halving_epochs[-1]
        if condition <= 100:  # the slowest direction takes at most about 100 times as many epochs as the fastest
            return "No direction converges slowly."
        # With momentum that limits all directions their times agree to 1%, and rounding decides which one is slowest.
        if self.model.momentum and fastest > 0.99 * slowest:
            return (
                f"No direction is slower than another: --model.momentum {self.model.momentum:g} sets the pace of all."
            )
        standardized = condition if self.model.standardize else self._standardized_condition()
        if standardized < condition / 10:
            return (
                f"{slow} converges slowly: columns differ in size, or their means are far from 0. --model.standardize"
                f" true reduces the condition number from {condition:.3g} to {standardized:.3g}."
            )
        return (
            f"{slow} converges slowly: these columns are almost collinear. A larger --model.l2 or --model.momentum"
            " helps, or leaving one of them out."
        )

    def _collinearity_advice(self) -> str:
        """Says how to end the linear dependence of columns."""
        dependent, optimum = set(self.problem.dependent_columns), self.problem.optimum
        groups = [group for group in self.data.complete_categories if dependent.issuperset(group)]
        advice = []
        if groups and self.model.fit_intercept:
            advice.append(
                "The categories of a text column add up to the intercept: --data.drop_first true drops one of them."
            )
        if not advice or optimum.null.shape[1] > len(groups):  # others are dependent too
            advice.append("Leave out one of the collinear columns, or penalise them more: a larger --model.l2.")
        return " ".join(advice)

    def _standardized_condition(self) -> float:
        """Computes the condition number with standardized features, whose weights are then those penalised."""
        data, fit_intercept = self.problem.optimum.data, self.model.fit_intercept
        scaling = standardization(data, fit_intercept)
        rows, scaling = data.centered_at(scaling.center(data.num_targets)), scaling.centered
        penalty = penalty_rows(data.num_features, self.model.l2, self.model.fold_bias, scaling)
        standardized = optimum(rows, penalty, fit_intercept)
        if standardized.null.shape[1] or standardized.constant:
            return float("inf")
        lengths = torch.linalg.svdvals(standardized.factor_of(scaling))
        return float((lengths[0] / lengths[-1]).square())


def solve(data: BatchDataModule, model: LinearRegression) -> Solution:
    """Solves the problem exactly, and refines the solution to all its digits by a second pass over the rows."""
    if model.standardize:
        model.standardize_like(data)
    problem = model.problem(data)
    return Solution(data, model, replace(problem, optimum=refined(problem.optimum, data.watched_rows())))


def direction_name(direction: Tensor, names: list[str]) -> str:
    """Describes a direction by its largest component, and up to two others of at least half its size: `W/s1 - W/s2`."""
    sizes = direction.abs()
    chosen = [int(i) for i in sizes.argsort(descending=True)[:3] if sizes[i] >= sizes.max() / 2]
    relative = (direction / direction[chosen[0]]).real
    name = names[chosen[0]]
    for i in chosen[1:]:
        name += f" {'+' if relative[i] > 0 else '-'} {names[i]}"
    return name


def sentence(text: str) -> str:
    """Returns a text with a capital letter and a full stop, unless it asks a question."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def finite(number: Any) -> float | None:
    """Converts a number for JSON, which has no infinity and no NaN."""
    return float(number) if math.isfinite(number) else None
