"""How long will gradient descent take? Each direction of (b, W) on its own: an epoch shrinks its error by one factor.

On all rows, or on batches drawn anew, the directions are the Hessian's eigenvectors, and a step of plain descent
multiplies the error along one by 1 - learning_rate · λ. Over fixed batches they are the eigenvectors of the cycle, the
product of the batches' steps. With momentum an error shrinks in two ways at once, and has a share in each.

What shrinks is the distance from where the run comes to rest. Batches that disagree, each with an optimum of its own,
leave it at a learning rate's distance from θ*: around it where they are drawn anew, beside it where they are fixed.

Factors are kept as logarithms, -log |factor|, and never as a difference from 1: the slow directions' factors differ
from it by less than float64 can hold.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

LOST = 1e-13
"""The share of the largest change in a cycle below which a change is taken for the rounding of none.

An eigenvalue is wrong by float64's 1e-16 or so of the largest: a direction this slow would need 1e13 epochs or more."""

DISTINCT = 1e-3
"""Momentum's two ways are told apart by at least this: where they are one, the shares in them would be infinite."""


@dataclass(frozen=True)
class Forecast:
    """The Q directions in which (b, W) converges, the fastest first: Q = P, or 2 P with momentum."""

    rates: Tensor  # (Q,), -log |factor of an epoch|; negative where the error grows
    directions: Tensor  # (P, Q), columns; complex where two directions turn into each other
    shares: Tensor  # (Q, P), of an error at the start in them: `directions @ shares` is 1

    @property
    def halving_epochs(self) -> Tensor:
        """Epochs in which the error along each direction halves, (Q,); infinite where it does not."""
        return torch.where(self.rates > 0, math.log(2) / self.rates, torch.inf)

    def in_units(self, matrix: Tensor) -> "Forecast":
        """The same of `matrix @ errors`, matrix (P, P)."""
        back = torch.linalg.inv(matrix).to(self.shares.dtype)
        directions = matrix.to(self.directions.dtype) @ self.directions
        return replace(self, directions=directions, shares=self.shares @ back)

    def epochs_until(self, errors: Tensor, share: float = 0.01) -> Tensor:
        """Epochs until each coefficient's error is below `share` of its start's, and stays there.

        No fewer are promised where directions take turns to cancel each other: their sizes are added.

        Args:
            errors: θ - θ* at the start, (P, K).
            share: What is left.

        Returns:
            (P, K); infinite where a direction it depends on does not converge, 0 where there is no error.
        """
        along = self.shares @ errors.to(self.shares.dtype)
        parts = (self.directions.unsqueeze(2) * along.unsqueeze(0)).abs()  # (P of θ, Q directions, K)
        present = parts > 1e-14 * parts.amax(dim=1, keepdim=True)
        allowed = share * errors.abs()

        def too_far(epochs: Tensor) -> Tensor:
            left = parts * torch.exp(-self.rates.view(1, -1, 1) * epochs.unsqueeze(1).clamp(min=1e-300))
            return torch.where(present, left, 0.0).sum(dim=1) > allowed

        below, above = torch.zeros_like(errors), torch.ones_like(errors)
        while (grows := too_far(above) & (above < 1e30)).any():
            above = torch.where(grows, above * 2, above)
        for _ in range(60):
            middle = (below + above) / 2
            far = too_far(middle)
            below, above = torch.where(far, middle, below), torch.where(far, above, middle)
        return torch.where(allowed == 0, 0.0, torch.where(above >= 1e30, torch.inf, above))


def forecast(factor: Tensor, learning_rate: float, steps_per_epoch: int = 1, momentum: float = 0.0) -> Forecast:
    """Of descent on all rows, or on batches drawn anew, which on average do the same.

    Args:
        factor: (P, P), from `Optimum.factor_of`; the Hessian is twice its Gram matrix.
        learning_rate: Of SGD.
        steps_per_epoch: Of it.
        momentum: As in `torch.optim.SGD`.
    """
    _, lengths, Vt = torch.linalg.svd(factor)
    steps = learning_rate * 2 * lengths.square()
    if not momentum:
        return _sorted(steps_per_epoch * _rate(steps), Vt.T, Vt)
    # The factors are 1 - w, where w solves w² - (1 - β + step) w + step = 0 (Qian 1999, equation 12).
    half = (1 - momentum + steps) / 2
    root = (half.square() - steps).to(torch.complex128).sqrt()
    root = torch.where(root.abs() > DISTINCT, root, DISTINCT)
    far = half + root
    near = steps / far
    of_near = (far - steps) / (2 * root)  # so that the first step, from rest, is the gradient's alone
    shares = torch.cat([of_near, 1 - of_near]).unsqueeze(1) * torch.cat([Vt, Vt])
    rates = steps_per_epoch * _rate(torch.cat([near, far]))
    return _sorted(rates, torch.cat([Vt.T, Vt.T], dim=1), shares)


def forecast_of_cycle(hessians: Tensor, learning_rate: float, momentum: float = 0.0) -> Forecast:
    """Of descent over fixed batches, whose Hessians (n, P, P) stand in the order in which SGD meets them."""
    P = hessians.shape[1]
    state = torch.eye(2 * P if momentum else P, dtype=torch.float64)  # the error, and with momentum its last change
    error, at_rest = state[:P], state[P:]
    change = torch.zeros_like(error)  # of the error since the epoch began; its last change is -velocity
    velocity = at_rest if momentum else change
    for hessian in hessians:
        velocity = momentum * velocity + learning_rate * hessian @ (error + change)
        change = change - velocity
    whole = torch.cat([change, velocity - at_rest]) if momentum else change
    if not whole.isfinite().all():  # it grew beyond float64 within an epoch
        return Forecast(torch.full((P,), -torch.inf, dtype=torch.float64), error[:, :P], torch.eye(P).to(error))
    found, directions = torch.linalg.eig(whole)
    rates = torch.where(found.abs() > LOST * found.abs().max(), _rate(-found), 0)
    shares = torch.linalg.inv(directions)[:, :P]
    if (found.imag == 0).all():
        directions, shares = directions.real, shares.real
    return _sorted(rates, directions[:P], shares)


def forecast_of_gap(factor: Tensor, epoch: Tensor, errors: Tensor, every_n_epochs: int, count: int) -> Tensor:
    """The gap J - J* at the start and at the end of each `every_n_epochs` epochs, `count` times; (1 + count,).

    Of descent without noise, for which the optimum stays where it is whichever the batch. As all directions come
    together in the gap, their signs and phases matter here, and an epoch is applied as a whole.

    Args:
        factor: (P, P), from `Optimum.factor_of`.
        epoch: From `cycle`, of all steps of an epoch: (P, P), or (2P, 2P) with momentum.
        errors: θ - θ* at the start, (P, K).
        every_n_epochs: Epochs from one value to the next.
        count: Of values after the start's.

    Returns:
        The last ones may be infinite, or NaN, where descent diverges.
    """
    stride = torch.linalg.matrix_power(epoch, every_n_epochs)
    state = torch.cat([errors, torch.zeros(len(epoch) - len(errors), errors.shape[1], dtype=torch.float64)])
    states = [state]
    for _ in range(count):
        states.append(stride @ states[-1])
    gaps: Tensor = torch.stack([(factor @ state[: len(errors)]).square().sum() for state in states])
    return gaps


def course(factor: Tensor, errors: Tensor, learning_rates: Tensor, momentum: float, every_n_steps: int) -> Tensor:
    """The errors at the start and after each `every_n_steps` steps of descent on all rows, whatever its schedule.

    Args:
        factor: (P, P), from `Optimum.factor_of`.
        errors: θ - θ* at the start, (P, K).
        learning_rates: Of each step, (n,).
        momentum: As in `torch.optim.SGD`.
        every_n_steps: Steps from one value to the next.

    Returns:
        (1 + n // every_n_steps, P, K)
    """
    _, lengths, Vt = torch.linalg.svd(factor)
    eigenvalues = 2 * lengths.square().unsqueeze(1).numpy()
    along = (Vt @ errors).numpy()  # each direction on its own, by NumPy: in such small steps it is faster
    velocity = np.zeros_like(along)
    found = [along]
    for number, learning_rate in enumerate(learning_rates.tolist(), start=1):
        velocity = momentum * velocity + eigenvalues * along
        along = along - learning_rate * velocity
        if number % every_n_steps == 0:
            found.append(along)
    errors_in_time: Tensor = Vt.T @ torch.from_numpy(np.stack(found))
    return errors_in_time


def _rate(w: Tensor) -> Tensor:
    """-log |1 - w| of complex numbers, to all digits where |w| is small."""
    return -0.5 * torch.log1p(w.abs().square() - 2 * w.real)


def _sorted(rates: Tensor, directions: Tensor, shares: Tensor) -> Forecast:
    order = rates.argsort(descending=True)
    return Forecast(rates[order], directions[:, order], shares[order])
