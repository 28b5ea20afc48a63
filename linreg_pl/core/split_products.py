"""Multiplies matrices with twice the digits of float64, at the speed of BLAS.

Numbers are split into parts of a few bits, relative to the largest number. A product of two such parts has so few bits
that float64 sums many of them without rounding, in any order (Ozaki, Ogita, Oishi and Rump, "Error-free transformations
of matrix multiplication by using fast routines of matrix multiplication and its applications", Numerical Algorithms
59, 2012). Only products of the last part, which holds the rest, are rounded: below the digits of a pair.
"""

import math

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.double_double import DoubleDouble, double_double, fast_two_sum, two_sum

PARTS = 4
"""Parts of a number, the rest among them: three times some 20 bits, and 53 more."""


def power_above(sizes: Tensor) -> Tensor:
    """Returns the next powers of two, float64; 1 for 0."""
    return torch.ldexp(torch.ones_like(sizes), torch.frexp(sizes).exponent)


def split(high: np.ndarray, low: np.ndarray, sizes: np.ndarray, bits: int, out: np.ndarray) -> np.ndarray:
    """Splits `high + low` into parts of `bits` bits and the rest, (PARTS, …). It overwrites `high`.

    Args:
        high: Numbers.
        low: What follows their last digits.
        sizes: Powers of two that are no smaller than the numbers.
        bits: Of all parts but the last.
        out: The parts.
    """
    for index in range(PARTS - 1):
        large = sizes * (1.5 * 2.0 ** (52 - (index + 1) * bits))  # adding it rounds to the part's last bit
        np.add(high, large, out=out[index])
        out[index] -= large
        high -= out[index]
    np.add(high, low, out=out[-1])
    return out


class ResidualProducts:
    """Sums A (w · (y - A'θ)) over blocks of columns of A, which are rows of a table, as pairs of float64.

    Args:
        theta: θ, (P, K).
        sizes: Powers of two, no smaller than the numbers in each row of A, (P,).
        most: Columns in a block, at most.
    """

    def __init__(self, theta: DoubleDouble, sizes: Tensor, most: int) -> None:
        P, K = theta.high.shape
        self._bits = (53 - math.ceil(math.log2(max(most, PARTS * P)))) // 2  # so many products are summed exactly
        self._sizes = sizes.numpy()[:, None]
        largest = (theta.high.abs() * sizes.unsqueeze(1)).max()
        high, low = (half.clone().numpy() for half in theta)
        of_theta = split(high, low, power_above(largest).numpy() / self._sizes, self._bits, np.empty((PARTS, P, K)))
        factors = np.zeros((PARTS, PARTS, K, P))
        for i in range(PARTS):
            for j in range(PARTS):  # parts i and j have products with the same last bit as parts i + j and 0
                factors[i, min(i + j, PARTS - 1)] += of_theta[j].T
        self._factors = factors.reshape(PARTS, PARTS * K, P)
        self._parts = np.empty((PARTS, P, most))
        self._total = double_double(torch.zeros(PARTS, PARTS * K, P))

    def add(self, columns: np.ndarray, digits: np.ndarray, y: DoubleDouble, weights: Tensor | None = None) -> None:
        """Adds the products of a block. It overwrites `columns`.

        Args:
            columns: A, (P, n).
            digits: What follows A's last digits.
            y: (K, n).
            weights: w, (1, n).
        """
        K, n = y.high.shape
        A = split(columns, digits, self._sizes, self._bits, self._parts[:, :, :n])
        high, low = y
        *exact, rest = torch.from_numpy(np.matmul(self._factors, A).sum(axis=0)).view(PARTS, K, n)
        for product in exact:
            high, error = two_sum(high, -product)
            low = low + error
        residual = fast_two_sum(high, low - rest)
        if weights is not None:
            residual = residual * double_double(weights)
        size, (first, second) = power_above(residual.high.abs().max()), (half.numpy() for half in residual)
        of_residual = split(first, second, size.numpy(), self._bits, np.empty((PARTS, K, n)))
        sums = np.matmul(of_residual.reshape(PARTS * K, n), A.transpose(0, 2, 1))
        total, error = two_sum(self._total.high, torch.from_numpy(sums))
        self._total = DoubleDouble(total, self._total.low + error)

    @property
    def total(self) -> DoubleDouble:
        """Returns the sums, (P, K)."""
        high, low = (half.view(PARTS * PARTS, -1, half.shape[-1]) for half in self._total)
        total = double_double(torch.zeros_like(high[0]))
        for index in sorted(range(PARTS * PARTS), key=lambda index: -sum(divmod(index, PARTS))):  # the smallest first
            total = total + DoubleDouble(high[index], low[index])
        return DoubleDouble(total.high.T, total.low.T)
