"""What does one pass over the rows keep? The triangle R of a QR factorization of `[1, X, y]`, in float64.

    [1, X, y] = Q R,   Q'Q = I          R (1+D+K, 1+D+K), upper triangular

`R'R` is the Gram matrix of all columns, so R holds every mean, scale, and sum of products there is, but without the
squaring that can cost a Gram matrix half its digits. It is built in chunks: the triangle so far is stacked on the next
rows and factored again. Stacking two triangles merges two parts of the data, in any order; memory is O((D + K)²).
Where the columns are far from dependent, squaring costs nothing: long chunks of such rows go three times as fast.

Rows that have weights w are taken times √w, so that in `R'R` each counts w times, as if it stood there so often.
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

ROWS_AT_A_TIME = 4096
"""Rows that are factored together: enough to amortise a call, few enough for the processor's cache."""

ROWS_IN_A_PART = 131_072
"""Rows that one thread factors before its triangle is merged with the others'."""

INDEPENDENT = 0.01
"""Sine of the angle between a column and those before it from which squaring them is safe.

A Gram matrix spoils the share 1/sine² of what float64 keeps (Higham, "Accuracy and Stability of Numerical Algorithms",
2002, section 10.1): from here on at most 4 of its 16 digits, no more than a factorization of the rows may.
"""


@dataclass(frozen=True)
class Triangle:
    """The triangle of `num_rows` rows of `[1, X, y]` with D = `num_features` columns of X."""

    R: Tensor  # (1+D+K, 1+D+K), float64
    num_rows: int
    num_features: int
    total_weight: float  # of the rows; without weights, their number

    @property
    def num_targets(self) -> int:
        """K."""
        return len(self.R) - 1 - self.num_features

    @property
    def rounding(self) -> float:
        """Share of its length by which a column of R may be wrong: a float64 rounding for each row factored at a time.

        Householder's error grows with these rows (Higham, "Accuracy and Stability of Numerical Algorithms", 2002,
        theorem 19.4). The column of 4000 equal values came out wrong by a fortieth of this, whatever their number.
        """
        return (min(self.num_rows, ROWS_AT_A_TIME) + len(self.R)) * torch.finfo(torch.float64).eps

    @property
    def means(self) -> Tensor:
        """Means of the columns of X and y, shape (D+K,): the first row of R is √total_weight times them."""
        return self.R[0, 1:] / self.R[0, 0]

    @property
    def scales(self) -> Tensor:
        """Standard deviations (over N, or the weights' total, not N-1) of the columns of X and y, shape (D+K,).

        0 for a column that is constant but for rounding.
        """
        deviations = torch.linalg.vector_norm(self.R[1:, 1:], dim=0)
        rounding = self.rounding * torch.linalg.vector_norm(self.R[:, 1:], dim=0)
        scales: Tensor = torch.where(deviations > rounding, deviations, 0) / self.total_weight**0.5
        return scales

    def variance(self, fit_intercept: bool = True) -> float:
        """J where all weights are 0: the mean over all entries of y² less, with an intercept, its column's mean."""
        rows = self.R[1 if fit_intercept else 0 :, 1 + self.num_features :]
        return float(rows.square().sum()) / (self.total_weight * self.num_targets)

    def merge(self, other: "Triangle") -> "Triangle":
        """The triangle of both parts' rows."""
        stacked = torch.cat([self.R, other.R])
        num_rows, total_weight = self.num_rows + other.num_rows, self.total_weight + other.total_weight
        return replace(self, R=upper_triangle(stacked), num_rows=num_rows, total_weight=total_weight)

    def with_noise(self, std: float) -> "Triangle":
        """The expected triangle once independent noise of standard deviation `std` is added to y.

        Its Gram matrix is the expectation of theirs: `std² · total_weight` more on the diagonal, for each target.
        """
        noise = torch.zeros_like(self.R)
        targets = torch.arange(1 + self.num_features, len(self.R))
        noise[targets, targets] = std * self.total_weight**0.5
        return replace(self, R=upper_triangle(torch.cat([self.R, noise])))


def triangle_of(chunks: Iterable[tuple[Tensor, ...]]) -> Triangle:
    """The triangle of all rows of `chunks`: x (n, D), y (n, K), and the weights (n, 1) of those that have some.

    Parts of the rows are factored side by side, each on one thread, and merged in their order: the same bits come out
    on any number of threads.

    Raises:
        ValueError: there is no chunk.
    """
    total: Triangle | None = None
    num_threads = torch.get_num_threads()
    waiting: deque[Future[Triangle]] = deque()  # few, so that no more of the chunks than needed is held
    parts = (rows for chunk in chunks for rows in zip(*(torch.split(of, ROWS_IN_A_PART) for of in chunk), strict=True))
    try:
        torch.set_num_threads(1)  # here too: threads that have merged two triangles spin for more to do
        with libraries().limit(limits=1, user_api="blas"):  # NumPy's
            for part in parts:
                waiting.append(workers(num_threads).submit(_factored, *part))
                if len(waiting) > 2 * num_threads:
                    total = _merged(total, waiting.popleft().result())
            for coming in waiting:
                total = _merged(total, coming.result())
    finally:
        for coming in waiting:
            coming.cancel()
        torch.set_num_threads(num_threads)
    if total is None:
        raise ValueError("there is no chunk of rows to factor")
    return total


@cache
def libraries() -> ThreadpoolController:
    """Those that have threads of their own; to find them takes longer than to factor some thousand rows."""
    return ThreadpoolController()


@cache
def workers(num_threads: int) -> ThreadPoolExecutor:
    """So many threads, which stay: a new one would get its memory anew."""
    return ThreadPoolExecutor(num_threads)


register_at_fork(after_in_child=workers.cache_clear)  # a fork has none of its parent's threads


def _merged(total: Triangle | None, part: Triangle) -> Triangle:
    return part if total is None else total.merge(part)


def weight_of(chunks: Iterable[tuple[Tensor, ...]]) -> float:
    """The sum of all weights, or without weights the number of rows; `chunks` as in `triangle_of`.

    By NumPy, which adds in one order on any number of threads.
    """
    return sum((float(w[0].numpy().sum(dtype=np.float64)) if w else float(len(x)) for x, _, *w in chunks), 0.0)


def _factored(x: Tensor, y: Tensor, *weights: Tensor) -> Triangle:
    """The triangle of some rows: of many, by Cholesky's way where that is as good."""
    roots = weights[0].double().sqrt() if weights else None
    R = _by_cholesky(x, y, roots) if len(x) > ROWS_AT_A_TIME else None
    R = _by_householder(x, y, roots) if R is None else R
    return Triangle(R, len(x), x.shape[1], weight_of([(x, y, *weights)]))


def _by_cholesky(x: Tensor, y: Tensor, roots: Tensor | None = None) -> Tensor | None:
    """R from the Gram matrix of the columns less their means among the first rows; None where squaring is not safe.

    `roots`: √w of the rows (n, 1), by which they are multiplied.
    """
    columns = [torch.ones(1, 1).expand(len(x), 1), x, y]
    means = [torch.zeros(1), *(of[:ROWS_AT_A_TIME].double().mean(dim=0) for of in (x, y))]
    rows = torch.empty(ROWS_AT_A_TIME, sum(of.shape[1] for of in columns), dtype=torch.float64)
    gram = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(x), ROWS_AT_A_TIME):
        filled = rows[: len(x) - start]
        parts = torch.split(filled, [of.shape[1] for of in columns], dim=1)
        for part, of, mean in zip(parts, columns, means, strict=True):
            torch.sub(of[start : start + ROWS_AT_A_TIME], mean, out=part)
        if roots is not None:
            filled *= roots[start : start + ROWS_AT_A_TIME]
        gram += filled.numpy().T @ filled.numpy()  # twice as fast as torch's: NumPy sees that it is symmetric
        if start == 0 and _root(gram) is None:
            return None
    R = _root(gram)
    if R is not None:
        R[0] += R[0, 0] * torch.cat(means)
    return R


def _root(gram: np.ndarray) -> Tensor | None:
    """R of a Gram matrix R'R; None where a column hardly leaves the span of those before it."""
    R, failed = torch.linalg.cholesky_ex(torch.from_numpy(gram), upper=True)
    lengths = torch.from_numpy(gram).diagonal().sqrt()
    return R if not failed and (R.diagonal() >= INDEPENDENT * lengths).all() else None


def _by_householder(x: Tensor, y: Tensor, roots: Tensor | None = None) -> Tensor:
    """R of some rows, a few of them at a time stacked below the triangle so far."""
    num_features, size = x.shape[1], 1 + x.shape[1] + y.shape[1]
    stack = torch.zeros(size, size + min(len(x), ROWS_AT_A_TIME), dtype=torch.float64).T  # in LAPACK's order
    for start in range(0, len(x), ROWS_AT_A_TIME):
        some = slice(start, start + ROWS_AT_A_TIME)
        filled = stack[: size + len(x[some])]
        filled[size:, 0] = 1
        filled[size:, 1 : 1 + num_features] = x[some]
        filled[size:, 1 + num_features :] = y[some]
        if roots is not None:
            filled[size:] *= roots[some]
        stack[:size] = torch.linalg.qr(filled, mode="r").R
    return upper_triangle(stack[:size])


def upper_triangle(rows: Tensor) -> Tensor:
    """R of `rows` (n, P), n ≥ P, with a diagonal that is not negative."""
    R: Tensor = torch.linalg.qr(rows, mode="r").R
    signs = torch.where(R.diagonal() < 0, -1.0, 1.0).to(R.dtype)
    return R * signs.unsqueeze(1)
