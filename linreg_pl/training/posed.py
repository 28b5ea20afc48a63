"""Poses the problem of a run, and solves it, before the first step.

One pass over the rows gives the exact solution. The Hessians of an epoch's batches give the largest stable learning
rate. If batches are drawn anew at every epoch, a second pass accounts for rare rows, which may be in any of them.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.scaling import Scaling, standardization, users_units
from linreg_pl.core.stability import batch_hessian, curvature_noise, noise_bias, noise_ratio
from linreg_pl.core.statistics import statistics, worst_in_standard_errors
from linreg_pl.core.threads import threads_that_pay
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.fit_rows import FitRows
from linreg_pl.data.loaders import Batch
from linreg_pl.errors import InputError, quoted
from linreg_pl.training.coordinates import descent_coordinates
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.problem import Problem


def scaling_of(triangle: Triangle, settings: HyperParameters) -> Scaling:
    """Returns the units in which W and b are trained on these rows, and penalised."""
    if not settings.standardize:
        return users_units(triangle.num_features)
    scaling = standardization(triangle, settings.fit_intercept)
    return replace(scaling, target_means=torch.zeros_like(scaling.target_means)) if settings.fold_bias else scaling


def posed_optimum(
    triangle: Triangle,
    names: Sequence[str],
    l2: float,
    fit_intercept: bool,
    fold_bias: bool,
    scaling: Scaling,
    l1: float = 0.0,
) -> Optimum:
    """Returns the optimum of X and y less the means of the scaling.

    Args:
        triangle: Of the rows.
        names: Of its columns, (D+K,).
        l2: As in `LinearRegression`, like the next two.
        fit_intercept: Whether b is trained.
        fold_bias: Whether b is penalised.
        scaling: Of the W and b that are trained.
        l1: As in `LinearRegression`.

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
    rows = triangle.centered_at(scaling.center(triangle.num_targets))
    return optimum(rows, penalty, fit_intercept, scaling.scales, l1)


def posed_problem(
    data: FitRows,
    settings: HyperParameters,
    scaling: Scaling,
    *,
    num_samples: int = 16,
    max_cycle_work: float = 2e6,
) -> Problem:
    """Returns the problem that the data poses under these settings of the model; takes the pass over the data.

    Where the solution of the triangle may have less than some nine digits, another pass refines it.

    Args:
        data: Set up for fit or solve.
        settings: Of the model.
        scaling: Of the W and b that are trained.
        num_samples: Size of the sample of batches, if an epoch has too many, or draws new ones each time.
        max_cycle_work: Limit of the number of batches times Q³. The bound of a cycle takes about 100 products of that
            many multiplications. With momentum, it takes about 400 products, each eight times as large: seconds.

    Raises:
        InputError: a column's values are so small or so large that their squares are 0 or infinite in float64.
    """
    data.restore()  # to the user's units
    world, l2, fit_intercept, fold_bias = data.world, settings.known_l2, settings.fit_intercept, settings.fold_bias
    all_names = [*data.feature_names, *data.target_names]
    solution = world.first(posed_optimum(data.triangle, all_names, l2, fit_intercept, fold_bias, scaling, settings.l1))
    center, scaling = scaling.center(data.num_targets), scaling.centered
    explains_most = solution.objective < 1e-12 * solution.data.variance(fit_intercept)
    if solution.condition > 1e12 or (explains_most and not statistics(solution).is_perfect.all()):
        solution = refined(solution, data.watched_rows(), world)
    factor, coordinates, to_coordinates = descent_coordinates(solution, scaling, settings.preconditions)
    of_columns = scaling.to_users(torch.nn.functional.pad(coordinates, (0, 0, solution.free.start, 0)))

    def centered(batch: Batch) -> Batch:
        x, y, *weights = batch
        return (x.double() - center[: data.num_features], y.double() - center[data.num_features :], *weights)

    count = data.steps_per_epoch
    is_cycle = data.has_fixed_batches and count * coordinates.shape[1] ** 3 <= max_cycle_work
    # Spread over the epoch: a streamed table is shuffled in windows, which may differ.
    sample = sorted({index * count // num_samples for index in range(num_samples)})
    penalty_of_batch = solution.penalty.high[: 0 if data.triangle.is_wide and l2 == 0 else None]
    products = int(data.batch_size) * of_columns.numel()
    with threads_that_pay(products):
        batches = list(map(centered, data.batches(range(count) if is_cycle else sample)))
        hessians = [
            batch_hessian(x, penalty_of_batch, data.num_targets, of_columns, *weights) * (len(x) / data.batch_size)
            for x, _, *weights in batches
        ]
    noise, bias, ratio, num_rows = None, 0.0, 1.0, data.num_rows_to_fit
    if not data.has_fixed_batches and count > 1:
        sampled = data.batch_size, of_columns, solution.data.total_weight / num_rows
        noise, weighted = curvature_noise(map(centered, data.curvature_rows()), solution.data, *sampled, world)
        bias = worst_in_standard_errors(solution, noise_bias(weighted, solution.theta.high, *sampled, num_rows)[1:])
        mse = statistics(solution).residual_std.square()
        with threads_that_pay(products):
            ratio = noise_ratio(batches, solution.theta.high, mse, of_columns, world)
    names = ["the intercept", *data.feature_names]
    return Problem(
        optimum=solution,
        scaling=scaling,
        whole_factor=factor,
        coordinates=coordinates,
        to_coordinates=to_coordinates,
        hessians=world.reduced(torch.stack(hessians), torch.add),
        variance_explained=max(0.0, solution.data.variance(fit_intercept) - solution.objective),
        is_cycle=is_cycle,
        curvature_noise=noise,
        noise_bias=bias,
        noise_ratio=ratio,
        num_rows=num_rows,
        steps_per_epoch=count,
        batch_size=data.batch_size,
        l2=l2,
        constant_columns=[names[column] for column in solution.constant],
        dependent_columns=[names[column] for column in solution.unidentified],
    )
