"""Offers the project's two ways to fit as scikit-learn estimators: trained by Lightning, and exact."""

import warnings
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import torch

from linreg_pl.core.learning_rate_schedules import Schedule
from linreg_pl.core.triangle import Triangle, center_of, triangle_of
from linreg_pl.data.columns import Columns
from linreg_pl.errors import InputError, named_arguments
from linreg_pl.exact.from_triangle import solution_of
from linreg_pl.exact.solution import Solution
from linreg_pl.fit_shortcut import fit
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.problem import Problem
from linreg_pl.training.quiet import quiet

try:
    from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError("linreg_pl.sklearn needs scikit-learn 1.9 or newer: pip install -U scikit-learn") from error


class BaseRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What both estimators share: checks of the rows, and predictions.

    Attributes:
        coef_: W (D,), or (K, D) for y (N, K).
        intercept_: b, a number, or (K,) for y (N, K).
    """

    coef_: np.ndarray
    intercept_: float | np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """Predicts new rows: (N,), or (N, K) if y had two dimensions.

        >>> ExactRegressor().fit([[-1], [-1], [1], [1]], [0, 2, 2, 4]).predict([[3]]).round(6)
        array([5.])
        """
        check_is_fitted(self, "coef_")
        predicted: np.ndarray = validate_data(self, X, reset=False, dtype=np.float64) @ self.coef_.T + self.intercept_
        return predicted

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, **checks: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, **checks)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, y, sample_weight

    def _set_coefficients(self, W: torch.Tensor, b: torch.Tensor, is_flat: bool) -> Self:
        self.coef_, self.intercept_ = W.T.numpy().copy(), b.numpy().copy()
        if is_flat:
            self.coef_, self.intercept_ = self.coef_[0], float(self.intercept_[0])
        return self

    @property
    def _feature_names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return Columns.numbered(self.n_features_in_, 1).feature_names if names is None else list(names)


class LinregRegressor(BaseRegressor):
    """Linear regression that Lightning trains by gradient descent, as `linreg_pl.fit` does.

    It trains in float64, on the processor, and writes no folder.

    Args:
        l2: Factor of the penalty on W. `Ridge(alpha=N*K*l2)` on standardized features has the same optimum.
        l1: Factor of sum|W|, which makes some of W exactly 0.
        fit_intercept: Train b; it is 0 otherwise.
        standardize: Train on features of mean 0 and standard deviation 1, and penalise their weights.
        max_epochs: Epochs to train; by default as many as are needed to end close to the exact solution.
        batch_size: Rows in a mini-batch. By default all rows, or equal batches of at most 4096 if there are more.
        learning_rate: Step size; `auto` computes it from the data.
        momentum: Momentum coefficient.
        schedule: Learning rate over the run's steps.
        trainer: Further arguments of `lightning.Trainer`, such as `{"accelerator": "gpu", "precision": 32}`.
        random_state: Seed of the initial W and b and of the order of the rows.

    Attributes:
        model_: The trained `linreg_pl.LinearRegression`.

    Example:
        >>> from linreg_pl.sklearn import LinregRegressor
        >>> LinregRegressor().fit([[-1], [-1], [1], [1]], [0, 2, 2, 4]).coef_.round(3)
        array([1.])
    """

    model_: LinearRegression

    def __init__(
        self,
        l2: float = 0.0,
        *,
        l1: float = 0.0,
        fit_intercept: bool = True,
        standardize: bool = True,
        max_epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | Literal["auto"] = "auto",
        momentum: float = 0.0,
        schedule: Schedule = "cosine",
        trainer: Mapping[str, Any] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.fit_intercept = fit_intercept
        self.standardize = standardize
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.trainer = trainer
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains on rows X (N, D) and y, (N,) or (N, K), of weights (N,).

        Raises:
            ValueError: the rows or a setting can't be used.
            Diverged: the learning rate is too high.

        >>> LinregRegressor(max_epochs=5).fit([[-1], [-1], [1], [1]], [0, 2, 2, 4]).predict([[3]]).round(3)
        array([5.])
        """
        X, y, sample_weight = self._checked(X, y, sample_weight, ensure_min_samples=2)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        settings = {**self.get_params(), "seed": seed, "init_seed": seed}
        settings["trainer"] = {"accelerator": "cpu", "precision": "64-true", **(self.trainer or {})}
        del settings["random_state"]
        with quiet("linreg_pl"):  # about collinear columns, as other estimators are
            model = fit(pa.table(list(X.T), names=self._feature_names), y, weights=sample_weight, **settings)
        self._report_distance(model.problem_of_run(), model)
        model.trainer = None  # it holds the rows
        self.model_, (W, b) = model, model.coefficients()
        return self._set_coefficients(W, b, is_flat=y.ndim == 1)

    def _report_distance(self, problem: Problem, model: LinearRegression) -> None:
        """Reports coefficients further from the exact ones than their standard errors explain, as a warning."""
        gap, minimum = problem.gap(problem.errors(model.W, model.b)), problem.optimum.objective
        if model.is_far_from(problem):
            warnings.warn(
                f"not converged: the cost is {gap:.3g} above its minimum, {minimum:.3g}; train for more"
                f" epochs than {model.current_epoch}, or with learning_rate='auto'",
                ConvergenceWarning,
                stacklevel=3,
            )


class ExactRegressor(BaseRegressor):
    """Linear regression by its exact solution, from one pass over the rows.

    It keeps the triangle of the rows, (1+D+K)² numbers, so that further rows can be added and estimators merged.

    Args:
        l2: Factor of the penalty on W. `Ridge(alpha=N*K*l2)` on standardized features has the same solution.
        l1: Factor of sum|W|, which makes some of W exactly 0. `Lasso(alpha=K*l1/2)` has the same solution without l2.
        fit_intercept: Fit b; it is 0 otherwise.
        standardize: Penalise the weights of features of standard deviation 1, and not those of the columns as they are.

    Attributes:
        solution_: The `linreg_pl.Solution`, with standard errors and tests.
        triangle_: The triangle of all rows so far.

    Example:
        >>> from linreg_pl.sklearn import ExactRegressor
        >>> regressor = ExactRegressor().fit([[-1], [-1], [1], [1]], [0, 2, 2, 4])
        >>> regressor.coef_.round(6), round(regressor.solution_.standard_errors["x0"], 6)
        (array([1.]), 0.707107)
    """

    solution_: Solution
    triangle_: Triangle

    def __init__(
        self, l2: float = 0.0, *, l1: float = 0.0, fit_intercept: bool = True, standardize: bool = True
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.fit_intercept = fit_intercept
        self.standardize = standardize

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Solves for rows X (N, D) and y, (N,) or (N, K), of weights (N,).

        Raises:
            ValueError: the rows or a setting can't be used.

        >>> round(ExactRegressor().fit([[-1], [-1], [1], [1]], [0, 2, 2, 4]).intercept_, 6)
        2.0
        """
        self.__dict__.pop("triangle_", None)  # the rows of an earlier fit
        return self.partial_fit(X, y, sample_weight)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Adds rows; however rows are split, the result is that of `fit` on all of them.

        Raises:
            ValueError: the rows or a setting can't be used.

        >>> regressor = ExactRegressor().partial_fit([[-1], [1]], [0, 2]).partial_fit([[-1], [1]], [2, 4])
        >>> round(regressor.intercept_, 6)
        2.0
        """
        is_first = not hasattr(self, "triangle_")
        X, y, sample_weight = self._checked(X, y, sample_weight, reset=is_first)
        rows = [as_columns(part) for part in (X, y, sample_weight) if part is not None]
        return self._add(triangle_of([tuple(rows)], center_of(*rows)), y.shape[1:], is_first)

    def merge(self, other: "ExactRegressor") -> Self:
        """Adds the rows of another fitted estimator to this one's, and returns it: as `fit` on the rows of both.

        Raises:
            ValueError: the columns or the settings of the other differ, or one of the two is not fitted.

        >>> first, second = ExactRegressor().fit([[-1], [1]], [0, 2]), ExactRegressor().fit([[-1], [1]], [2, 4])
        >>> round(first.merge(second).intercept_, 6)
        2.0
        """
        check_is_fitted(self, "coef_")
        check_is_fitted(other, "coef_")
        if other._feature_names != self._feature_names:
            raise InputError(
                f"can't merge: one has the columns {self._feature_names}, the other {other._feature_names}"
            )
        if other.get_params() != self.get_params():
            raise InputError(f"can't merge: one has the settings {self.get_params()}, the other {other.get_params()}")
        return self._add(other.triangle_, np.shape(other.intercept_), is_first=False)

    def _add(self, triangle: Triangle, shape: tuple[int, ...], is_first: bool) -> Self:
        """Adds the triangle of further rows, and solves; changes nothing if that fails."""
        if not is_first:
            if shape != np.shape(self.intercept_):
                raise InputError(f"a row of y has shape {shape}, but {np.shape(self.intercept_)} in the rows before")
            triangle = self.triangle_.merge(triangle)
        D, K = triangle.num_features, triangle.num_targets
        with named_arguments():
            model = LinearRegression(D, K, **self.get_params())
        columns = Columns(self._feature_names, Columns.numbered(D, K).target_names)
        self.solution_ = solution_of(triangle, model.settings, columns)
        self.triangle_ = triangle
        optimum = self.solution_.problem.optimum
        return self._set_coefficients(optimum.W, optimum.b, is_flat=shape == ())


def as_columns(values: np.ndarray) -> torch.Tensor:
    """Returns an array as columns (N, D) in float64; it is copied only where torch can't share its memory."""
    return torch.from_numpy(np.require(values, np.float64, ["C", "W"]).reshape(len(values), -1))
