"""How is a least-squares problem solved that may have no unique solution? By the SVD of its scaled columns."""

import torch
from torch import Tensor

INVOLVED = 1e-6
"""A column takes part in a dependence whose unit vector has at least this much of it."""


class PseudoInverse:
    """T⁺ of a matrix T (M, P), M ≥ P, its columns first scaled to length 1, so that no choice of units can spoil it.

    Args:
        factor: T.
        rounding: Share of its length by which a column may be wrong. Columns depend on each other where a combination
            of them, scaled, is no longer than such errors make it.
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
        """(P, P - rank), directions in which T does not change."""
        self.dependent = torch.linalg.vector_norm(Vt[~kept], dim=0) > INVOLVED
        """(P,), which columns depend on others, and on which."""

    @property
    def nullity(self) -> int:
        """Directions in which T does not change."""
        return int(self.null.shape[1])

    def solve(self, right: Tensor) -> Tensor:
        """A solution (P, K) of min ‖T θ - right‖, `right` (M, K)."""
        solution: Tensor = self.half @ (self._U.T @ right)
        return solution

    def solve_normal(self, right: Tensor) -> Tensor:
        """A solution (P, K) of T'T θ = right, `right` (P, K)."""
        solution: Tensor = self.half @ (self.half.T @ right)
        return solution

    def shortest(self, solution: Tensor, rows: slice) -> Tensor:
        """Of all solutions as good as this one (P, K), that whose `rows` have the smallest sum of squares."""
        if not self.nullity:
            return solution
        null = torch.linalg.qr(self.null).Q
        shortest: Tensor = solution - null @ (torch.linalg.pinv(null[rows]) @ solution[rows])
        return shortest
