"""Solves the problem that a triangle poses, when the rows are gone."""

from linreg_pl.core.inference import Inference
from linreg_pl.core.triangle import Triangle
from linreg_pl.data.columns import Columns
from linreg_pl.exact.solution import Solution
from linreg_pl.training.coordinates import descent_coordinates
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.training.posed import posed_optimum, scaling_of
from linreg_pl.training.problem import Problem


def solution_of(triangle: Triangle, settings: HyperParameters, columns: Columns) -> Solution:
    """Returns the exact solution, which no further pass over the rows refines.

    Learning rates are those of steps on all rows.

    Args:
        triangle: Of the rows.
        settings: They pose the problem.
        columns: Names of the triangle's columns.

    Raises:
        InputError: a column's values are so small or so large that their squares are 0 or infinite in float64.
    """
    all_names, fit_intercept = [*columns.feature_names, *columns.target_names], settings.fit_intercept
    l2 = settings.known_l2
    scaling = scaling_of(triangle, settings)
    solution = posed_optimum(triangle, all_names, l2, fit_intercept, settings.fold_bias, scaling, settings.l1)
    scaling = scaling.centered
    factor, coordinates, to_coordinates = descent_coordinates(solution, scaling, settings.preconditions)
    directions, names = factor @ coordinates, ["the intercept", *columns.feature_names]
    posed = Problem(
        optimum=solution,
        scaling=scaling,
        whole_factor=factor,
        coordinates=coordinates,
        to_coordinates=to_coordinates,
        hessians=2 * (directions.T @ directions).unsqueeze(0),
        variance_explained=max(0.0, solution.data.variance(fit_intercept) - solution.objective),
        is_cycle=True,
        curvature_noise=None,
        noise_bias=0.0,
        noise_ratio=1.0,
        num_rows=triangle.num_rows,
        steps_per_epoch=1,
        batch_size=triangle.num_rows,
        l2=l2,
        constant_columns=[names[column] for column in solution.constant],
        dependent_columns=[names[column] for column in solution.unidentified],
    )
    return Solution(posed, settings, columns, [], [], Inference(solution))
