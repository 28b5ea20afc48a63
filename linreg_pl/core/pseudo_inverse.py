"""Solves least-squares problems that may have no unique solution, by the SVD of their scaled columns."""

import torch
from torch import Tensor

INVOLVED = 1e-6
"""Smallest component, in a unit vector of the null space, for which a column counts as linearly dependent."""


class PseudoInverse:
    """The pseudo-inverse T⁺ of T (M, P), M ≥ P, computed with columns scaled to length 1, so units do not matter.

    Args:
        factor: T.
        rounding: Relative error of a column. Columns are linearly dependent where a combination of the scaled columns
            is no longer than such errors make it.
    """

    def __init__(self, factor: Tensor, rounding: float) -> None:
        norms = torch.linalg.vector_norm(factor, dim=0)
        scales = torch.where(norms > 0, norms, 1.0).unsqueeze(1)
        U, lengths, Vt = torch.linalg.svd(factor / scales.T, full_matrices=False)
        kept = lengths > rounding * len(lengths) ** 0.5
        self._U = U[:, kept]
        self.half = Vt[kept].T / lengths[kept] / scales
        """(P, rank); half @ half.T is (T'T)⁺."""
        self.null = Vt[~kept].T / scales
        """(P, P - rank), directions in which T θ does not change."""
        self.dependent = torch.linalg.vector_norm(Vt[~kept], dim=0) > INVOLVED
        """(P,), which columns are linearly dependent."""

    @property
    def nullity(self) -> int:
        """Counts the directions in which T θ does not change."""
        return int(self.null.shape[1])

    def solve(self, right: Tensor) -> Tensor:
        """Returns a solution (P, K) of min ‖T θ - right‖, `right` (M, K)."""
        solution: Tensor = self.half @ (self._U.T @ right)
        return solution

    def solve_normal(self, right: Tensor) -> Tensor:
        """Returns a solution (P, K) of T'T θ = right, `right` (P, K)."""
        solution: Tensor = self.half @ (self.half.T @ right)
        return solution

    def shortest(self, solution: Tensor, rows: slice) -> Tensor:
        """Returns the equally good solution (P, K) whose `rows` have the smallest sum of squares."""
        if not self.nullity:
            return solution
        null = torch.linalg.qr(self.null).Q
        shortest: Tensor = solution - null @ (torch.linalg.pinv(null[rows]) @ solution[rows])
        return shortest
