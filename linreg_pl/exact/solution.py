"""Solves the least-squares problem of a model and its data exactly: coefficients, standard errors, predictions."""

import math
from dataclasses import replace
from typing import Any, NamedTuple, overload

import numpy as np
import torch

from linreg_pl.core.accuracy import fewest_digits
from linreg_pl.core.inference import FTest, Inference
from linreg_pl.core.optimum import Optimum
from linreg_pl.core.prediction_interval import PredictionInterval
from linreg_pl.core.refinement import refined
from linreg_pl.core.robust import Robust, RobustErrors, robust_errors
from linreg_pl.data.base import Rows
from linreg_pl.errors import InputError, without_flags
from linreg_pl.exact.estimates import Estimates
from linreg_pl.exact.summary import errors_in_words, fit_lines, solution_html
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.l2_choice import chosen_l2
from linreg_pl.training.posed import posed_problem, scaling_of
from linreg_pl.training.problem import Problem

SMALL = 10_000_000
"""Values in a table that is refined to all digits: a pass takes less than a second."""


class Prediction(NamedTuple):
    """Predictions with their prediction intervals: (N,), or (N, K) for several targets."""

    predicted: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


class Solution(Estimates):
    """The exact solution of a least-squares problem; `linreg_pl.solve` makes one.

    It holds no rows, and can be pickled.

    Example:
        >>> import linreg_pl
        >>> solution = linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4])
        >>> round(solution.coefficients["x0"], 6), round(solution.standard_errors["x0"], 6)
        (1.0, 0.707107)
        >>> solution.predict([3.0]).round(6)
        array([5.])
    """

    def summary(self) -> str:
        """Returns the table of coefficients as text, with how well they fit below.

        >>> linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).summary().splitlines()[1].split()[:2]
        ['intercept', '2']
        """
        return without_flags("\n".join(fit_lines(self)))

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        """Returns one line: `print(solution)` shows the whole table."""
        targets, D = ", ".join(self.target_names), len(self.feature_names)
        return f"<Solution: {targets} from {D} feature{'' if D == 1 else 's'}, {self.num_rows} rows>"

    def _repr_html_(self) -> str:
        """Returns the table for a notebook."""
        return solution_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain types, as `linreg solve --json` prints them, with None for what is unknown.

        With several targets each has an entry of its own.

        >>> round(linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4]).to_dict()["coefficients"]["x0"]["estimate"], 6)
        1.0
        """
        optimum, inference, convergence = self.problem.optimum, self.inference, self.convergence
        fit, momentum, vif = inference.fit, self.settings.momentum, self.vif
        return {
            "intercept": self.by_target(lambda k: self.estimate(0, k)) if self.settings.fit_intercept else None,
            "coefficients": self.by_target(
                lambda k: {
                    name: {**self.estimate(1 + d, k), "vif": finite(vif[name])}
                    for d, name in enumerate(self.feature_names)
                }
            ),
            "standard_errors": errors_in_words(self) or "least squares",
            **({} if optimum.l1_term is None else {"num_nonzero": self.num_nonzero}),
            "objective": optimum.objective,
            "r_squared": self.by_target(lambda k: finite(fit.r_squared[k])),
            "adjusted_r_squared": self.by_target(lambda k: finite(inference.adjusted_r_squared[k])),
            "residual_std": self.by_target(lambda k: finite(fit.residual_std[k])),
            "f_test": self.by_target(lambda k: plain_test(inference.f_tests[k])),
            "log_likelihood": self.by_target(lambda k: finite(inference.log_likelihood[k])),
            "aic": self.by_target(lambda k: finite(inference.aic[k])),
            "bic": self.by_target(lambda k: finite(inference.bic[k])),
            "degrees_of_freedom": self.degrees_of_freedom,
            "num_rows": optimum.data.num_rows,
            "condition_number": finite(self.condition_number),
            "largest_stable_learning_rate": finite(self.problem.largest_stable_learning_rate(momentum)),
            "stable_learning_rates": {name: finite(rate) for name, rate in self.learning_rates.items()},
            "halving_epochs": [
                {"direction": name, "epochs": finite(epochs)} for name, epochs in convergence.halving_epochs
            ],
            "dependent_columns": self.problem.dependent_columns,
            "advice": " ".join(filter(None, (*map(sentence, self.warnings()), convergence.advice()))),
        }

    def estimate(self, row: int, target: int) -> dict[str, Any]:
        """Returns an entry of θ (1+D, K) with its standard error, 95% confidence interval, t and p."""
        inference = self.inference
        return {
            "estimate": float(self._theta[row, target]),
            "certified_digits": finite(self._digits[row, target]),
            "standard_error": finite(inference.standard_errors[row, target]),
            "confidence_interval": [finite(bound) for bound in self.interval(row, target)],
            "t": finite(inference.t_values[row, target]),
            "p_value": finite(inference.p_values[row, target]),
        }

    @overload
    def predict(self, X: Any, interval: None = None) -> np.ndarray: ...

    @overload
    def predict(self, X: Any, interval: float) -> Prediction: ...

    def predict(self, X: Any, interval: float | None = None) -> np.ndarray | Prediction:
        """Predicts new rows, in float64; NaN where a row lacks a value.

        Args:
            X: An array (N, D) with the columns of the fit in the same order; a frame, or a path to a file, whose
                columns have the same names.
            interval: Probability of the prediction interval (for weight 1), such as 0.95; None for predictions alone.

        Returns:
            The predictions (N,), or (N, K) for several targets; with an interval, `predicted`, `lower` and `upper`.

        Raises:
            InputError: the columns differ, or there are too few rows for an interval, or l1 leaves none.

        >>> solution = linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4])
        >>> solution.predict([0.0], interval=0.6).upper.round(6)  # 2 + 1.5 √(1 + 1/4)
        array([3.677051])
        """
        from linreg_pl.data.table.new_rows import read_rows  # not at the top: slow to import

        optimum = self.problem.optimum
        D, center = len(self.feature_names), optimum.data.center
        reach = None if interval is None else self._interval(interval)
        predicted, half_widths = [], []
        for x in read_rows(self.columns, X):
            predicted.append((x - center[:D]) @ optimum.W + (optimum.theta.high[0] + center[D:]))
            if reach is not None:
                half_widths.append(reach.reach(x))
        values = shaped(predicted, len(self.target_names))
        if reach is None:
            return values
        widths = shaped(half_widths, len(self.target_names))
        return Prediction(values, values - widths, values + widths)

    def _interval(self, probability: float) -> PredictionInterval:
        if not 0 < probability < 1:
            raise InputError(f"interval is {probability}: give a number between 0 and 1, such as 0.95")
        if self.settings.l1:
            raise InputError("there is no interval, as l1 leaves no standard errors; leave interval out")
        try:
            return PredictionInterval(self.problem.optimum.data, self.settings.fit_intercept, probability)
        except ValueError as error:
            raise InputError(f"there is no interval, {error}") from error


def shaped(batches: list[torch.Tensor], num_targets: int) -> np.ndarray:
    """Returns batches (n, K) as one array (N, K), or (N,) for one target."""
    values: np.ndarray = torch.cat([torch.zeros(0, num_targets, dtype=torch.float64), *batches]).numpy()
    return values[:, 0] if num_targets == 1 else values


def solve(data: Rows, settings: HyperParameters, robust: Robust | None = None, cluster: str | None = None) -> Solution:
    """Solves the problem exactly; further passes over the rows refine the solution, where they can change its digits.

    Args:
        data: Set up for solve or fit.
        settings: They pose the problem.
        robust: Standard errors for noise that differs between rows: HC0, HC1, HC2 or HC3; takes a further pass.
        cluster: Column whose values group the rows, for noise that is correlated within groups; likewise.

    Raises:
        InputError: the standard errors that are asked for do not exist.
    """
    require_robust(data, robust, cluster, settings.l1)
    choice = chosen_l2(data, settings) if settings.l2 == "auto" else None
    settings = settings if choice is None else replace(settings, l2=choice.l2)
    problem = posed_problem(data, settings, scaling_of(data.triangle, settings))
    problem = replace(problem, optimum=with_certain_digits(problem.optimum, data))
    errors = _robust_errors(data, problem, robust, cluster)
    return Solution(
        problem=problem,
        settings=settings,
        columns=data.columns,
        complete_categories=data.complete_categories,
        remarks=[*data.remarks, *([] if choice is None else [choice.reason])],
        inference=Inference(problem.optimum, errors),
    )


def with_certain_digits(solution: Optimum, data: Rows) -> Optimum:
    """Returns the solution, refined until enough of its digits are certain, or another pass makes no more so.

    Of a small table these are all digits of float64. Of a large one they are those that are printed, and one more to
    round by.
    """
    is_small = solution.data.num_rows * len(solution.theta.high) <= SMALL
    enough, digits = 15.0 if is_small else 7.0, fewest_digits(solution, of_values=False)
    while digits < enough or (is_small and solution.refined_error is None):
        better = refined(solution, data.watched_rows(), data.world)
        before, digits = digits, fewest_digits(better, of_values=False)
        if digits < before + 0.3 and digits < enough:
            break
        solution = better
    return solution


def require_robust(data: Rows, robust: str | None, cluster: str | None, l1: float = 0.0) -> None:
    """Checks which robust standard errors are asked for.

    Raises:
        InputError: they do not exist.
    """
    if robust is None and cluster is None:
        return
    if l1:
        flag = "--cluster" if robust is None else "--robust"
        raise InputError(f"{flag} is about standard errors, and with --model.l1 there are none: leave one of them out")
    if robust is not None and cluster is not None:
        raise InputError("clusters have robust standard errors of their own: give --robust or --cluster, not both")
    if data.draws_noise:
        flag = "--cluster" if robust is None else "--robust"
        raise InputError(
            f"the synthetic data has new noise at every epoch, so there are no residuals for {flag}; leave it out"
        )


def _robust_errors(data: Rows, problem: Problem, robust: Robust | None, cluster: str | None) -> RobustErrors | None:
    if cluster is None:
        return None if robust is None else robust_errors(problem.optimum, data.watched_rows(), robust, data.world)
    try:
        return robust_errors(problem.optimum, data.grouped_rows(cluster), "cluster", data.world)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"--cluster {cluster}: {error}") from error


def sentence(text: str) -> str:
    """Returns a text with a capital letter and a full stop, unless it asks a question."""
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}"


def finite(number: Any) -> float | None:
    """Converts a number for JSON, which has no infinity and no NaN."""
    return float(number) if math.isfinite(number) else None


def plain_test(test: FTest) -> dict[str, Any]:
    """Returns an F test as plain types, with null for what is not finite."""
    return {
        "statistic": finite(test.statistic),
        "p_value": finite(test.p_value),
        "degrees_of_freedom": [finite(degrees) for degrees in test.degrees_of_freedom],
    }
