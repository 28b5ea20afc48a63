"""Computes errors on held-out folds, and chooses among settings by them.

    error = Σ w_f · e_f / Σ w_f              e_f: mean squared error of fold f, w_f: its total weight
    standard error² = Σ w_f · (e_f - error)² / Σ w_f / (F - 1)                     F folds

With folds of equal weight, the standard error is the deviation of the e_f over √F. The choice by one standard error is
the strongest penalty whose error is at most one standard error above the smallest (Breiman, Friedman, Olshen and Stone,
"Classification and Regression Trees", 1984, section 3.4.3).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from linreg_pl.core.elastic_net_path import Axis
from linreg_pl.core.folds import Folds
from linreg_pl.core.ridge_path import Posing


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The errors of L settings on F held-out folds, from the weakest penalty to the strongest.

    Args:
        fold_errors: Mean squared error of each of two or more folds, (F, L).
        weights: Total weight of each fold, (F,).
    """

    fold_errors: Tensor
    weights: Tensor

    @cached_property
    def errors(self) -> Tensor:
        """Returns the mean squared error over all rows that are held out once, (L,)."""
        return self._mean(self.fold_errors)

    @cached_property
    def standard_errors(self) -> Tensor:
        """Returns their standard errors, (L,)."""
        variance = self._mean((self.fold_errors - self.errors).square())
        return (variance / (len(self.weights) - 1)).sqrt()

    def _mean(self, values: Tensor) -> Tensor:
        mean: Tensor = (self.weights / self.weights.sum()) @ values
        return mean

    @property
    def best(self) -> int:
        """Returns the setting of the smallest error; of several, the one of the strongest penalty."""
        return int((self.errors <= self.errors.min()).nonzero().max())

    @property
    def within_one_standard_error(self) -> int:
        """Returns the setting of the strongest penalty whose error is within one standard error of the smallest."""
        most = self.errors[self.best] + self.standard_errors[self.best]
        return int((self.errors <= most).nonzero().max())


def cross_validated(folds: Folds, values: Tensor, posing: Posing, axis: Axis | None = None) -> CrossValidation:
    """Computes the errors at each value along the axis (L,), ascending, on each held-out fold.

    Each solution is standardized by its own training rows. Without an axis, the values are those of l2.
    """
    axis = axis or Axis()
    errors = [
        axis.path(rows, posing).error(held_out, values)
        for rows, held_out in zip(folds.training, folds.held_out, strict=True)
    ]
    weights = torch.tensor([held_out.total_weight for held_out in folds.held_out], dtype=torch.float64)
    return CrossValidation(torch.stack(errors), weights)
