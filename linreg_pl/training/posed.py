"""Solves the least-squares problem that the triangle of some rows poses under the settings of a model."""

from collections.abc import Sequence

from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import Triangle
from linreg_pl.errors import InputError, quoted


def posed_optimum(
    triangle: Triangle, names: Sequence[str], l2: float, fit_intercept: bool, fold_bias: bool, scaling: Scaling
) -> Optimum:
    """Returns the optimum of X and y less the means of the scaling.

    Args:
        triangle: Of the rows.
        names: Of its columns, (D+K,).
        l2: As in `LinearRegression`, like the next two.
        fit_intercept: Whether b is trained.
        fold_bias: Whether b is penalised.
        scaling: Of the W and b that are trained.

    Raises:
        InputError: a column's values are so small or so large that their squares are 0 or infinite in float64.
    """
    small = [name for name, is_too_small in zip(names, triangle.is_too_small.tolist(), strict=True) if is_too_small]
    if small:
        raise InputError(f"{quoted(small)}: values differ by less than 1e-150; multiply the column by a large number")
    large = [name for name, is_too_large in zip(names, triangle.is_too_large.tolist(), strict=True) if is_too_large]
    if large:
        raise InputError(f"{quoted(large)}: values are larger than 1e150; divide the column by a large number")
    penalty = penalty_rows(triangle.num_features, l2, fold_bias, scaling.centered)
    return optimum(triangle.centered_at(scaling.center(triangle.num_targets)), penalty, fit_intercept, scaling.scales)
