"""Solves least-squares problems that may have no unique solution, by the SVD of their scaled columns."""

import torch
from torch import Tensor

INVOLVED = 1e-6
"""Smallest component, in a unit vector of the null space, for which a column counts as linearly dependent."""


class PseudoInverse:
    """The pseudo-inverse T⁺ of T (M, P), M ≥ P, computed with columns scaled to length 1, so units do not matter.

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
        self._rows = columns.any(dim=1)
        """(M,), which rows of T are not 0."""
        if int(self._rows.sum()) >= len(present):  # of columns that have all their rows, none is dropped
            self._rows[:] = True
        U, lengths, Vt = torch.linalg.svd(columns[self._rows] / scales, full_matrices=False)
        kept = lengths > torch.linalg.vector_norm(Vt * (errors[present] / scales), dim=1) * len(scales) ** 0.5
        rest = Vt[~kept].T
        if len(lengths) < len(scales):  # more directions than rows
            rest = torch.cat([rest, torch.linalg.qr(Vt.T, mode="complete").Q[:, len(lengths) :]], dim=1)
        self._U = U[:, kept]
        self.half = _at(present, Vt[kept].T / lengths[kept] / scales.unsqueeze(1), len(norms))
        """(P, rank); half @ half.T is (T'T)⁺."""
        self._span = _at(present, Vt[kept].T * scales.unsqueeze(1), len(norms))
        """(P, rank), whose columns span T's rows."""
        self.null = _at(present, rest / scales.unsqueeze(1), len(norms))
        """(P, nullity), directions of the other columns in which T θ does not change."""
        self.dependent = torch.linalg.vector_norm(_at(present, rest, len(norms)), dim=1) > INVOLVED
        """(P,), which columns are linearly dependent, apart from those that are 0."""

        independent = lengths[kept]
        self.condition = float((independent[0] / independent[-1]).square()) if len(independent) else 1.0
        """Condition number of T'T with scaled columns, apart from the directions in which it is 0."""

    @property
    def nullity(self) -> int:
        """Counts the directions in which T θ does not change."""
        return int(self.null.shape[1])

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


def _at(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """Returns `values` (n, Q) at these n of `count` rows, and zeros in the others."""
    spread = torch.zeros(count, values.shape[1], dtype=values.dtype)
    spread[rows] = values
    return spread
