"""Refines the exact solution to all its digits, by one more pass over the rows in twice the precision.

The triangle is right to float64's rounding, which a condition number κ of the columns turns into an error of κ·2⁻⁵³ in
the coefficients. The gradient at this first solution, in pairs of float64, gives the correction:

    θ ← θ + (T'T)⁺ (X'(y - X θ) / (N·K) - P'P θ)

A correction reduces the error by the factor κ·2⁻⁵³, so one is enough wherever the first solution has any correct
digit (Björck, "Numerical Methods for Least Squares Problems", 1996, section 6.6.5).

With l1, the same is done for the coefficients that are not 0. At the minimum, the l1 penalty balances their gradient.

The products are taken column by column. Of a table with more columns than rows, they are taken for all columns at once.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, double_double, two_sum
from linreg_pl.core.elastic_net import L1Term
from linreg_pl.core.optimum import Optimum
from linreg_pl.core.world import ALONE, World


def refined(solution: Optimum, chunks: Iterable[tuple[Any, ...]], world: World = ALONE) -> Optimum:
    """Returns the optimum with all its digits.

    Args:
        solution: The optimum of the rows' triangle.
        chunks: The same rows: x, y, and weights if they have any. An x with more digits than float64 comes as pairs.
        world: The processes whose chunks together are the rows.
    """
    rows_per_block = 8192  # their pairs of numbers fit the processor's cache
    theta, data = solution.theta, solution.data
    center_x, center_y = (
        double_double(-part) for part in (data.center[: data.num_features], data.center[data.num_features :])
    )
    count = torch.tensor(float(data.total_weight * data.num_targets), dtype=torch.float64)
    # Half of J's gradient, times N·K, with the opposite sign. The terms of rows and penalty cancel, so both are pairs.
    total = double_double(torch.zeros_like(theta.high))
    if solution.is_penalized and world.rank == 0:
        total = _products(solution.penalty, total, theta) * double_double(count)
    for x, y, *weights in chunks:
        for start in range(0, len(y), rows_per_block):
            rows = slice(start, start + rows_per_block)
            columns = x.rows(rows) if isinstance(x, DoubleDouble) else double_double(x[rows])
            columns, targets = (columns + center_x).after_ones(), double_double(y[rows]) + center_y
            products = _wide_products if data.is_wide else _products
            total = total + products(columns, targets, theta, *(w[rows] for w in weights))
    total = world.reduced(total, DoubleDouble.__add__)
    change, l1_term = torch.zeros_like(total.high), solution.l1_term
    if l1_term is None:
        right = total.high / count
        change[solution.free] = (solution.half @ (solution.half.T @ right))[solution.free]
        return replace(solution, theta=two_sum(theta.high, theta.low + change))
    balance = torch.zeros_like(total.high)
    balance[1:] = -l1_term.l1 / 2 * solution.units.unsqueeze(1) * l1_term.minimum.sign()
    right = (total + double_double(balance) * double_double(count)).high / count
    for k in range(right.shape[1]):
        half = solution.half_of(k)
        change[:, k] = half @ (half.T @ right[:, k])
    theta = two_sum(theta.high, theta.low + change)
    minimum = solution.units.unsqueeze(1) * theta.high[1:]
    return replace(solution, theta=theta, l1_term=L1Term.at(l1_term.l1, minimum, l1_term.pulls))


def _products(
    columns: DoubleDouble, y: DoubleDouble, theta: DoubleDouble, weights: Tensor | None = None
) -> DoubleDouble:
    """Computes A'(y - A θ) (1+D, K) for columns A (n, 1+D), each row times its weight (n, 1)."""
    each_column = [columns.columns(slice(j, j + 1)) for j in range(columns.high.shape[1])]
    residual = y
    for j, column in enumerate(each_column):
        residual = residual + -(column * theta.rows(slice(j, j + 1)))
    residual = residual if weights is None else residual * double_double(weights)
    sums = [(column * residual).sum_of_rows() for column in each_column]
    return DoubleDouble(torch.stack([part.high for part in sums]), torch.stack([part.low for part in sums]))


def _wide_products(
    columns: DoubleDouble, y: DoubleDouble, theta: DoubleDouble, weights: Tensor | None = None
) -> DoubleDouble:
    """Computes the same for few rows with many columns; memory is O(n·D)."""
    sums = []
    for k in range(y.high.shape[1]):
        target = slice(k, k + 1)
        terms = columns * _transposed(theta.columns(target))
        residual = y.columns(target) + -_transposed(_transposed(terms).sum_of_rows())
        residual = residual if weights is None else residual * double_double(weights)
        sums.append((columns * residual).sum_of_rows())
    return DoubleDouble(*(torch.stack([part[i] for part in sums], dim=1) for i in range(2)))


def _transposed(pair: DoubleDouble) -> DoubleDouble:
    """Returns the transposed matrix, or a column of a vector."""
    return DoubleDouble(*(part.unsqueeze(1) if part.ndim == 1 else part.T for part in pair))
