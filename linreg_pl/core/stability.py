"""Computes the largest learning rate at which gradient descent converges.

A step on a batch with Hessian H multiplies the distance from the batch's optimum by I - learning_rate · H. On all rows
that contracts while learning_rate < 2 / λ_max(H). A cycle over fixed batches is the product of their steps. It may
contract where one of the batches alone diverges; its bound is where the product's spectral radius first reaches 1.

With momentum β the step also carries β times the last change, and the bound on all rows is 2 (1 + β) / λ_max(H) (Qian,
"On the momentum term in gradient descent learning algorithms", Neural Networks 12, 1999). A cycle may then resonate
with its batches: it diverges at a rate far below that, and contracts again at higher ones. The bound is the lowest rate
at which it diverges.

Batches drawn at random must contract the mean square of the error. A rare outlier makes the few batches that contain it
so steep that the mean square grows at rates at which the mean and most batches contract.
"""

from collections.abc import Iterable, Iterator
from operator import add

import torch
from torch import Tensor

from linreg_pl.core.triangle import Triangle, triangle_of
from linreg_pl.core.world import ALONE, World


def batch_hessian(
    z: Tensor, penalty: Tensor, num_targets: int, coordinates: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Returns the Hessian of J on a batch, (Q, Q), the same for each target.

    Args:
        z: Features as they are trained on, (n, D).
        penalty: Its product with θ = (b; W) has the penalty as its sum of squares, (1+D, 1+D); (0, 1+D) for none.
        num_targets: K.
        coordinates: Of descent: θ = coordinates · u, with u (Q,).
        weights: Of the rows, (n, 1).
    """
    columns = torch.cat([torch.ones(len(z), 1, dtype=torch.float64), z.to(torch.float64)], dim=1)
    columns = columns if weights is None else columns * weights.double().sqrt()
    rows = torch.cat([columns / (len(z) * num_targets) ** 0.5, penalty]) @ coordinates
    return 2 * rows.T @ rows


def largest_stable_learning_rate(hessians: Tensor, momentum: float = 0.0) -> float:
    """Returns the learning rate up to which one cycle over the batches contracts; infinity where all Hessians are 0.

    Args:
        hessians: One (P, P) for each batch, in the order in which SGD meets them: (n, P, P). One alone gives
            2 (1 + momentum) / λ_max.
        momentum: As in `torch.optim.SGD`.
    """
    # Rates are tried upwards in steps of 2%; then the bound between two of them is bisected. Directions without
    # curvature have the spectral radius 1 but for rounding, so up to 1 + 1e-7 a cycle counts as contracting.
    ratio, slack = 1.02, 1e-7
    steepest = float(torch.linalg.eigvalsh(hessians)[:, -1].max())
    if steepest <= 0:
        return float("inf")
    if len(hessians) == 1:
        return 2 * (1 + momentum) / steepest
    # In any order of the batches, this rate contracts: the circle criterion for the transfer function of a step with
    # momentum, z / ((z - 1) (z - β)), whose real part on the unit circle is at least -(1 + β) / (2 (1 - β)²).
    below = 2 * (1 - momentum) ** 2 / (1 + momentum) / steepest
    above = below * ratio
    while spectral_radius(hessians, above, momentum) <= 1 + slack:
        below, above = above, above * ratio
    while above - below > 1e-9 * below:
        middle = (below + above) / 2
        below, above = (middle, above) if spectral_radius(hessians, middle, momentum) <= 1 + slack else (below, middle)
    return below


def largest_in_mean_square(steepest: float, noise: float, momentum: float = 0.0) -> float:
    """Returns the learning rate up to which the mean square of an error contracts, with random curvature each step.

    For x ← (1 + β - η h) x - β x₋ with h of mean λ and variance σ², the three second moments of (x, x₋) are stationary
    at η = 2 (1 - β) / (σ²/λ + λ (1 - β) / (1 + β)).

    Args:
        steepest: λ, the largest eigenvalue of the Hessian.
        noise: σ²/λ, see `curvature_noise`.
        momentum: β.
    """
    return 2 * (1 - momentum) / (noise + steepest * (1 - momentum) / (1 + momentum))


def curvature_noise(
    rows: Iterable[tuple[Tensor, ...]],
    data: Triangle,
    batch_size: float,
    coordinates: Tensor,
    mean_weight: float = 1.0,
    world: World = ALONE,
) -> tuple[float, Triangle]:
    """Computes variance / mean of the curvature along the noisiest direction, over batches of randomly drawn rows.

    A row q (Q,) of weight w has the Hessian h = 2 w q qᵀ / K. The variance of a batch of B such rows is at most
    E[h²] / B, where E[h²] = 4 E[w² |q|² q qᵀ] / K². Divided by the mean, 2 E[w q qᵀ] / K, it is at most the largest
    generalized eigenvalue of the two. Both come from triangles, that of E[h²] from a pass with weights w² |q|².

    Args:
        rows: Chunks z (n, D), y (n, K), and weights (n, 1) of any scale, if rows have some.
        data: The triangle of these rows, about 0.
        batch_size: B.
        coordinates: Of descent, (1+D, Q): q = (1, z) · coordinates.
        mean_weight: Mean weight of the rows.
        world: The processes whose chunks together are the rows.

    Returns:
        The noise, and the triangle of the rows with weights w² |q|².
    """
    features = slice(0, 1 + data.num_features)
    weighted = triangle_of(_with_squared_weights(rows, coordinates), world=world)
    squared = weighted.R[:, features] @ coordinates
    _, sizes, Vt = torch.linalg.svd(data.R[:, features] @ coordinates, full_matrices=False)
    rounding = torch.linalg.vector_norm(data.errors[features] @ coordinates.abs())
    known = sizes > rounding  # the other directions hold no data, and both triangles hold rounding there
    whitened = squared @ (Vt[known].T / sizes[known])
    steepest = float(torch.linalg.matrix_norm(whitened, 2).square()) if known.any() else 0.0
    return 2 * steepest / mean_weight / data.num_targets / batch_size, weighted


def noise_bias(
    weighted: Triangle, theta: Tensor, batch_size: float, coordinates: Tensor, mean_weight: float, num_rows: int
) -> Tensor:
    """Computes how far the mean of θ stays off θ*, (1+D, K), at a constant learning rate of 1, to first order.

    The noise of a batch's gradient, 2 w q r / K with the residual r, is correlated with that of its Hessian where steep
    rows have residuals of one sign. Batches of one epoch have no row in common, so in coordinates in which the Hessian
    is I the mean settles at -E[h g] / 2. The result has the opposite sign.

    Args:
        weighted: From `curvature_noise`.
        theta: θ*, (1+D, K).
        batch_size: As for `curvature_noise`.
        coordinates: Likewise.
        mean_weight: Likewise.
        num_rows: Number of rows that batches are drawn from.
    """
    features, targets = weighted.R[:, : len(theta)], weighted.R[:, len(theta) :]
    products = coordinates.T @ (features.T @ (features @ theta - targets)) / mean_weight**2 / num_rows
    bias: Tensor = coordinates @ products * (2 / weighted.num_targets**2 / batch_size)
    return bias


def noise_ratio(
    batches: Iterable[tuple[Tensor, ...]], theta: Tensor, mse: Tensor, coordinates: Tensor, world: World = ALONE
) -> float:
    """Computes the worst coefficient's noise variance, divided by that of residuals with equal variance in all rows.

    It is the ratio of White's covariance to the classical one ("A heteroskedasticity-consistent covariance matrix
    estimator", Econometrica 48, 1980), for the W of a sample of batches; at least 1.

    Args:
        batches: z (n, D), y (n, K), and weights (n, 1) of mean 1, if rows have some.
        theta: θ*, (1+D, K).
        mse: Mean squared residual of each target, (K,).
        coordinates: Of descent, (1+D, Q), in which the Hessian is I.
        world: The processes that have the rows of these batches.
    """
    total, num_rows = torch.zeros(theta.shape[1], coordinates.shape[1], coordinates.shape[1]).double(), 0
    for z, y, *weights in batches:
        q = torch.addmm(coordinates[0], z.double(), coordinates[1:])
        residuals = torch.addmm(theta[0], z.double(), theta[1:]) - y
        residuals = residuals * weights[0].double() if weights else residuals
        for k, residual in enumerate(residuals.T):
            rows = residual.unsqueeze(1) * q
            total[k] += rows.T @ rows
        num_rows += len(z)
    total, num_rows = world.reduced(total, torch.add), world.reduced(num_rows, add)
    W = coordinates[1:]
    robust = ((W @ total) * W).sum(dim=2) * (2 / len(mse) / num_rows)  # (K, D)
    classical = mse.unsqueeze(1) * W.square().sum(dim=1)
    known = classical > 0
    return max(1.0, float((robust[known] / classical[known]).max())) if known.any() else 1.0


def _with_squared_weights(rows: Iterable[tuple[Tensor, ...]], coordinates: Tensor) -> Iterator[tuple[Tensor, ...]]:
    for chunk in rows:
        for z, y, *weights in zip(*(torch.split(tensor, 65_536) for tensor in chunk), strict=True):  # bounds the memory
            q = torch.addmm(coordinates[0], z.double(), coordinates[1:])
            squares = q.square().sum(dim=1, keepdim=True)
            yield z, y, squares * weights[0].double().square() if weights else squares


def spectral_radius(hessians: Tensor, learning_rate: float, momentum: float = 0.0) -> float:
    """Returns the largest modulus of the eigenvalues of one cycle of steps; below 1 the cycle contracts."""
    whole = cycle(hessians, learning_rate, momentum)
    if not whole.isfinite().all():  # thousands of steps grew beyond float64, which no eigenvalue solver takes
        return float("inf")
    return float(torch.linalg.eigvals(whole).abs().max())


def cycle(hessians: Tensor, learning_rate: float, momentum: float = 0.0) -> Tensor:
    """Returns the matrix (P, P) that maps the errors θ - θ* to those after one step on each batch (n, P, P), in order.

    With momentum it is (2P, 2P), for the errors stacked on the last changes, which are 0 at the start.
    """
    same = torch.eye(hessians.shape[1], dtype=torch.float64)
    gradients = learning_rate * hessians
    if momentum:  # change = β change + gradient, θ = θ - change
        carried = (momentum * same).expand_as(gradients)
        steps = torch.cat([torch.cat([same - gradients, -carried], 2), torch.cat([gradients, carried], 2)], 1)
    else:
        steps = same - gradients
    return product(steps)


def product(steps: Tensor) -> Tensor:
    """Multiplies `steps[n-1] @ … @ steps[0]`, in pairs."""
    while len(steps) > 1:
        pairs = steps[1 : len(steps) // 2 * 2 : 2] @ steps[0 : len(steps) // 2 * 2 : 2]
        steps = torch.cat([pairs, steps[len(steps) // 2 * 2 :]])
    return steps[0]
