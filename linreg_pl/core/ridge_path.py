"""Computes the solution of ridge regression at any l2 from one triangle, and its error on rows held out.

    A = Z / √(N·K),  B = y / √(N·K),  A = U S V'             Z: the penalised columns, less their means
    W(l2) = V · S / (S² + l2) · U'B                          minimises mean((Z W - y)²) + l2 · sum(W²)
    df(l2) = Σ S² / (S² + l2), and 1 for a free b            the trace of the matrix that maps y to its prediction
    GCV(l2) = mean((Z W - y)²) / (1 - df / N)²

One SVD serves all l2. Errors are norms of residuals, never differences. Where rows have weights, means are weighted,
and the N of GCV counts the rows of weight above 0.

Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", Technometrics 21
(1979); Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd edition, 2009, section 3.4.1.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from linreg_pl.core.pseudo_inverse import thin_svd
from linreg_pl.core.scaling import standardization
from linreg_pl.core.triangle import Triangle


@dataclass(frozen=True)
class Posing:
    """The settings that pose the problem, as in `LinearRegression`."""

    fit_intercept: bool = True
    standardize: bool = True
    fold_bias: bool = False

    @property
    def has_free_bias(self) -> bool:
        """Returns whether b is fitted, and not penalised."""
        return self.fit_intercept and not self.fold_bias


class RidgePath:
    """The solutions of ridge regression at all l2, for the rows of a triangle with D features and K targets.

    The P penalised columns are those of X, after a column of ones if b is penalised.

    Args:
        rows: Triangle of the rows.
        posing: The settings that pose the problem.
    """

    def __init__(self, rows: Triangle, posing: Posing) -> None:
        D, self._posing = rows.num_features, posing
        scaling = standardization(rows, posing.fit_intercept)
        scales = scaling.scales if posing.standardize else torch.ones_like(scaling.scales)
        center = rows.center  # b is free to correct it
        if not posing.has_free_bias:
            means = scaling.means if posing.fit_intercept and posing.standardize else torch.zeros_like(scales)
            center = torch.cat([means, torch.zeros_like(scaling.target_means)])
        self.deviations = rows.scales[:D]
        """(D,), the standard deviations of the features."""
        self._rows = rows.centered_at(center)
        self._columns = slice(0 if posing.fit_intercept and posing.fold_bias else 1, 1 + D)  # of [1, X], penalised
        self._units = torch.cat([torch.ones(1, dtype=torch.float64), scales])[self._columns]
        # A free b makes the residual of R's first row 0.
        R = self._rows.R[int(posing.has_free_bias) :] / (rows.total_weight * rows.num_targets) ** 0.5
        self._A, self._B = R[:, self._columns] / self._units, R[:, 1 + D :]
        U, self._S, self._Vt = thin_svd(self._A)
        self._UB = U.T @ self._B
        errors = self._rows.errors[self._columns] / self._units / (rows.total_weight * rows.num_targets) ** 0.5
        rounding = torch.linalg.vector_norm(self._Vt * errors, dim=1) * len(errors) ** 0.5
        self._S = torch.where(rounding < self._S, self._S, 0.0)
        self._is_constant = torch.linalg.vector_norm(self._A, dim=0) <= errors

    def _penalized(self, l2: Tensor) -> Tensor:
        """Returns the coefficients of the penalised columns, (L, P, K)."""
        shrinkage = torch.where(self._S > 0, self._S / (self._S.square() + l2.unsqueeze(1)), 0.0)
        coefficients: Tensor = self._Vt.T @ (shrinkage.unsqueeze(2) * self._UB)
        return coefficients

    def _theta(self, l2: Tensor) -> Tensor:
        """Returns b above W, (L, 1+D, K), for X and y less the center."""
        R = self._rows.R
        theta = torch.zeros(len(l2), 1 + self._rows.num_features, self._rows.num_targets, dtype=torch.float64)
        theta[:, self._columns] = self._penalized(l2) / self._units.unsqueeze(1)
        if self._posing.has_free_bias:
            D = self._rows.num_features
            theta[:, 0] = (R[0, 1 + D :] - R[0, 1 : 1 + D] @ theta[:, 1:]) / R[0, 0]
        return theta

    def coefficients(self, l2: Tensor) -> tuple[Tensor, Tensor]:
        """Returns W (L, D, K) and b (L, K) in the user's units at each l2 (L,)."""
        theta, D = self._theta(l2), self._rows.num_features
        center = self._rows.center
        return theta[:, 1:], theta[:, 0] + center[D:] - center[:D] @ theta[:, 1:]

    @property
    def mean_square(self) -> float:
        """Returns the mean square of a penalised column, divided by K: the scale on which l2 acts."""
        return float(self._S.square().sum()) / self._Vt.shape[1]

    def degrees_of_freedom(self, l2: Tensor) -> Tensor:
        """Returns the effective number of parameters at each l2, (L,); that of b is one of them."""
        squares = self._S.square()
        shares = torch.where(squares > 0, squares / (squares + l2.unsqueeze(1)), 0.0)
        return shares.sum(dim=1) + int(self._posing.has_free_bias)

    def training_error(self, l2: Tensor) -> Tensor:
        """Returns the mean squared error over the rows themselves at each l2, (L,)."""
        error: Tensor = (self._A @ self._penalized(l2) - self._B).square().sum(dim=(1, 2))
        return error

    def gcv(self, l2: Tensor) -> Tensor:
        """Returns the error of generalized cross-validation at each l2, (L,); infinite without degrees of freedom."""
        rest = 1 - self.degrees_of_freedom(l2) / self._rows.num_rows
        return torch.where(rest > 1e-12, self.training_error(l2) / rest.square(), torch.inf)

    def error(self, held_out: Triangle, l2: Tensor) -> Tensor:
        """Returns the mean squared error over the rows of another triangle at each l2, (L,)."""
        R, D = held_out.centered_at(self._rows.center).R, held_out.num_features
        total: Tensor = (R[:, : 1 + D] @ self._theta(l2) - R[:, 1 + D :]).square().sum(dim=(1, 2))
        return total / (held_out.total_weight * held_out.num_targets)


def default_l2(rows: Triangle, posing: Posing) -> Tensor:
    """Returns 46 values of l2, five a power of ten, from hardly any shrinkage to hardly anything else, (46,).

    They reach from 1e-6 to 1e3 times the mean square of the columns of A, rounded to a power of ten: with standardized
    features and one target these are the values themselves.
    """
    size = RidgePath(rows, posing).mean_square
    return torch.logspace(-6, 3, 46, dtype=torch.float64) * (10.0 ** round(math.log10(size)) if size > 0 else 1.0)
