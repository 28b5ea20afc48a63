"""Computes how fast gradient descent converges to the exact solution, and what would help."""

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.scaling import standardization
from linreg_pl.core.statistics import statistics
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.problem import Problem


@dataclass(frozen=True, eq=False)
class Convergence:
    """How gradient descent converges to the exact solution of a problem.

    Args:
        problem: The problem, with its exact solution.
        settings: The model's settings.
        feature_names: Names of the columns of x, (D,).
        complete_categories: Groups of features that add up to 1 in every row.
    """

    problem: Problem
    settings: HyperParameters
    feature_names: list[str]
    complete_categories: list[list[str]]

    @cached_property
    def learning_rate(self) -> float:
        """Returns the model's learning rate; for `auto`, the one it will choose."""
        if self.settings.learning_rate != "auto":
            return self.settings.learning_rate
        return self.problem.safe_learning_rate(self.settings.momentum)

    @property
    def is_preconditioned(self) -> bool:
        """Returns whether the steps of descent are preconditioned, so that all directions converge alike."""
        return self.settings.preconditions and self.problem.is_preconditioned

    @cached_property
    def halving_epochs(self) -> list[tuple[str, float]]:
        """Returns the epochs in which the error along each direction of (b, W) halves, by the direction's name.

        The fastest come first. With momentum an error shrinks in two modes at once; the slower one counts. With
        preconditioning all directions are one entry. With l1 there are none, as coefficients become 0 on the way.
        """
        if self.settings.l1:
            return []
        forecast = self.problem.forecast(self.learning_rate, self.settings.momentum)
        if self.is_preconditioned:
            return [("every direction", float(forecast.halving_epochs.amax()))] if len(forecast.rates) else []
        names, coordinates = self.coefficient_names, self.problem.coordinates
        directions = coordinates.to(forecast.directions.dtype) @ forecast.directions
        named_epochs = [
            (direction_name(direction, names), float(epochs))
            for direction, epochs in zip(directions.T, forecast.halving_epochs, strict=True)
        ]
        if len(names) > coordinates.shape[1]:
            named_epochs.append(("every other direction", math.inf))
        return (
            sorted(dict(named_epochs).items(), key=lambda named: named[1]) if self.settings.momentum else named_epochs
        )

    @property
    def coefficient_names(self) -> list[str]:
        """Returns the names of b, if it is fitted, and of W's rows."""
        names = ["W"] if len(self.feature_names) == 1 else [f"W/{name}" for name in self.feature_names]
        return ["b", *names] if self.settings.fit_intercept else names

    def advice(self) -> str:
        """Says in a sentence or two what converges slowly or not at all, and what would help."""
        return " ".join(filter(None, (self._learning_rate_advice(), self._column_advice())))

    def _learning_rate_advice(self) -> str:
        unstable = self.problem.instability(self.learning_rate, self.settings.momentum)
        return f"WARNING: {unstable}; --model.learning_rate auto is safe." if unstable else ""

    def _column_advice(self) -> str:
        if statistics(self.problem.optimum).is_saturated:
            return ""
        if self.problem.dependent_columns:
            return self._collinearity_advice()
        if self.is_preconditioned:
            return (
                "Every direction converges alike, whatever the condition number: each step is multiplied by the inverse"
                " of J's Hessian (--model.precondition true)."
            )
        condition = self.problem.condition_number
        if (self.problem.constant_columns and condition == math.inf) or self.settings.l1:
            return ""
        (_, fastest), (slow, slowest) = self.halving_epochs[0], self.halving_epochs[-1]
        if condition <= 100:  # the slowest direction takes at most about 100 times as many epochs as the fastest
            return "No direction converges slowly."
        # With momentum that limits all directions their times agree to 1%, and rounding decides which one is slowest.
        if self.settings.momentum and fastest > 0.99 * slowest:
            momentum = f"--model.momentum {self.settings.momentum:g}"
            return f"No direction is slower than another: {momentum} sets the pace of all."
        standardized = condition if self.settings.standardize else self._standardized_condition()
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
        groups = [group for group in self.complete_categories if dependent.issuperset(group)]
        advice = []
        if groups and self.settings.fit_intercept:
            advice.append(
                "The categories of a text column add up to the intercept: --data.drop_first true drops one of them."
            )
        if not advice or optimum.nullity > len(groups):  # others are dependent too
            advice.append("Leave out one of the collinear columns, or penalise them more: a larger --model.l2.")
        return " ".join(advice)

    def _standardized_condition(self) -> float:
        """Computes the condition number with standardized features, whose weights are then those penalised."""
        data, settings = self.problem.optimum.data, self.settings
        scaling = standardization(data, settings.fit_intercept)
        rows, scaling = data.centered_at(scaling.center(data.num_targets)), scaling.centered
        penalty = penalty_rows(data.num_features, settings.known_l2, settings.fold_bias, scaling)
        return optimum(rows, penalty, settings.fit_intercept).condition_number(scaling)


def direction_name(direction: Tensor, names: list[str]) -> str:
    """Describes a direction by its largest component, and up to two others of at least half its size: `W/s1 - W/s2`."""
    sizes = direction.abs()
    chosen = [int(i) for i in sizes.argsort(descending=True)[:3] if sizes[i] >= sizes.max() / 2]
    relative = (direction / direction[chosen[0]]).real
    name = names[chosen[0]]
    for i in chosen[1:]:
        name += f" {'+' if relative[i] > 0 else '-'} {names[i]}"
    return name
