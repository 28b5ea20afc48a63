"""Refines the exact solution to all its digits, by more passes over the rows in twice the precision.

The triangle is right to float64's rounding, which a condition number κ of the columns turns into an error of κ·2⁻⁵³ in
the coefficients. The gradient at this first solution, in pairs of float64, gives the correction:

    θ ← θ + (T'T)⁺ (X'(y - X θ) / (N·K) - P'P θ)

A correction reduces the error by about the factor κ·2⁻⁵³, so one is enough wherever the first solution has half of its
digits (Björck, "Numerical Methods for Least Squares Problems", 1996, section 6.6.5).

With l1, the same is done for the coefficients that are not 0. At the minimum, the l1 penalty balances their gradient.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.accuracy import remaining_error
from linreg_pl.core.double_double import DoubleDouble, double_double, two_sum
from linreg_pl.core.elastic_net import L1Term
from linreg_pl.core.optimum import Optimum
from linreg_pl.core.parallel import in_workers
from linreg_pl.core.split_products import ResidualProducts, power_above
from linreg_pl.core.world import ALONE, World

VALUES_PER_BLOCK = 2**15
"""Their parts fit the processor's cache."""


def refined(solution: Optimum, chunks: Iterable[tuple[Any, ...]], world: World = ALONE) -> Optimum:
    """Returns the optimum after one correction, with a bound of its error.

    Args:
        solution: The optimum of the rows' triangle, or a refined one.
        chunks: The same rows: x (n, D), y (n, K), and weights (n, 1) if they have any. The numbers of an x with more
            digits than float64 are pairs, (n, D, 2).
        world: The processes whose chunks together are the rows.
    """
    theta, data = solution.theta, solution.data
    count = torch.tensor(float(data.total_weight * data.num_targets), dtype=torch.float64)
    # Half of J's gradient, times N·K, with the opposite sign. The terms of rows and penalty cancel, so both are pairs.
    total = double_double(torch.zeros_like(theta.high))
    if solution.is_penalized and world.rank == 0:
        total = _products_of_penalty(theta, solution.penalty) * double_double(count)
    products = in_workers(partial(_products_of_rows, theta, data.center), chunks)
    try:
        for each in products:
            total = total + each
    finally:
        products.close()
    total = world.reduced(total, DoubleDouble.__add__)
    l1_term, balance = solution.l1_term, torch.zeros_like(total.high)
    if l1_term is not None:
        balance[1:] = -l1_term.l1 / 2 * solution.units.unsqueeze(1) * l1_term.minimum.sign()
    right = (total + double_double(balance) * double_double(count)).high / count
    change, errors = torch.zeros_like(right), []
    for k in range(right.shape[1]):
        half = solution.half_of(k)
        along = half.T @ right[:, k]
        change[solution.free, k] = (half @ along)[solution.free]
        errors.append(remaining_error(solution, k, half, float(torch.linalg.vector_norm(along))))
    theta = two_sum(theta.high, theta.low + change)
    if l1_term is not None:
        l1_term = L1Term.at(l1_term.l1, solution.units.unsqueeze(1) * theta.high[1:], l1_term.pulls)
    return replace(solution, theta=theta, l1_term=l1_term, refined_error=torch.tensor(errors, dtype=torch.float64))


def _products_of_rows(theta: DoubleDouble, center: Tensor, x: Tensor, y: Tensor, *weights: Tensor) -> DoubleDouble:
    """Computes A'(w · (y - A θ)), (1+D, K), for A = [1, x - c_x] and y less c_y."""
    D = x.shape[1]
    largest = torch.maximum(x.amax(dim=0), -x.amin(dim=0)).double()
    bounds = (largest if x.ndim == 2 else largest[:, 0]) + center[:D].abs()
    sizes = power_above(torch.cat([torch.ones(1), bounds]).double())
    center_x, center_y = center[:D].numpy()[:, None], double_double(-center[D:].unsqueeze(1))
    most = max(1, min(4096, len(x), VALUES_PER_BLOCK // (1 + D)))
    products = ResidualProducts(theta, sizes, most)
    values, (high, low, step) = np.empty((D, most)), np.zeros((3, 1 + D, most))
    for rows, targets, *of_rows in zip(*(torch.split(each, most) for each in (x, y, *weights)), strict=True):
        n = len(rows)
        given, difference, error, change = values[:, :n], high[1:, :n], low[1:, :n], step[1:, :n]
        given[:] = (rows if rows.ndim == 2 else rows[:, :, 0]).T
        high[0] = 1
        np.subtract(given, center_x, out=difference)  # Knuth's two-sum, without new memory
        np.subtract(difference, given, out=change)
        np.subtract(difference, change, out=error)
        np.subtract(given, error, out=error)
        change += center_x
        error -= change
        if rows.ndim == 3:
            error += rows[:, :, 1].T.numpy()
        targets = double_double(targets.T.contiguous()) + center_y
        products.add(high[:, :n], low[:, :n], targets, *(w.double().T for w in of_rows))
    return products.total


def _products_of_penalty(theta: DoubleDouble, penalty: DoubleDouble) -> DoubleDouble:
    """Computes -P'P θ, (1+D, K)."""
    size = len(penalty.high)
    products = ResidualProducts(theta, power_above(penalty.high.abs().amax(dim=0)), size)
    high, low = (half.T.numpy().copy() for half in penalty)
    products.add(high, low, double_double(torch.zeros(theta.high.shape[1], size)))
    return products.total
