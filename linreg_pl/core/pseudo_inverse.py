"""Solves least-squares problems that may have no unique solution, by the SVD of their scaled columns."""

from functools import cached_property

import torch
from torch import Tensor

INVOLVED = 1e-6
"""Smallest component, in a unit vector of the null space, for which a column counts as linearly dependent."""


class PseudoInverse:
    """The pseudo-inverse T⁺ of T (M, P), computed with columns scaled to length 1, so units do not matter.

    With fewer rows than columns, the directions in which T θ does not change are those orthogonal to the rows. They are
    computed only on request, as that takes O(P²·M), and all else O(M²·P).

    Args:
        factor: T.
        errors: Bounds on the lengths of the errors of T's columns, (P,). A column that is no longer counts as 0.
            Columns are linearly dependent where a combination of them is no longer than such errors make it.
    """

    def __init__(self, factor: Tensor, errors: Tensor) -> None:
        norms = torch.linalg.vector_norm(factor, dim=0)
        self.zero = norms <= errors
        """(P,), which columns are 0 but for errors."""
        present = (~self.zero).nonzero().flatten()
        scales, columns = norms[present], factor[:, present]
        self._present, self._scales = present, scales
        self._rows = columns.any(dim=1)
        """(M,), which rows of T are not 0."""
        if int(self._rows.sum()) >= len(present):  # of columns that have all their rows, none is dropped
            self._rows[:] = True
        U, lengths, Vt = thin_svd(columns[self._rows] / scales)
        kept = lengths > torch.linalg.vector_norm(Vt * (errors[present] / scales), dim=1) * len(scales) ** 0.5
        self._U, self._Vt, self._kept = U[:, kept], Vt, kept
        self._is_wide = len(lengths) < len(scales)  # more directions than rows
        self.half = _at(present, Vt[kept].T / lengths[kept] / scales.unsqueeze(1), len(norms))
        """(P, rank); half @ half.T is (T'T)⁺."""
        self._span = _at(present, Vt[kept].T * scales.unsqueeze(1), len(norms))
        """(P, rank), whose columns span T's rows."""
        self.nullity = len(scales) - int(kept.sum())
        """Number of directions in which T θ does not change."""
        self.dependent = torch.zeros(len(norms), dtype=torch.bool)
        """(P,), which columns are linearly dependent, apart from those that are 0."""
        if self._is_wide:  # the squares of a direction's components in both spaces add up to 1
            self.dependent[present] = 1 - Vt[kept].square().sum(dim=0) > INVOLVED**2
        else:
            self.dependent[present] = torch.linalg.vector_norm(Vt[~kept], dim=0) > INVOLVED

        independent = lengths[kept]
        self.condition = float((independent[0] / independent[-1]).square()) if len(independent) else 1.0
        """Condition number of T'T with scaled columns, apart from the directions in which it is 0."""

    @cached_property
    def null(self) -> Tensor:
        """Returns directions of the columns that are not 0, (P, nullity), in which T θ does not change."""
        rest = self._Vt[~self._kept].T
        if self._is_wide:
            rest = torch.cat([rest, torch.linalg.qr(self._Vt.T, mode="complete").Q[:, len(self._Vt) :]], dim=1)
        return _at(self._present, rest / self._scales.unsqueeze(1), len(self.dependent))

    def determines(self, row: Tensor) -> bool:
        """Returns whether all θ (P,) with the same T θ have the same product with `row` (P,)."""
        if self._is_wide:
            scaled, known = row[self._present] / self._scales, self._Vt[self._kept]
            rest = torch.linalg.vector_norm(scaled - known.T @ (known @ scaled))
            return bool(rest <= INVOLVED * torch.linalg.vector_norm(scaled))
        terms = row.unsqueeze(1) * self.null
        return not (terms.sum(dim=0).abs() > INVOLVED * terms.abs().sum(dim=0)).any()

    def solve(self, right: Tensor) -> Tensor:
        """Returns a solution (P, K) of min ‖T θ - right‖, `right` (M, K)."""
        solution: Tensor = self.half @ (self._U.T @ right[self._rows])
        return solution

    def shortest(self, solution: Tensor, units: Tensor) -> Tensor:
        """Returns the equally good solution (P, K) that is shortest where its rows are multiplied by `units` (P,)."""
        if not self.nullity:
            return solution
        scaled = units.unsqueeze(1) * solution
        if self.nullity > self.half.shape[1]:
            span = torch.linalg.qr(self._span / units.unsqueeze(1)).Q
            projected: Tensor = span @ (span.T @ scaled) / units.unsqueeze(1)
            return projected
        null = torch.linalg.qr(units.unsqueeze(1) * self.null).Q
        shortest: Tensor = (scaled - null @ (null.T @ scaled)) / units.unsqueeze(1)
        return shortest


def thin_svd(matrix: Tensor, *, largest: int = 65_536) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U, the singular values and Vᵀ of a matrix (M, P), without the rest of the larger basis.

    LAPACK takes seconds for a matrix of 300 x 5000, ten times as long as for its triangle. So more than `largest`
    elements in fewer rows than columns are reduced to a triangle before.
    """
    if len(matrix) < matrix.shape[1] and matrix.numel() > largest:
        Q, R = torch.linalg.qr(matrix.T)
        U, lengths, Vt = torch.linalg.svd(R.T)
        return U, lengths, Vt @ Q.T
    U, lengths, Vt = torch.linalg.svd(matrix, full_matrices=False)
    return U, lengths, Vt


def _at(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """Returns `values` (n, Q) at these n of `count` rows, and zeros in the others."""
    spread = torch.zeros(count, values.shape[1], dtype=values.dtype)
    spread[rows] = values
    return spread
