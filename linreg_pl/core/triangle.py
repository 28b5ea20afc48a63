"""Reduces the rows, in one pass, to the triangle R of a QR factorization of `[1, X, y]`, in float64.

    [1, X, y] = Q R,   Q'Q = I          R (1+D+K, 1+D+K), upper triangular

`R'R` is the Gram matrix of all columns, so R holds all means, scales and sums of products, without the squaring that
can cost a Gram matrix half its digits. It is built in chunks: the triangle so far is stacked on the next rows and
factored again. Stacking the triangles of two sets of rows merges them, in any order; memory is O((D + K)²). Where the
columns are far from collinear, squaring loses nothing, and Cholesky factors long chunks three times as fast.

Rows with weights w are multiplied by √w, so in `R'R` each counts w times, as if repeated so often.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from os import register_at_fork

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

ROWS_PER_FACTORIZATION = 4096
"""Rows that are factored together: enough to amortise a call, few enough for the processor's cache."""

ROWS_PER_TASK = 131_072
"""Rows that one thread factors before its triangle is merged with the others'."""


@dataclass(frozen=True)
class Triangle:
    """The triangle R of `num_rows` rows of `[1, X, y]`, where X has D = `num_features` columns."""

    R: Tensor  # (1+D+K, 1+D+K), float64
    num_rows: int
    num_features: int
    total_weight: float  # of the rows; without weights, their number

    @property
    def num_targets(self) -> int:
        """Returns K."""
        return len(self.R) - 1 - self.num_features

    @property
    def rounding(self) -> float:
        """Returns a bound on the relative error of R's columns: a float64 rounding for each row factored together.

        Householder's error grows with these rows (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
        theorem 19.4). Of columns of 4000 equal values, the measured error was a fortieth of this.
        """
        return (min(self.num_rows, ROWS_PER_FACTORIZATION) + len(self.R)) * torch.finfo(torch.float64).eps

    @property
    def means(self) -> Tensor:
        """Returns the means of the columns of X and y, (D+K,): the first row of R is √total_weight times them."""
        return self.R[0, 1:] / self.R[0, 0]

    @property
    def scales(self) -> Tensor:
        """Returns the standard deviations of the columns of X and y, (D+K,), over N or the total weight, not N-1.

        0 for a column that is constant but for rounding.
        """
        deviations = torch.linalg.vector_norm(self.R[1:, 1:], dim=0)
        rounding = self.rounding * torch.linalg.vector_norm(self.R[:, 1:], dim=0)
        scales: Tensor = torch.where(deviations > rounding, deviations, 0) / self.total_weight**0.5
        return scales

    def variance(self, fit_intercept: bool = True) -> float:
        """Computes the mean of y² over all entries; with an intercept, of y less its column's mean."""
        deviations = self.R[1 if fit_intercept else 0 :, 1 + self.num_features :]
        return float(deviations.square().sum()) / (self.total_weight * self.num_targets)

    def merge(self, other: "Triangle") -> "Triangle":
        """Returns the triangle of the rows of both."""
        stacked = torch.cat([self.R, other.R])
        num_rows, total_weight = self.num_rows + other.num_rows, self.total_weight + other.total_weight
        return replace(self, R=upper_triangle(stacked), num_rows=num_rows, total_weight=total_weight)

    def with_noise(self, std: float) -> "Triangle":
        """Returns the expected triangle after independent noise of standard deviation `std` is added to y.

        Its Gram matrix is the expected one: `std² · total_weight` more on the diagonal, for each target.
        """
        noise = torch.zeros_like(self.R)
        targets = torch.arange(1 + self.num_features, len(self.R))
        noise[targets, targets] = std * self.total_weight**0.5
        return replace(self, R=upper_triangle(torch.cat([self.R, noise])))


def triangle_of(chunks: Iterable[tuple[Tensor, ...]]) -> Triangle:
    """Factors all rows of `chunks`: x (n, D), y (n, K), and weights (n, 1) if rows have some.

    Slices of the rows are factored in parallel, each on one thread, and merged in order: the result has the same bits
    on any number of threads.

    Raises:
        ValueError: there is no chunk.
    """
    total: Triangle | None = None
    num_threads = torch.get_num_threads()
    pending: deque[Future[Triangle]] = deque()  # bounded, so few chunks are held in memory
    slices = (rows for chunk in chunks for rows in zip(*(torch.split(t, ROWS_PER_TASK) for t in chunk), strict=True))
    try:
        torch.set_num_threads(1)  # in this thread too: torch's threads spin for a while after each merge
        with libraries().limit(limits=1, user_api="blas"):  # NumPy's
            for rows in slices:
                pending.append(workers(num_threads).submit(_factored, *rows))
                if len(pending) > 2 * num_threads:
                    total = _merged(total, pending.popleft().result())
            for task in pending:
                total = _merged(total, task.result())
    finally:
        for task in pending:
            task.cancel()
        torch.set_num_threads(num_threads)
    if total is None:
        raise ValueError("there is no chunk of rows to factor")
    return total


@cache
def libraries() -> ThreadpoolController:
    """Finds the loaded libraries with thread pools; cached, as finding them takes longer than factoring 1000 rows."""
    return ThreadpoolController()


@cache
def workers(num_threads: int) -> ThreadPoolExecutor:
    """Returns a pool of so many threads; cached, as new threads would allocate their memory anew."""
    return ThreadPoolExecutor(num_threads)


register_at_fork(after_in_child=workers.cache_clear)  # a fork has none of its parent's threads


def _merged(total: Triangle | None, addend: Triangle) -> Triangle:
    return addend if total is None else total.merge(addend)


def weight_of(chunks: Iterable[tuple[Tensor, ...]]) -> float:
    """Sums all weights, or without weights counts the rows; `chunks` as in `triangle_of`.

    NumPy adds in the same order on any number of threads.
    """
    return sum((float(w[0].numpy().sum(dtype=np.float64)) if w else float(len(x)) for x, _, *w in chunks), 0.0)


def _factored(x: Tensor, y: Tensor, *weights: Tensor) -> Triangle:
    """Factors some rows: many by Cholesky, where that is as accurate, else by Householder."""
    roots = weights[0].double().sqrt() if weights else None
    R = _by_cholesky(x, y, roots) if len(x) > ROWS_PER_FACTORIZATION else None
    R = _by_householder(x, y, roots) if R is None else R
    return Triangle(R, len(x), x.shape[1], weight_of([(x, y, *weights)]))


def _by_cholesky(x: Tensor, y: Tensor, roots: Tensor | None = None) -> Tensor | None:
    """Computes R from the Gram matrix of the columns, less their means over the first rows; None where that is unsafe.

    Rows are multiplied by `roots`, √w (n, 1).
    """
    columns = [torch.ones(1, 1).expand(len(x), 1), x, y]
    means = [torch.zeros(1), *(t[:ROWS_PER_FACTORIZATION].double().mean(dim=0) for t in (x, y))]
    rows = torch.empty(ROWS_PER_FACTORIZATION, sum(column.shape[1] for column in columns), dtype=torch.float64)
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(x), ROWS_PER_FACTORIZATION):
        filled = rows[: len(x) - start]
        views = torch.split(filled, [column.shape[1] for column in columns], dim=1)
        for view, column, mean in zip(views, columns, means, strict=True):
            torch.sub(column[start : start + ROWS_PER_FACTORIZATION], mean, out=view)
        if roots is not None:
            filled *= roots[start : start + ROWS_PER_FACTORIZATION]
        gram += filled.numpy().T @ filled.numpy()  # twice as fast as torch: NumPy computes half of a symmetric product
        if start == 0 and _root(gram) is None:
            return None
    R = _root(gram)
    if R is not None:
        R[0] += R[0, 0] * torch.cat(means)
    return R


def _root(gram: np.ndarray) -> Tensor | None:
    """Factors a Gram matrix R'R; None where a column is nearly in the span of those before it.

    Squaring is safe where the sine of the angle between a column and that span is at least 0.01: it costs a factor
    1/sine² in accuracy (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 10.1), so at most 4 of
    float64's 16 digits, no more than a factorization of the rows may lose.
    """
    R, failed = torch.linalg.cholesky_ex(torch.from_numpy(gram), upper=True)
    lengths = torch.from_numpy(gram).diagonal().sqrt()
    return R if not failed and (R.diagonal() >= 0.01 * lengths).all() else None


def _by_householder(x: Tensor, y: Tensor, roots: Tensor | None = None) -> Tensor:
    """Factors some rows, stacking a few of them at a time below the triangle so far."""
    num_features, size = x.shape[1], 1 + x.shape[1] + y.shape[1]
    stack = torch.zeros(
        size, size + min(len(x), ROWS_PER_FACTORIZATION), dtype=torch.float64
    ).T  # in LAPACK's memory order
    for start in range(0, len(x), ROWS_PER_FACTORIZATION):
        block = slice(start, start + ROWS_PER_FACTORIZATION)
        filled = stack[: size + len(x[block])]
        filled[size:, 0] = 1
        filled[size:, 1 : 1 + num_features] = x[block]
        filled[size:, 1 + num_features :] = y[block]
        if roots is not None:
            filled[size:] *= roots[block]
        stack[:size] = torch.linalg.qr(filled, mode="r").R
    return upper_triangle(stack[:size])


def upper_triangle(rows: Tensor) -> Tensor:
    """Factors `rows` (n, P), n ≥ P, into R with a nonnegative diagonal."""
    R: Tensor = torch.linalg.qr(rows, mode="r").R
    signs = torch.where(R.diagonal() < 0, -1.0, 1.0).to(R.dtype)
    return R * signs.unsqueeze(1)
