"""What does one pass over the rows keep? The triangle R of a QR factorization of `[1, X, y]`, in float64.

    [1, X, y] = Q R,   Q'Q = I          R (1+D+K, 1+D+K), upper triangular

`R'R` is the Gram matrix of all columns, so R holds every mean, scale, and sum of products there is, but without the
squaring that costs a Gram matrix half its digits. It is built in chunks: the triangle so far is stacked on the next
rows and factored again. Stacking two triangles merges two parts of the data, in any order; memory is O((D + K)²).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

ROWS_AT_A_TIME = 4096
"""Rows that are factored together: enough to amortise a call, few enough for the processor's cache."""


@dataclass(frozen=True)
class Triangle:
    """The triangle of `num_rows` rows of `[1, X, y]` with D = `num_features` columns of X."""

    R: Tensor  # (1+D+K, 1+D+K), float64
    num_rows: int
    num_features: int

    @property
    def num_targets(self) -> int:
        """K."""
        return len(self.R) - 1 - self.num_features

    @property
    def means(self) -> Tensor:
        """Means of the columns of X and y, shape (D+K,): the first row of R is √N times them."""
        return self.R[0, 1:] / self.R[0, 0]

    @property
    def scales(self) -> Tensor:
        """Standard deviations (over N, not N-1) of the columns of X and y, shape (D+K,).

        0 for a column that is constant but for rounding.
        """
        deviations = torch.linalg.vector_norm(self.R[1:, 1:], dim=0)
        rounding = len(self.R) * torch.finfo(torch.float64).eps * torch.linalg.vector_norm(self.R[:, 1:], dim=0)
        scales: Tensor = torch.where(deviations > rounding, deviations, 0) / self.num_rows**0.5
        return scales

    def merge(self, other: "Triangle") -> "Triangle":
        """The triangle of both parts' rows."""
        stacked = torch.cat([self.R, other.R])
        return replace(self, R=upper_triangle(stacked), num_rows=self.num_rows + other.num_rows)

    def with_noise(self, std: float) -> "Triangle":
        """The expected triangle once independent noise of standard deviation `std` is added to y.

        Its Gram matrix is the expectation of theirs: `std² · N` more on the diagonal, for each target.
        """
        noise = torch.zeros_like(self.R)
        targets = torch.arange(1 + self.num_features, len(self.R))
        noise[targets, targets] = std * self.num_rows**0.5
        return replace(self, R=upper_triangle(torch.cat([self.R, noise])))

    def standardized(self) -> "Triangle":
        """The triangle of `[1, (X - means) / scales, y]`; a constant column is centred to zeros.

        No pass over the rows: centring takes the features off the first row, scaling divides their columns.
        """
        features = slice(1, 1 + self.num_features)
        R = self.R.clone()
        R[0, features] = 0
        scales = self.scales[: self.num_features]
        R[:, features] = torch.where(scales > 0, R[:, features] / scales, 0)
        return replace(self, R=R)


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets torch compute in this thread alone.

    A factorization of so few rows gains nothing from others, and where rows are read beside it loses tenfold: each
    waits for the other, spinning.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@one_thread()
def triangle_of(chunks: Iterable[tuple[Tensor, Tensor]]) -> Triangle:
    """The triangle of all rows of `chunks`, pairs of x (n, D) and y (n, K) of any length.

    Raises:
        ValueError: there is no chunk.
    """
    stack, filled, num_rows, num_features = torch.empty(0), 0, 0, 0
    for x, y in chunks:
        if not num_rows:
            num_features, size = x.shape[1], 1 + x.shape[1] + y.shape[1]
            # Column by column in memory, as LAPACK wants it; the triangle so far stays in the first rows.
            stack = torch.zeros(size, size + ROWS_AT_A_TIME, dtype=torch.float64).T
            filled = size
        num_rows += len(x)
        start = 0
        while start < len(x):
            taken = min(len(x) - start, len(stack) - filled)
            rows = stack[filled : filled + taken]
            rows[:, 0] = 1
            rows[:, 1 : 1 + num_features] = x[start : start + taken]
            rows[:, 1 + num_features :] = y[start : start + taken]
            start, filled = start + taken, filled + taken
            if filled == len(stack):
                stack[:size] = upper_triangle(stack)
                filled = size
    if not num_rows:
        raise ValueError("there is no chunk of rows to factor")
    return Triangle(upper_triangle(stack[:filled]), num_rows, num_features)


def upper_triangle(rows: Tensor) -> Tensor:
    """R of `rows` (n, P), n ≥ P, with a diagonal that is not negative."""
    R: Tensor = torch.linalg.qr(rows, mode="r").R
    signs = torch.where(R.diagonal() < 0, -1.0, 1.0).to(R.dtype)
    return R * signs.unsqueeze(1)
