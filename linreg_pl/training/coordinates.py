"""Chooses the coordinates u in which descent is described: an error θ - θ* is a matrix (P, Q) times u."""

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum
from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import with_rows


def descent_coordinates(
    solution: Optimum, scaling: Scaling, precondition: bool, *, most_forecast: int = 1000
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns T (M, P), M ≥ Q, the matrix (P, Q) of the coordinates, and one (Q, P) that gives u.

    Plain descent changes each of the P coefficients, so both are I. Where J is flat in most directions, an orthonormal
    basis of the others does as well, as no gradient has a part outside it. It leaves out the errors that never change.
    The forecast of a single coefficient needs them, so the basis is for more than `most_forecast` coefficients, which
    have no such forecasts.

    Args:
        solution: The exact solution.
        scaling: Of the W and b that are trained.
        precondition: Whether gradients are multiplied by the inverse of the Hessian.
        most_forecast: Largest number of coefficients that are forecast one by one.
    """
    factor = solution.factor_of(scaling)
    if precondition:
        coordinates = scaling.from_users(solution.half)[solution.free] / 2**0.5
        return factor, coordinates, 2 * (factor @ coordinates).T @ factor
    if factor.shape[1] > max(most_forecast, 2 * solution.half.shape[1]):
        span = solution.span(scaling)
        return factor, span, span.T
    num_free = factor.shape[1]
    same = torch.eye(num_free, dtype=torch.float64)
    return with_rows(factor, num_free), same, same
