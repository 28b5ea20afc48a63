"""One line from arrays, frames or files to a fitted model, or to the exact solution."""

import logging
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar, TQDMProgressBar

from linreg_pl.arguments import separated, table_of, trainer_arguments
from linreg_pl.core.robust import Robust
from linreg_pl.core.subsets import CriterionName
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.remarks import log_remarks
from linreg_pl.errors import named_arguments
from linreg_pl.exact.path import PathResult, Values, axis_of, cross_validated_path
from linreg_pl.exact.solution import Solution, require_robust
from linreg_pl.exact.solution import solve as solve_exactly
from linreg_pl.exact.subsets import Search, SubsetsResult, searched_subsets
from linreg_pl.training.executions import Executions
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.quiet import quiet


def fit(
    X: Any,
    y: Any = None,
    *,
    weights: Any = None,
    target: str | list[str] | None = None,
    max_epochs: int | None = None,
    trainer: Mapping[str, Any] | None = None,
    **settings: Any,
) -> LinearRegression:
    """Trains a linear regression as `linreg fit` does, and returns it; writes no folder, and prints nothing.

    Batches, learning rate and length follow from the data, so that coefficients end close to the exact ones.

    Args:
        X: Features: an array (N, D), a frame, or the path of a file.
        y: Targets (N,) or (N, K); or their column's name, as `target`.
        weights: Weights (N,), 0 or more: how much each row counts; or their column's name.
        target: Name of the column of a frame or file to predict, or a list of names.
        max_epochs: Epochs to train; by default as many as are needed.
        trainer: Arguments of `lightning.Trainer`, such as `{"logger": True}`, which writes the curves.
        settings: Arguments of `LinearRegression`, such as `l2`, and of `TableDataModule`, such as `missing`.

    Raises:
        InputError: the data or a setting can't be used.

    Example:
        >>> import linreg_pl
        >>> model = linreg_pl.fit([-1, -1, 1, 1], [0, 2, 2, 4])
        >>> round(model.coefficients()["x0"], 3)
        1.0
    """
    with named_arguments():
        model_settings, data_settings = separated(fit, locals())
        chosen = trainer_arguments(trainer)
        data = table_of(X, y, weights, target, data_settings)
        data.setup("fit")
        model = LinearRegression(data.num_features, data.num_targets, **model_settings)
        if chosen.get("precision") in (64, "64", "64-true"):
            model.double()
        if max_epochs is None and not {"max_steps", "max_epochs"} & chosen.keys():
            max_epochs = model.planned(data).epochs
        defaults = {
            "logger": False,
            "devices": 1,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **({} if data.holds_out_rows else {"limit_val_batches": 0}),
            **({} if max_epochs is None else {"max_epochs": int(max_epochs)}),
        }
        data.group_steps(Executions())
        with quiet():
            Trainer(**{**defaults, **chosen, "callbacks": callbacks_of(chosen)}).fit(model, datamodule=data)
        data.group_steps(None)
        if model.is_far_from(model.problem_of_run()):
            logging.getLogger("linreg_pl").warning(
                "not converged after %d epochs: train for more%s", model.current_epoch, remedy_for_slowness(model)
            )
        return model


def solve(
    X: Any,
    y: Any = None,
    *,
    weights: Any = None,
    target: str | list[str] | None = None,
    robust: Robust | None = None,
    cluster: Any = None,
    **settings: Any,
) -> Solution:
    """Computes the exact solution, as `linreg solve` does: coefficients, standard errors, tests.

    Args:
        X: Features: an array (N, D), a frame, or the path of a file.
        y: Targets (N,) or (N, K); or their column's name, as `target`.
        weights: Weights (N,), 0 or more: inverse noise variances; or their column's name.
        target: Name of the column of a frame or file to predict, or a list of names.
        robust: HC0, HC1, HC2 or HC3: standard errors for noise that differs between rows.
        cluster: Groups (N,) of rows whose noise is correlated, or their column's name.
        settings: Arguments of `LinearRegression`, such as `l2`, and of `TableDataModule`, such as `missing`.

    Raises:
        InputError: the data or a setting can't be used.

    Example:
        >>> import linreg_pl
        >>> solution = linreg_pl.solve([-1, -1, 1, 1], [0, 2, 2, 4], robust="HC3")
        >>> round(solution.coefficients["x0"], 6), round(solution.standard_errors["x0"], 6)
        (1.0, 1.0)
    """
    with named_arguments():
        model_settings, data_settings = separated(solve, locals())
        data = table_of(X, y, weights, target, data_settings, cluster=cluster)
        require_robust(data, robust, data.groups)
        data.setup("solve")
        log_remarks(data)
        model = LinearRegression(data.num_features, data.num_targets, **model_settings)
        return solve_exactly(data, model, robust, data.groups)


def path(
    X: Any,
    y: Any = None,
    *,
    weights: Any = None,
    target: str | list[str] | None = None,
    folds: int = 5,
    by: Any = None,
    in_order: bool = False,
    seed: int = 0,
    l2: Values = None,
    l1: Values = None,
    **settings: Any,
) -> PathResult:
    """Computes the cross-validated error of each l2, or l1, by one pass over the rows, as `linreg path` does.

    Args:
        X: Features: an array (N, D), a frame, or the path of a file.
        y: Targets (N,) or (N, K); or their column's name, as `target`.
        weights: Weights (N,), 0 or more: how much each row counts; or their column's name.
        target: Name of the column of a frame or file to predict, or a list of names.
        folds: Number of folds to hold out, each once.
        by: Groups (N,) of rows to hold out together, or their column's name.
        in_order: Hold out consecutive blocks of rows, and predict each from the rows before it, as for time series.
        seed: Seed of the folds.
        l2: Values to try; two numbers are a range with five values for each power of ten. Or one, if l1 varies.
        l1: One value for all l2; or `auto` or several values to try, with one of l2, by default 0 (lasso).
        settings: `fit_intercept`, `fold_bias` or `standardize`, and arguments of `TableDataModule`, such as `missing`.

    Raises:
        InputError: the data or a setting can't be used.

    Example:
        >>> import linreg_pl
        >>> result = linreg_pl.path("examples/diabetes.csv", "progression")
        >>> result.within_one_standard_error > result.best
        True
    """
    with named_arguments():
        model_settings, data_settings = separated(path, locals(), ["fit_intercept", "fold_bias", "standardize"])
        axis_of(l2, l1, bool(model_settings.get("fold_bias")))  # before the rows are read
        data = table_of(X, y, weights, target, data_settings, by=by)
        plan = FoldPlan(int(folds), data.groups, in_order, int(seed))
        data.setup("path")
        log_remarks(data)
        model = LinearRegression(data.num_features, data.num_targets, **model_settings)
        return cross_validated_path(data, model.settings, plan, l2, l1)


def subsets(
    X: Any,
    y: Any = None,
    *,
    weights: Any = None,
    target: str | list[str] | None = None,
    search: Search = "forward",
    criterion: CriterionName = "CV",
    folds: int = 5,
    by: Any = None,
    in_order: bool = False,
    seed: int = 0,
    **settings: Any,
) -> SubsetsResult:
    """Finds the columns that predict best, by one pass over the rows, as `linreg path --subsets` does.

    Args:
        X: As in `path`.
        y: As in `path`.
        weights: As in `path`.
        target: As in `path`.
        search: Add (forward) or leave out (backward) one column after the other, or try all subsets, up to 20 columns.
        criterion: AIC, BIC, or CV, the error on rows held out.
        folds: As in `path`.
        by: As in `path`.
        in_order: As in `path`.
        seed: As in `path`.
        settings: `fit_intercept`, and arguments of `TableDataModule`, such as `missing`.

    Raises:
        InputError: the data or a setting can't be used.

    Example:
        >>> import linreg_pl
        >>> linreg_pl.subsets("examples/diabetes.csv", "progression", search="all", criterion="BIC").chosen
        ['sex', 'bmi', 'bp', 's3', 's5']
    """
    with named_arguments():
        model_settings, data_settings = separated(subsets, locals(), ["fit_intercept"])
        data = table_of(X, y, weights, target, data_settings, by=by)
        plan = FoldPlan(int(folds), data.groups, in_order, int(seed))
        data.setup("path")
        log_remarks(data)
        model = LinearRegression(data.num_features, data.num_targets, **model_settings)
        return searched_subsets(data, model.settings, plan, search, criterion)


def callbacks_of(trainer: Mapping[str, Any]) -> list[Callback]:
    """Returns the trainer's callbacks; tqdm's bar in notebooks without ipywidgets, where rich's prints notices."""
    given = trainer.get("callbacks") or []
    callbacks: list[Callback] = [given] if isinstance(given, Callback) else list(given)
    is_plain_notebook = "ipykernel" in sys.modules and find_spec("ipywidgets") is None
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if trainer.get("enable_progress_bar") and is_plain_notebook and not has_bar:
        callbacks.append(TQDMProgressBar())
    return callbacks


def remedy_for_slowness(model: LinearRegression) -> str:
    """Returns what else makes a run converge, besides more epochs."""
    if model.settings.learning_rate != "auto":
        return ", or with learning_rate='auto'"
    names = [name for name in ("standardize", "precondition") if not getattr(model.settings, name)]
    return f", or with {' and '.join(f'{name}=True' for name in names)}" if names else ""
