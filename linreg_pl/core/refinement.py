"""How does the exact solution get its last digits? By one more pass over the rows, in twice the precision.

The triangle is right to float64's rounding, which a condition number κ of the columns turns into an error of κ·2⁻⁵³ in
the coefficients. The gradient at this first solution, in pairs of float64, tells what is missing:

    θ ← θ + (T'T)⁺ (X'(y - X θ) / (N·K) - P'P θ)

A step leaves the κ·2⁻⁵³-th part of the error in the predictions, so one is enough wherever the first solution has any
right digit (Björck, "Numerical Methods for Least Squares Problems", 1996, section 6.6.5).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, double_double, two_sum
from linreg_pl.core.optimum import Optimum

ROWS_AT_A_TIME = 8192
"""Rows whose pairs of numbers fit the processor's cache."""


def refined(solution: Optimum, chunks: Iterable[tuple[Any, ...]]) -> Optimum:
    """The optimum with all its digits, from the rows that its triangle was made of: x, y, and weights if they have any.

    Where x itself has more digits than float64, it comes as pairs.
    """
    theta, data = solution.theta, solution.data
    count = torch.tensor(float(data.total_weight * data.num_targets), dtype=torch.float64)
    # Half of J's gradient, times N·K, downwards. The rows' part and the penalty's cancel, so both are pairs until then.
    total = _products(solution.penalty, torch.zeros_like(theta.high), theta) * double_double(count)
    for x, y, *weights in chunks:
        pairs = x if isinstance(x, DoubleDouble) else double_double(x)
        for start in range(0, len(y), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            total = total + _products(pairs.rows(rows).after_ones(), y[rows], theta, *(each[rows] for each in weights))
    right = total.high / count
    change = torch.zeros_like(right)
    change[solution.free] = solution.inverse.solve_normal(right[solution.free])
    return replace(solution, theta=two_sum(theta.high, theta.low + change))


def _products(columns: DoubleDouble, y: Tensor, theta: DoubleDouble, weights: Tensor | None = None) -> DoubleDouble:
    """A'(y - A θ) (1+D, K) of some rows of columns A (n, 1+D), each row times its weight (n, 1)."""
    each = [columns.columns(slice(j, j + 1)) for j in range(columns.high.shape[1])]
    residual = double_double(y)
    for j, column in enumerate(each):
        residual = residual + -(column * theta.rows(slice(j, j + 1)))
    residual = residual if weights is None else residual * double_double(weights)
    sums = [(column * residual).sum_of_rows() for column in each]
    return DoubleDouble(torch.stack([part.high for part in sums]), torch.stack([part.low for part in sums]))
