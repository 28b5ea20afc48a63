"""One line from arrays, frames or files to a fitted model, or to the exact solution."""

import inspect
import logging
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from os import PathLike
from typing import Any

from lightning.pytorch import Trainer

from linreg_pl.core.robust import Robust
from linreg_pl.core.subsets import CriterionName
from linreg_pl.data.argument_types import check_types
from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.table.arrays import joined
from linreg_pl.data.table.module import TableDataModule
from linreg_pl.data.table.sources import ArrowStream
from linreg_pl.errors import InputError, quoted
from linreg_pl.exact.path import Given, PathResult, cross_validated_path
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
    model_settings, data_settings = separated(fit, locals())
    data = table_of(X, y, weights, target, None, data_settings)
    data.setup("fit")
    model = LinearRegression(data.num_features, data.num_targets, **model_settings)
    chosen = dict(trainer or {})
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
        Trainer(**{**defaults, **chosen}).fit(model, datamodule=data)
    data.group_steps(None)
    if model.is_far_from(model.problem_of_run()):
        logging.getLogger("linreg_pl").warning(
            "not converged after %d epochs: train for more, or with learning_rate='auto'", model.current_epoch
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
    model_settings, data_settings = separated(solve, locals())
    data = table_of(X, y, weights, target, cluster, data_settings)
    group = None if cluster is None else cluster if isinstance(cluster, str) else data.cluster_name
    require_robust(data, robust, group)
    data.setup("solve")
    return solve_exactly(data, LinearRegression(data.num_features, data.num_targets, **model_settings), robust, group)


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
    l2: Given = None,
    l1: Given = None,
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
    model_settings, data_settings = separated(path, locals())
    if unused := sorted(model_settings.keys() - {"fit_intercept", "fold_bias", "standardize"}):
        raise InputError(f"{quoted(unused)}: this setting has no effect on a path; leave it out")
    data = table_of(X, y, weights, target, by, data_settings)
    plan = FoldPlan(int(folds), data.cluster_name, in_order, int(seed))
    data.setup("path")
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
    model_settings, data_settings = separated(subsets, locals())
    if unused := sorted(model_settings.keys() - {"fit_intercept"}):
        raise InputError(f"{quoted(unused)}: this setting has no effect on subsets; leave it out")
    data = table_of(X, y, weights, target, by, data_settings)
    plan = FoldPlan(int(folds), data.cluster_name, in_order, int(seed))
    data.setup("path")
    model = LinearRegression(data.num_features, data.num_targets, **model_settings)
    return searched_subsets(data, model.settings, plan, search, criterion)


class JoinedDataModule(TableDataModule):
    """A table, or arrays that have become one, with the column of the clusters."""

    cluster_name: str | None = None


def table_of(
    X: Any, y: Any, weights: Any, target: str | list[str] | None, cluster: Any, settings: dict[str, Any]
) -> JoinedDataModule:
    """Returns the rows as a data module; arrays become columns of the table.

    Raises:
        InputError: the target is missing or given twice, arrays come with a file, or the shapes do not fit.
    """
    if isinstance(X, BatchDataModule):
        raise InputError("X is a data module: give it to a lightning.Trainer, with LinearRegression")
    if is_name(y):
        if target is not None:
            raise InputError(f"y is {y!r} and target is {target!r}: give one of them")
        target, y = y, None
    if (y is None) == (target is None):
        raise InputError(
            "give the targets as y, or the name of their column as target" + (", not both" if y is not None else "")
        )
    arrays = {
        "y": y,
        "weights": None if isinstance(weights, str) else weights,
        "cluster": None if isinstance(cluster, str) else cluster,
    }
    is_file = is_path(X)
    if is_file and any(values is not None for values in arrays.values()):
        names = [label for label, values in arrays.items() if values is not None]
        raise InputError(f"X is a file, so {quoted(names)} must be the name of a column in it")
    if not is_file and not isinstance(X, ArrowStream) and target is not None:
        raise InputError(f"target is {target!r}, but X is an array without names: give the targets as y")
    table, columns = (X, dict[str, list[str]]()) if is_file else joined(X, **arrays)
    weight = weights if isinstance(weights, str) else next(iter(columns.get("weights", [])), None)
    data = JoinedDataModule(table, target or columns["y"], weight=weight, **settings)
    data.cluster_name = cluster if isinstance(cluster, str) else next(iter(columns.get("cluster", [])), None)
    if data.cluster_name is not None:
        data.set_aside([data.cluster_name])
    return data


def is_name(value: Any) -> bool:
    """Returns whether this is a column's name, or a list of names."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))


def is_path(value: Any) -> bool:
    """Returns whether this is the path of a file, or a list of paths."""
    return (
        isinstance(value, PathLike)
        or is_name(value)
        or (isinstance(value, list) and bool(value) and isinstance(value[0], PathLike))
    )


def separated(function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of the model, and those of the data, among the arguments given to a function.

    Raises:
        InputError: a setting is unknown, follows from the data, or another argument has a wrong type.
    """
    check_types(function, given)
    settings = given["settings"]
    of_model = inspect.signature(LinearRegression).parameters.keys() - {"num_features", "num_targets"}
    of_data = inspect.signature(TableDataModule).parameters.keys() - {"path", "target", "weight"}
    for name in settings:
        if name not in of_model | of_data:
            near = get_close_matches(name, sorted(of_model | of_data), 1)
            meant = f"; did you mean {near[0]}?" if near else ": see LinearRegression and TableDataModule"
            raise InputError(f"{name} is no setting of the model or of the data{meant}")
    model = {name: value for name, value in settings.items() if name in of_model}
    return model, {name: value for name, value in settings.items() if name in of_data}
