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
        scales, identity = norms[present], torch.eye(len(norms), dtype=factor.dtype)[:, present]
        U, lengths, Vt = torch.linalg.svd(factor[:, present] / scales, full_matrices=False)
        kept = lengths > torch.linalg.vector_norm(Vt * (errors[present] / scales), dim=1) * len(lengths) ** 0.5
        self._U = U[:, kept]
        self.half = identity @ (Vt[kept].T / lengths[kept] / scales.unsqueeze(1))
        """(P, rank); half @ half.T is (T'T)⁺."""
        self.null = identity @ (Vt[~kept].T / scales.unsqueeze(1))
        """(P, nullity), directions of the other columns in which T θ does not change."""
        self.dependent = torch.linalg.vector_norm(identity @ Vt[~kept].T, dim=1) > INVOLVED
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
        solution: Tensor = self.half @ (self._U.T @ right)
        return solution

    def shortest(self, solution: Tensor, units: Tensor) -> Tensor:
        """Returns the equally good solution (P, K) that is shortest where its rows are multiplied by `units` (P,)."""
        if not self.nullity:
            return solution
        null = torch.linalg.qr(units.unsqueeze(1) * self.null).Q
        scaled = units.unsqueeze(1) * solution
        shortest: Tensor = (scaled - null @ (null.T @ scaled)) / units.unsqueeze(1)
        return shortest
