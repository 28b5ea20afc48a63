"""One line from arrays, frames or files to the exact solution, a path or a subset; imports no Lightning."""

from typing import Any

from linreg_pl.arguments import separated, table_of
from linreg_pl.core.robust import Robust
from linreg_pl.core.subsets import CriterionName
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.remarks import log_remarks
from linreg_pl.data.table.table_rows import TableRows
from linreg_pl.errors import named_arguments
from linreg_pl.exact.path import PathResult, Values, axis_of, cross_validated_path
from linreg_pl.exact.solution import Solution, require_robust
from linreg_pl.exact.solution import solve as solve_exactly
from linreg_pl.exact.subsets import Search, SubsetsResult, searched_subsets
from linreg_pl.training.hyper_parameters import HyperParameters


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
        data, groups = table_of(TableRows, X, y, weights, target, data_settings, cluster=cluster)
        require_robust(data, robust, groups)
        data.setup("solve")
        log_remarks(data)
        model = HyperParameters(data.num_features, data.num_targets, **model_settings)
        return solve_exactly(data, model, robust, groups)


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
        data, groups = table_of(TableRows, X, y, weights, target, data_settings, by=by)
        plan = FoldPlan(int(folds), groups, in_order, int(seed))
        data.setup("path")
        log_remarks(data)
        model = HyperParameters(data.num_features, data.num_targets, **model_settings)
        return cross_validated_path(data, model, plan, l2, l1)


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
        data, groups = table_of(TableRows, X, y, weights, target, data_settings, by=by)
        plan = FoldPlan(int(folds), groups, in_order, int(seed))
        data.setup("path")
        log_remarks(data)
        model = HyperParameters(data.num_features, data.num_targets, **model_settings)
        return searched_subsets(data, model, plan, search, criterion)
