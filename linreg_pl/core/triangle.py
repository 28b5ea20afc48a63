"""Reduces the rows, in one pass, to the triangle R of a QR factorization of `[1, X - c_x, y - c_y]`, in float64.

    [1, X - c_x, y - c_y] = Q R,   Q'Q = I          R (1+D+K, 1+D+K), upper triangular

The center c is a first estimate of the means, or 0. Columns far from 0 would lose their digits otherwise. Another
center changes only the first row of R.

`R'R` is the Gram matrix of all columns, so R holds all means, scales and sums of products, without the squaring that
can cost a Gram matrix half its digits. It is built in chunks: the triangle so far is stacked on the next rows and
factored again. Stacking the triangles of two sets of rows merges them, in any order; memory is O((D + K)²). Where the
columns are far from collinear, squaring loses nothing, and Cholesky factors long chunks three times as fast.

Of N rows, fewer than columns, the last rows of R are 0. They are left out: R is (N, 1+D+K), and memory O(N·(D + K)).

Rows with weights w are multiplied by √w, so in `R'R` each counts w times, as if repeated so often.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.decimals import noting_decimals
from linreg_pl.core.parallel import in_workers
from linreg_pl.core.world import ALONE, World, known

ROWS_PER_FACTORIZATION = 4096
"""Rows that are factored together: enough to amortise a call, few enough for the processor's cache."""


@dataclass(frozen=True)
class Triangle:
    """The triangle R of `num_rows` rows of `[1, X - c_x, y - c_y]`, where X has D = `num_features` columns."""

    R: Tensor  # (1+D+K, 1+D+K), float64; without the rows of zeros of a table with fewer rows, see `is_wide`
    num_rows: int  # of weight above 0
    num_features: int
    total_weight: float  # of the rows; without weights, their number
    center: Tensor  # (D+K,), float64: c_x, c_y
    rounding: float | Tensor = torch.finfo(torch.float64).eps  # of the columns' values, relative; (D+K,) if they differ
    factored_lengths: Tensor | None = None  # (1+D+K,), of R's columns about the center of the factorization, if another
    log_weights: float = 0.0  # sum of log(w) over the rows of weight above 0
    decimals: Tensor | None = None  # (D+K,), which columns hold decimal fractions; None if that is not known

    @property
    def num_targets(self) -> int:
        """Returns K."""
        return self.R.shape[1] - 1 - self.num_features

    @property
    def is_wide(self) -> bool:
        """Returns whether R has fewer rows than columns, as the table has."""
        return len(self.R) < self.R.shape[1]

    @property
    def lengths(self) -> Tensor:
        """Returns the lengths of R's columns, (1+D+K,), or those when it was factored, if they were larger."""
        lengths = torch.linalg.vector_norm(self.R, dim=0)
        return lengths if self.factored_lengths is None else torch.maximum(lengths, self.factored_lengths)

    @cached_property
    def errors(self) -> Tensor:
        """Returns bounds on the lengths of the errors of R's columns, (1+D+K,).

        The factorization adds a float64 rounding for each row that is factored together. Householder's error grows with
        these rows (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, theorem 19.4); of columns of 4000
        equal values, the measured error was a fortieth of this. Another center does not take the errors away. The
        values themselves were rounded before the center was subtracted.
        """
        eps = torch.finfo(torch.float64).eps
        factorization = (min(self.num_rows, ROWS_PER_FACTORIZATION) + self.R.shape[1]) * eps
        errors: Tensor = factorization * self.lengths
        lengths = torch.linalg.vector_norm(self.about_zero.R[:, 1:], dim=0)
        errors[1:] += self.rounding * lengths
        return errors

    @property
    def means(self) -> Tensor:
        """Returns the means of the columns of X and y, (D+K,)."""
        return self.center + self.R[0, 1:] / self.R[0, 0]

    @cached_property
    def scales(self) -> Tensor:
        """Returns the standard deviations of the columns of X and y, (D+K,), over N or the total weight, not N-1.

        0 for a column that is constant but for rounding.
        """
        deviations = torch.linalg.vector_norm(self.R[1:, 1:], dim=0)
        scales: Tensor = torch.where(deviations > self.errors[1:], deviations, 0) / self.total_weight**0.5
        return scales

    @property
    def is_too_small(self) -> Tensor:
        """Returns which columns of X and y vary so little that float64 cannot hold the squares, (D+K,)."""
        sizes = self.R[1:, 1:].abs()
        return (sizes > self.errors[1:]).any(dim=0) & (sizes < 1e-150).all(dim=0)

    @property
    def is_too_large(self) -> Tensor:
        """Returns which columns of X and y are so large that their squares may exceed float64, (D+K,)."""
        lengths = torch.linalg.vector_norm(self.about_zero.R[:, 1:], dim=0)
        is_too_large: Tensor = ~(lengths < 1e150)
        return is_too_large

    def variance(self, fit_intercept: bool = True) -> float:
        """Computes the mean of y² over all entries; with an intercept, of y less its column's mean."""
        rows = self if fit_intercept else self.about_zero
        deviations = rows.R[1 if fit_intercept else 0 :, 1 + self.num_features :]
        return float(deviations.square().sum()) / (self.total_weight * self.num_targets)

    @property
    def about_zero(self) -> "Triangle":
        """Returns the triangle of the same rows about 0."""
        return self.centered_at(torch.zeros_like(self.center))

    def centered_at(self, center: Tensor) -> "Triangle":
        """Returns the triangle of the same rows about another center (D+K,)."""
        if center is self.center:
            return self
        R = self.R.clone()
        R[0, 1:] += R[0, 0] * (self.center - center)
        return replace(self, R=R, center=center, factored_lengths=self.lengths)

    def merge(self, other: "Triangle") -> "Triangle":
        """Returns the triangle of the rows of both, about this one's center."""
        num_rows, total_weight = self.num_rows + other.num_rows, self.total_weight + other.total_weight
        other, size = other.centered_at(self.center), min(num_rows, self.R.shape[1])
        parts, lengths = [self.R, other.R], torch.hypot(self.lengths, other.lengths)
        if size == self.R.shape[1]:
            parts = [with_rows(part, size) for part in parts]
        R = with_rows(trapezoid(torch.cat(parts)), size)
        log_weights = self.log_weights + other.log_weights
        return replace(
            self,
            R=R,
            num_rows=num_rows,
            total_weight=total_weight,
            factored_lengths=lengths,
            log_weights=log_weights,
            decimals=known(torch.maximum)(self.decimals, other.decimals),
        )

    def with_noise(self, std: float) -> "Triangle":
        """Returns the expected triangle after independent noise of standard deviation `std` is added to y.

        Its Gram matrix is the expected one: `std² · total_weight` more on the diagonal, for each target.
        """
        size = self.R.shape[1]
        noise = torch.zeros(size, size, dtype=self.R.dtype)
        targets = torch.arange(1 + self.num_features, size)
        noise[targets, targets] = std * self.total_weight**0.5
        return replace(self, R=upper_triangle(torch.cat([self.R, noise])))


def triangle_of(chunks: Iterable[tuple[Tensor, ...]], center: Tensor | None = None, world: World = ALONE) -> Triangle:
    """Factors all rows of `chunks`: x (n, D), y (n, K), and weights (n, 1) if rows have some.

    Slices of the rows are factored in parallel, each on one thread, and merged in order: the result has the same bits
    on any number of threads.

    Args:
        chunks: The rows.
        center: Of the columns of X and y, (D+K,), float64; 0 if not given.
        world: The processes whose chunks together are the rows.

    Raises:
        ValueError: there is no chunk.
    """
    total: Triangle | None = None
    decimals: list[Tensor] = []
    triangles = in_workers(partial(factored, center), noting_decimals(chunks, decimals))
    try:
        for triangle in triangles:
            total = triangle if total is None else total.merge(triangle)
    finally:
        triangles.close()
    if total is not None:
        total = replace(total, decimals=decimals[0])
    total = world.reduced(total, known(Triangle.merge))
    if total is None:
        raise ValueError("there is no chunk of rows to factor")
    return total


def center_of(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """Returns the means of the columns of some rows x (n, D) and y (n, K), (D+K,), float64.

    Rows whose `weights` (n, 1) are 0 count as absent: their values may be far from all others. The center of a constant
    column is its value to the last digit, so nothing is left of it about its center.
    """
    rows = torch.cat([x, y], dim=1).double()
    if weights is not None and weights.any():
        rows = rows[weights[:, 0] > 0]
    return rows[0] + (rows - rows[0]).mean(dim=0)


def weight_of(chunks: Iterable[tuple[Tensor, ...]]) -> float:
    """Sums all weights, or without weights counts the rows; `chunks` as in `triangle_of`.

    NumPy adds in the same order on any number of threads.
    """
    return sum((float(w[0].numpy().sum(dtype=np.float64)) if w else float(len(x)) for x, _, *w in chunks), 0.0)


def factored(center: Tensor | None, x: Tensor, y: Tensor, *weights: Tensor) -> Triangle:
    """Factors some rows: many by Cholesky, where that is as accurate, else by Householder."""
    roots = weights[0].double().sqrt() if weights else None
    center = torch.zeros(x.shape[1] + y.shape[1], dtype=torch.float64) if center is None else center
    R = _by_cholesky(x, y, center, roots) if len(x) > ROWS_PER_FACTORIZATION else None
    R = _by_householder(x, y, center, roots) if R is None else R
    num_rows, log_weights = len(x), 0.0
    if weights:
        present = weights[0].numpy()[weights[0].numpy() > 0]
        num_rows, log_weights = len(present), float(np.log(present, dtype=np.float64).sum())
    R = with_rows(R, max(1, min(num_rows, R.shape[1])))
    total_weight = weight_of([(x, y, *weights)])
    return Triangle(R, num_rows, x.shape[1], total_weight, center, log_weights=log_weights)


def _by_cholesky(x: Tensor, y: Tensor, center: Tensor, roots: Tensor | None = None) -> Tensor | None:
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
        if start == 0 and root(gram) is None:
            return None
    R = root(gram)
    if R is not None:
        R[0, 1:] += R[0, 0] * (torch.cat(means[1:]) - center)
    return R


def root(gram: np.ndarray) -> Tensor | None:
    """Factors a Gram matrix R'R; None where a column is nearly in the span of those before it.

    Squaring is safe where the sine of the angle between a column and that span is at least 0.01: it costs a factor
    1/sine² in accuracy (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 10.1), so at most 4 of
    float64's 16 digits, no more than a factorization of the rows may lose.
    """
    R, failed = torch.linalg.cholesky_ex(torch.from_numpy(gram), upper=True)
    lengths = np.sqrt(gram.diagonal())
    return R if not failed and (R.numpy().diagonal() >= 0.01 * lengths).all() else None  # torch takes longer to compare


def _by_householder(x: Tensor, y: Tensor, center: Tensor, roots: Tensor | None = None) -> Tensor:
    """Factors some rows, stacking a few of them at a time below the triangle so far.

    R has no more rows than x, unless these are more than the columns.
    """
    num_features, size = x.shape[1], 1 + x.shape[1] + y.shape[1]
    if len(x) < size:
        rows = torch.cat([part.double() for part in (torch.ones(len(x), 1), x, y)], dim=1)
        rows[:, 1:] -= center
        return trapezoid(trapezoid(rows if roots is None else rows * roots))
    stack = torch.zeros(
        size, size + min(len(x), ROWS_PER_FACTORIZATION), dtype=torch.float64
    ).T  # in LAPACK's memory order
    for start in range(0, len(x), ROWS_PER_FACTORIZATION):
        block = slice(start, start + ROWS_PER_FACTORIZATION)
        filled = stack[: size + len(x[block])]
        filled[size:, 0] = 1
        torch.sub(x[block], center[:num_features], out=filled[size:, 1 : 1 + num_features])
        torch.sub(y[block], center[num_features:], out=filled[size:, 1 + num_features :])
        if roots is not None:
            filled[size:] *= roots[block]
        stack[:size] = torch.linalg.qr(filled, mode="r").R
    return upper_triangle(stack[:size])


def upper_triangle(rows: Tensor) -> Tensor:
    """Factors `rows` (n, P) into R (P, P) with a nonnegative diagonal; rows of zeros do not count."""
    return with_rows(trapezoid(rows), rows.shape[1])


def trapezoid(rows: Tensor) -> Tensor:
    """Factors them into R without rows of zeros: where m < P rows are not 0, R is (m, P), and the work O(m²·P)."""
    present = rows.any(dim=1)
    R: Tensor = torch.linalg.qr(rows if int(present.sum()) >= rows.shape[1] else rows[present], mode="r").R
    signs = torch.where(R.diagonal() < 0, -1.0, 1.0).to(R.dtype)
    return R * signs.unsqueeze(1)


def with_rows(R: Tensor, count: int) -> Tensor:
    """Appends rows of zeros to R, so that it has at least `count`."""
    return torch.nn.functional.pad(R, (0, 0, 0, count - len(R))) if len(R) < count else R
