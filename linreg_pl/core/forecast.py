"""Forecasts how fast gradient descent converges along each direction of (b, W).

An epoch shrinks the error along a direction by one factor. On all rows, or on randomly drawn batches, the directions
are the Hessian's eigenvectors, and a step of plain descent multiplies the error along one by 1 - learning_rate · λ.
Over fixed batches they are the eigenvectors of the cycle, the product of the batches' steps. With momentum each
direction has two modes, and an error has a share in each.

The error is the distance from the point where the run settles. Batches with different optima keep the run at a distance
from θ* that is proportional to the learning rate: around θ* with random batches, beside it with fixed ones.

Factors are kept as logarithms, -log |factor|, never as a difference from 1: float64 cannot hold the difference for the
slow directions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Forecast:
    """Convergence of (b, W) along Q directions, the fastest first; Q is P, or 2 P with momentum."""

    rates: Tensor  # (Q,), -log |factor of an epoch|; negative where the error grows
    directions: Tensor  # (P, Q), columns; complex where two directions rotate into each other
    shares: Tensor  # (Q, P), of an initial error in each direction: `directions @ shares` is the identity

    @property
    def halving_epochs(self) -> Tensor:
        """Returns the epochs in which the error along each direction halves, (Q,); infinite where it does not."""
        return torch.where(self.rates > 0, math.log(2) / self.rates, torch.inf)

    def in_units(self, matrix: Tensor, inverse: Tensor) -> "Forecast":
        """Returns the forecast of `matrix @ errors`, matrix (P', P), where `inverse` (P, P') gives the errors."""
        directions = matrix.to(self.directions.dtype) @ self.directions
        return replace(self, directions=directions, shares=self.shares @ inverse.to(self.shares.dtype))

    def epochs_until(self, errors: Tensor, share: float = 0.01, least: Tensor | None = None) -> Tensor:
        """Returns the epochs until each coefficient's error is below `share` of its initial error, and stays there.

        A coefficient's error is the sum of its terms along the directions. Their magnitudes are added, so the result
        is an upper bound where terms cancel.

        Args:
            errors: θ - θ* at the start, (P, K).
            share: Of the initial error.
            least: An error of this size is small enough, whatever it was at the start: (P, K).

        Returns:
            (P, K); infinite where a direction with a share in the error does not converge, 0 without an error.
        """
        coordinates = self.shares @ errors.to(self.shares.dtype)
        terms = (self.directions.unsqueeze(2) * coordinates.unsqueeze(0)).abs()  # (P of θ, Q directions, K)
        present = terms > 1e-14 * terms.amax(dim=1, keepdim=True)
        allowed = share * errors.abs()
        allowed = allowed if least is None else torch.maximum(allowed, least)

        def is_above(epochs: Tensor) -> Tensor:
            remaining = terms * torch.exp(-self.rates.view(1, -1, 1) * epochs.unsqueeze(1).clamp(min=1e-300))
            return torch.where(present, remaining, 0.0).sum(dim=1) > allowed

        below, above = torch.zeros_like(errors), torch.ones_like(errors)
        is_close = (torch.where(present, terms, 0.0).sum(dim=1) <= allowed) | (allowed == 0)
        while (grows := is_above(above) & (above < 1e30)).any():
            above = torch.where(grows, above * 2, above)
        for _ in range(60):
            middle = (below + above) / 2
            too_early = is_above(middle)
            below, above = torch.where(too_early, middle, below), torch.where(too_early, above, middle)
        return torch.where(is_close, 0.0, torch.where(above >= 1e30, torch.inf, above))


def forecast(factor: Tensor, learning_rate: float, steps_per_epoch: int = 1, momentum: float = 0.0) -> Forecast:
    """Forecasts descent on all rows, or on randomly drawn batches, whose mean step is the same.

    Args:
        factor: (M, P), from `Optimum.factor_of`; the Hessian is twice its Gram matrix.
        learning_rate: Of SGD.
        steps_per_epoch: Steps of SGD in an epoch.
        momentum: As in `torch.optim.SGD`.
    """
    lengths, Vt = _principal(factor)
    steps = learning_rate * 2 * lengths.square()
    if not momentum:
        return _sorted(steps_per_epoch * _rate(steps), Vt.T, Vt)
    # The factors are 1 - w, where w solves w² - (1 - β + step) w + step = 0 (Qian 1999, equation 12).
    half = (1 - momentum + steps) / 2
    root = (half.square() - steps).to(torch.complex128).sqrt()
    # Where the two modes coincide, the shares in them would be infinite: keep the modes apart by at least 1e-3.
    root = torch.where(root.abs() > 1e-3, root, 1e-3)
    large = half + root
    small = steps / large
    small_share = (large - steps) / (2 * root)  # with this share the first step, from rest, is the gradient's alone
    shares = torch.cat([small_share, 1 - small_share]).unsqueeze(1) * torch.cat([Vt, Vt])
    rates = steps_per_epoch * _rate(torch.cat([small, large]))
    return _sorted(rates, torch.cat([Vt.T, Vt.T], dim=1), shares)


def forecast_of_cycle(hessians: Tensor, learning_rate: float, momentum: float = 0.0) -> Forecast:
    """Forecasts descent over fixed batches, from their Hessians (n, P, P) in the order in which SGD meets them."""
    P = hessians.shape[1]
    state = torch.eye(2 * P if momentum else P, dtype=torch.float64)  # the error, and with momentum its last change
    error, at_rest = state[:P], state[P:]
    change = torch.zeros_like(error)  # of the error since the start of the epoch; its last change is -velocity
    velocity = at_rest if momentum else change
    for hessian in hessians:
        velocity = momentum * velocity + learning_rate * hessian @ (error + change)
        change = change - velocity
    whole = torch.cat([change, velocity - at_rest]) if momentum else change
    if not whole.isfinite().all():  # the error grew beyond float64 within an epoch
        return Forecast(torch.full((P,), -torch.inf, dtype=torch.float64), error[:, :P], torch.eye(P).to(error))
    changes, directions = torch.linalg.eig(whole)
    # An eigenvalue is wrong by about 1e-16 of the largest. One below 1e-13 of it may be rounding, and means no
    # convergence: that direction would need 1e13 epochs or more.
    rates = torch.where(changes.abs() > 1e-13 * changes.abs().max(), _rate(-changes), 0)
    shares = torch.linalg.inv(directions)[:, :P]
    if (changes.imag == 0).all():
        directions, shares = directions.real, shares.real
    return _sorted(rates, directions[:P], shares)


def forecast_of_gap(factor: Tensor, epoch: Tensor, errors: Tensor, every_n_epochs: int, count: int) -> Tensor:
    """Forecasts the gap J - J* at the start and after each `every_n_epochs` epochs, `count` times; (1 + count,).

    This is descent without noise: all batches have the same optimum. All directions add up in the gap, so their signs
    and phases matter, and the matrix of a whole epoch is applied.

    Args:
        factor: (M, P), from `Optimum.factor_of`.
        epoch: From `cycle`, of all steps of an epoch: (P, P), or (2P, 2P) with momentum.
        errors: θ - θ* at the start, (P, K).
        every_n_epochs: Epochs from one value to the next.
        count: Number of values after the first.

    Returns:
        The gaps; the last ones may be infinite or NaN where descent diverges.
    """
    stride = torch.linalg.matrix_power(epoch, every_n_epochs)
    state = torch.cat([errors, torch.zeros(len(epoch) - len(errors), errors.shape[1], dtype=torch.float64)])
    states = [state]
    for _ in range(count):
        states.append(stride @ states[-1])
    gaps: Tensor = torch.stack([(factor @ state[: len(errors)]).square().sum() for state in states])
    return gaps


def course(
    factor: Tensor,
    errors: Tensor,
    learning_rate_at: Callable[[float], float],
    momentum: float,
    every_n_steps: int,
    count: int,
    most_transfers: int = 4000,
) -> Tensor:
    """Computes the errors at the start, and `count` times after `every_n_steps` steps each, on any schedule.

    Descent is on all rows. A run of at most `most_transfers` steps is followed step by step. A longer one is divided
    into so many parts, or one for each value if those are more. Each part takes its steps at the learning rate of its
    middle, by one power of a step's matrix, so the cost does not depend on the number of steps. The error of this is
    quadratic in a part's share of the run.

    Args:
        factor: (M, P), from `Optimum.factor_of`.
        errors: θ - θ* at the start, (P, K).
        learning_rate_at: Returns the learning rate after so many steps, which need not be whole.
        momentum: As in `torch.optim.SGD`.
        every_n_steps: Steps from one value to the next.
        count: Number of values after the first.
        most_transfers: Number of parts, at most.

    Returns:
        (1 + count, P, K); an error too large for float64 is 1e300.
    """
    lengths, Vt = _principal(factor)
    eigenvalues = 2 * lengths.square().unsqueeze(1).numpy()
    parts = max(1, min(every_n_steps, most_transfers // max(1, count)))
    bounds = [every_n_steps * part // parts for part in range(parts + 1)]
    coordinates = (Vt @ errors).numpy()  # along each eigenvector; NumPy is faster than torch in such small steps
    mean_gradient = np.zeros_like(coordinates)  # the velocity, divided by the eigenvalue
    recorded = [coordinates]
    with np.errstate(over="ignore", invalid="ignore"):
        for number in range(count):
            for part in range(parts):
                first, steps = every_n_steps * number + bounds[part], bounds[part + 1] - bounds[part]
                pulls = learning_rate_at(first + (steps - 1) / 2) * eigenvalues
                after_step = momentum * mean_gradient + coordinates
                moved = coordinates - pulls * after_step
                if steps > 1:
                    now, before = _powers(pulls, momentum, steps)
                    moved = now * moved - before * coordinates
                    after_step = now * after_step - before * mean_gradient
                coordinates, mean_gradient = moved, after_step
            recorded.append(coordinates)
    finite = np.nan_to_num(np.stack(recorded), nan=1e300, posinf=1e300, neginf=-1e300)
    errors_in_time: Tensor = torch.einsum("qp,nqk->npk", Vt, torch.from_numpy(finite))
    return errors_in_time


def _powers(pulls: np.ndarray, momentum: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns p and q for which p A - q is the power of so many steps of A, the matrix of a step on (e, u).

    u ← momentum · u + e and e ← e - pull · u. A has the trace 1 + momentum - pull and the determinant momentum, so both
    follow from its eigenvalues (Cayley and Hamilton).
    """
    half = (1 + momentum - pulls) / 2
    root = np.sqrt(half * half - momentum + 0j)
    root = np.where(np.abs(root) > 1e-6, root, 1e-6)  # equal eigenvalues would divide by 0
    large, small = half + root, half - root
    now = (large**steps - small**steps) / (2 * root)
    before = (large ** (steps - 1) - small ** (steps - 1)) / (2 * root)
    return now.real, momentum * before.real


def _principal(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the lengths (P,) of the factor's (M, P) axes, 0 for those beyond M, and their directions as rows."""
    _, lengths, Vt = torch.linalg.svd(factor)
    return torch.nn.functional.pad(lengths, (0, len(Vt) - len(lengths))), Vt


def _rate(w: Tensor) -> Tensor:
    """Computes -log |1 - w| of complex numbers, to all digits where |w| is small."""
    return -0.5 * torch.log1p(w.abs().square() - 2 * w.real)


def _sorted(rates: Tensor, directions: Tensor, shares: Tensor) -> Forecast:
    order = rates.argsort(descending=True)
    return Forecast(rates[order], directions[:, order], shares[order])
