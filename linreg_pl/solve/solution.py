"""What does `linreg solve` say? The exact answer, how sure it is, and how gradient descent would come there."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import standardization
from linreg_pl.core.statistics import Statistics, shown_coefficients, statistics
from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import quoted
from linreg_pl.solve.epochs_in_words import shown_epochs
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.problem import Problem, of_many_answers

CONFIDENCE = 0.95

SIMILAR = 100
"""Up to this condition number no direction is slow."""

ALIKE = 0.99
"""Of the slowest direction's epochs: where the fastest takes more, none is slow, and rounding picks the slowest."""

NEARLY_DEPENDENT = 1e6
"""From this condition number on a penalty that tells columns apart is hardly meant to."""

MOST_DIRECTIONS = 12
"""Directions that are printed; the JSON has them all."""


@dataclass(frozen=True)
class Solution:
    """The exact answer to the problem that some data poses to a model."""

    data: BatchDataModule
    model: LinearRegression
    problem: Problem

    @cached_property
    def statistics(self) -> Statistics:
        """Standard errors, R² and residual deviation."""
        return statistics(self.problem.optimum)

    @cached_property
    def learning_rate(self) -> float:
        """The model's; for `auto`, what it will be."""
        if self.model.hparams["learning_rate"] != "auto":
            return self.model.learning_rate
        return self.problem.safe_learning_rate(self.model.momentum)

    @cached_property
    def halving_epochs(self) -> list[tuple[str, float]]:
        """Each direction of (b, W), named by its largest components, and the epochs in which its error halves.

        The fastest come first. With momentum an error shrinks in two ways at once; the slower one counts.
        """
        forecast = self.problem.forecast(self.learning_rate, self.model.momentum)
        found = [
            (direction_name(direction, self.coefficient_names), float(epochs))
            for direction, epochs in zip(forecast.directions.T, forecast.halving_epochs, strict=True)
        ]
        return sorted(dict(found).items(), key=lambda named: named[1]) if self.model.momentum else found

    @property
    def coefficient_names(self) -> list[str]:
        """Of b, if it is free, and of W's rows."""
        names = ["W"] if self.data.num_features == 1 else [f"W/{name}" for name in self.data.feature_names]
        return ["b", *names] if self.model.fit_intercept else names

    def as_json(self) -> dict[str, Any]:
        """Plain types; null for what is not a finite number. With several targets each has its own part."""
        optimum, found = self.problem.optimum, self.statistics
        rates = self.problem.stable_learning_rates(self.model.momentum)
        return {
            "intercept": self._by_target(lambda k: self._estimate(0, k)) if self.model.fit_intercept else None,
            "coefficients": self._by_target(
                lambda k: {name: self._estimate(1 + d, k) for d, name in enumerate(self.data.feature_names)}
            ),
            "objective": optimum.objective,
            "r_squared": self._by_target(lambda k: finite(found.r_squared[k])),
            "residual_std": self._by_target(lambda k: finite(found.residual_std[k])),
            "num_rows": optimum.data.num_rows,
            "condition_number": finite(self.problem.condition_number),
            "largest_stable_learning_rate": finite(self.problem.largest_stable_learning_rate(self.model.momentum)),
            "stable_learning_rates": {name: finite(rate) for name, rate in rates.items()},
            "halving_epochs": [{"direction": name, "epochs": finite(epochs)} for name, epochs in self.halving_epochs],
            "dependent_columns": self.problem.dependent_columns,
            "advice": self.advice(),
        }

    def lines(self) -> list[str]:
        """The same for the terminal."""
        optimum, found = self.problem.optimum, self.statistics
        rates = self.problem.stable_learning_rates(self.model.momentum)
        wordings = {
            "full_batch": "on all rows",
            "worst_batch": "on the worst batch alone",
            "cycle": "over the cycle",
            "mean_square": "in the mean square",
        }
        lines = [line for k in range(self.data.num_targets) for line in self._table(k)]
        if self.problem.dependent_columns:
            lines.append(f"WARNING  {of_many_answers(self.problem)}")
        elif self.told_apart_by_penalty:
            lines.append(
                f"WARNING  {quoted(self.told_apart_by_penalty)} depend on each other: it is --model.l2"
                f" {self.model.l2:g}, and not the rows, that says what each of them has"
            )
        return [
            *lines,
            f"{optimum.data.num_rows} rows, loss {optimum.objective:.6g}, R² {_listed(found.r_squared)},"
            f" residual deviation {_listed(found.residual_std)}",
            "",
            f"condition number {self.problem.condition_number:.4g}",
            "largest stable learning rate " + ", ".join(f"{rate:.5g} {wordings[name]}" for name, rate in rates.items()),
            f"epochs in which an error halves, at learning rate {self.learning_rate:.4g}:",
            *self._directions(),
            self.advice(),
        ]

    @cached_property
    def told_apart_by_penalty(self) -> list[str]:
        """Columns that are combinations of others, and these others, where a penalty settles W all the same."""
        if self.problem.dependent_columns or self.problem.condition_number < NEARLY_DEPENDENT:
            return []
        data, fit_intercept = self.problem.optimum.data, self.model.fit_intercept
        names = ["the intercept", *self.data.feature_names]
        return [
            names[column] for column in optimum(data, penalty_rows(data.num_features, 0.0), fit_intercept).dependent
        ]

    def _directions(self) -> list[str]:
        """The fastest and the slowest, where they are many."""
        width = max(len(name) for name, _ in self.halving_epochs)
        lines = [
            f"  {name:{width}}  {f'{epochs:.1f}' if epochs < 1e4 else shown_epochs(epochs):>9}"
            for name, epochs in self.halving_epochs
        ]
        if len(lines) <= MOST_DIRECTIONS:
            return lines
        half = MOST_DIRECTIONS // 2
        return [*lines[:half], f"  and {len(lines) - 2 * half} more in between", *lines[-half:]]

    def advice(self) -> str:
        """In a sentence: what is slow, and what would cure it."""
        return " ".join(filter(None, (self._on_the_learning_rate(), self._on_the_columns())))

    def _on_the_learning_rate(self) -> str:
        unstable = self.problem.instability(self.learning_rate, self.model.momentum)
        return f"WARNING: {unstable}; --model.learning_rate auto is safe." if unstable else ""

    def _on_the_columns(self) -> str:
        dependent = self.problem.dependent_columns or self.told_apart_by_penalty
        if any("=" in name for name in dependent):
            return "A text column's categories add up to the intercept: --data.drop_first true leaves one of them out."
        if dependent:
            return "Leave out one of the columns that depend on each other, or penalise them: a larger --model.l2."
        condition, (slow, slowest) = self.problem.condition_number, self.halving_epochs[-1]
        if condition <= SIMILAR:
            return "No direction is slow."
        if self.model.momentum and self.halving_epochs[0][1] > ALIKE * slowest:
            return (
                f"No direction is slower than another: --model.momentum {self.model.momentum:g} sets the pace of all."
            )
        standardized = condition if self.model.standardize else self._standardized_condition()
        if standardized < condition / 10:
            return (
                f"{slow} is slow, as columns differ in size or stand far from 0: --model.standardize true brings the"
                f" condition number from {condition:.3g} to {standardized:.3g}."
            )
        return (
            f"{slow} is slow, as columns say almost the same: a larger --model.l2 or --model.momentum helps, or leaving"
            " one of them out."
        )

    def _standardized_condition(self) -> float:
        """The condition number with standardized features, whose weights are then those penalised."""
        data, fit_intercept = self.problem.optimum.data, self.model.fit_intercept
        scaling = standardization(data, fit_intercept)
        penalty = penalty_rows(data.num_features, self.model.l2, self.model.fold_bias, scaling)
        found = optimum(data, penalty, fit_intercept)
        lengths = torch.linalg.svdvals(found.factor_of(scaling))
        return float("inf") if found.dependent else float((lengths[0] / lengths[-1]).square())

    def _by_target(self, part: Any) -> Any:
        targets = self.data.target_names
        return part(0) if len(targets) == 1 else {name: part(k) for k, name in enumerate(targets)}

    def _estimate(self, row: int, target: int) -> dict[str, Any]:
        estimate = float(self.problem.optimum.theta.high[row, target])
        error = float(self.statistics.standard_errors[row, target])
        reach = self.statistics.t(CONFIDENCE) * error
        return {
            "estimate": estimate,
            "standard_error": finite(error),
            "confidence_interval": [finite(estimate - reach), finite(estimate + reach)],
        }

    def _table(self, target: int) -> list[str]:
        names = ["intercept", *self.data.feature_names]
        width = max(len(name) for name in names)
        title = "" if self.data.num_targets == 1 else self.data.target_names[target]
        lines = [f"{title:{width}}      estimate  standard error    95% interval"]
        W, b = shown_coefficients(self.problem.optimum)
        for row, name in enumerate(names):
            if row == 0 and not self.model.fit_intercept:
                continue
            found = self._estimate(row, target)
            error, (low, high) = found["standard_error"], found["confidence_interval"]
            sure = f"{error:14.6g}    {low:.6g} … {high:.6g}" if error is not None else f"{'unknown':>14}"
            estimate = float(W[row - 1, target] if row else b[target])
            lines.append(f"{name:{width}}  {estimate:12.6g}  {sure}")
        return lines


def solve(data: BatchDataModule, model: LinearRegression) -> Solution:
    """The exact answer, refined to all its digits by a second pass over the rows."""
    if model.standardize:
        model.standardize_like(data)
    problem = model.problem(data)
    return Solution(data, model, replace(problem, optimum=refined(problem.optimum, data.watched_rows())))


def direction_name(direction: Tensor, names: list[str]) -> str:
    """Its largest component, and up to two more that are at least half of it: `W/s1 - W/s2`."""
    sizes = direction.abs()
    chosen = [int(i) for i in sizes.argsort(descending=True)[:3] if sizes[i] >= sizes.max() / 2]
    turned = (direction / direction[chosen[0]]).real
    name = names[chosen[0]]
    for i in chosen[1:]:
        name += f" {'+' if turned[i] > 0 else '-'} {names[i]}"
    return name


def finite(number: Any) -> float | None:
    """A number for JSON, which knows no infinity."""
    return float(number) if math.isfinite(number) else None


def _listed(values: Tensor) -> str:
    return ", ".join(f"{value:.6g}" if math.isfinite(value) else "unknown" for value in values.tolist())
