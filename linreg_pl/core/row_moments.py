"""Averages products of rows over all rows: second and fourth moments, which give the covariance of gradients.

A row q (Q,) with residuals r (K,), weight w and the error m (Q, K) has, for target k, the gradient h q (q̃ · m̃), where
h = 2 w / K, q̃ = (q, r) and m̃ = (m, e) for target k. So the products of two gradients are fourth moments of q̃.
"""

from functools import cached_property

import numpy as np


class RowMoments:
    """Moments of the rows.

    Up to `most_directions` of q̃ (P,), the moments are computed once; beyond that, sums over the rows cost less.

    Args:
        rows: q, (n, Q).
        residuals: r, (n, K).
        weights: w, (n, 1).
        shares: Of all rows, which each of these stands for, (n, 1).
        most_directions: See above.
    """

    def __init__(
        self,
        rows: np.ndarray,
        residuals: np.ndarray,
        weights: np.ndarray,
        shares: np.ndarray,
        most_directions: int = 45,
    ) -> None:
        self._rows, self._extended = rows, np.hstack([rows, residuals])
        self._factors = 2 / residuals.shape[1] * weights
        self._shares = shares
        self._is_known = self._extended.shape[1] <= most_directions
        self.second: np.ndarray = (self._factors * shares * rows).T @ self._extended
        """E[h q q̃'], (Q, P)."""

    @cached_property
    def _fourth(self) -> np.ndarray:
        """Returns E[h² q q̃' ⊗ q q̃'], (Q, P, Q, P)."""
        products = (self._factors * self._rows)[:, :, None] * self._extended[:, None, :]
        flat = products.reshape(len(products), -1)
        moments: np.ndarray = (self._shares * flat).T @ flat
        return moments.reshape(self.second.shape * 2)

    @cached_property
    def _fourth_by_pairs(self) -> np.ndarray:
        Q, P = self.second.shape
        return np.ascontiguousarray(self._fourth.transpose(1, 3, 0, 2).reshape(P * P, Q * Q))

    @cached_property
    def _fourth_of_squares(self) -> np.ndarray:
        Q, P = self.second.shape
        return np.ascontiguousarray(np.einsum("abbj->abj", self._fourth[:, :Q]).reshape(Q, Q * P).T)

    @property
    def size(self) -> int:
        """Returns how many numbers a computation keeps for each column of `carried`."""
        return self.second.size if self._is_known else len(self._rows)

    def quadratic(self, values: np.ndarray) -> np.ndarray:
        """Returns E[h² (q̃' X q̃) q q'], (…, Q, Q), for X (…, P, P)."""
        Q, P = self.second.shape
        if self._is_known:
            moments: np.ndarray = values.reshape(-1, P * P) @ self._fourth_by_pairs
            return moments.reshape(*values.shape[:-2], Q, Q)
        forms = ((self._extended @ values) * self._extended).sum(axis=-1)[..., None]
        sums: np.ndarray = (self._rows * (self._shares * self._factors**2 * forms)).swapaxes(-1, -2) @ self._rows
        return sums

    def covariance(self, carried: np.ndarray) -> np.ndarray:
        """Returns that of the rows' u = h q (T q̃), (S, K·Q·d, K·Q·d), for T (S, K, Q, d, P)."""
        (Q, P), (S, K, _, d, _) = self.second.shape, carried.shape
        if self._is_known:
            first = carried.transpose(2, 0, 1, 3, 4).reshape(Q, S * K * d, P)
            half = (first @ self._fourth.reshape(Q, P, Q * P)).reshape(Q, S, K, d, Q, P)
            half = half.transpose(1, 4, 2, 0, 3, 5).reshape(S, Q, K * Q * d, P)
            whole = half @ carried.transpose(0, 2, 4, 1, 3).reshape(S, Q, P, K * d)
            products = whole.reshape(S, Q, K * Q * d, K, d).transpose(0, 2, 3, 1, 4).reshape(S, K * Q * d, -1)
        else:
            along = (self._extended @ carried.reshape(S, -1, P).swapaxes(1, 2)).reshape(S, -1, K, Q, d)
            of_rows = (along * (self._factors * self._rows)[:, None, :, None]).reshape(S, len(self._rows), -1)
            products = (self._shares * of_rows).swapaxes(1, 2) @ of_rows
        mean = self.mean(carried).reshape(S, -1)
        covariance: np.ndarray = products - mean[:, :, None] * mean[:, None, :]
        return covariance

    def mean(self, carried: np.ndarray) -> np.ndarray:
        """Returns the mean of the rows' u = h q (T q̃), (S, K, Q, d), for T (S, K, Q, d, P)."""
        mean: np.ndarray = (carried * self.second[:, None, :]).sum(axis=-1)
        return mean

    def pull(self, carried: np.ndarray) -> np.ndarray:
        """Returns E[h q q' u], (S, K, Q), where u is a row's less their mean, for T (S, K, Q, P)."""
        (Q, P), (S, K, _, _) = self.second.shape, carried.shape
        if self._is_known:
            products = carried.reshape(S, K, Q * P) @ self._fourth_of_squares
        else:
            along = ((self._extended @ carried.swapaxes(2, 3)) * self._rows**2).sum(axis=-1)  # (S, K, n)
            products = (along * (self._shares * self._factors**2)[:, 0]) @ self._rows
        mean = self.mean(carried[:, :, :, None])[..., 0]
        pull: np.ndarray = products - mean @ self.second[:, :Q].T
        return pull
