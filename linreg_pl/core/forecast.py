"""How long will gradient descent take? Each direction of (b, W) on its own: an epoch shrinks its error by one factor.

On all rows, or on batches drawn anew, the directions are the Hessian's eigenvectors, and a step of plain descent
multiplies the error along one by 1 - learning_rate · λ. Over fixed batches they are the eigenvectors of the cycle, the
product of the batches' steps. Factors are kept as logarithms, -log |factor|, and never as a difference from 1: the slow
directions' factors differ from it by less than float64 can hold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LOST = 1e-7
"""The share of the fastest rate below which a cycle's slow rates drown in rounding; their batches' mean then serves."""


@dataclass(frozen=True)
class Forecast:
    """The P directions in which (b, W) converges, the fastest first."""

    rates: Tensor  # (P,), -log |factor of an epoch|; negative where the error grows
    directions: Tensor  # (P, P), columns of unit length; complex where two directions turn into each other

    @property
    def halving_epochs(self) -> Tensor:
        """Epochs in which the error along each direction halves, (P,); infinite where it does not."""
        return torch.where(self.rates > 0, torch.log(torch.tensor(2.0)) / self.rates, torch.inf)

    def epochs_until(self, errors: Tensor, share: float = 0.01) -> Tensor:
        """Epochs until each coefficient's error is below `share` of its start's, and stays there.

        Args:
            errors: θ - θ* at the start, (P, K).
            share: What is left.

        Returns:
            (P, K); infinite where a direction it depends on does not converge, 0 where there is no error.
        """
        along = torch.linalg.solve(self.directions, errors.to(self.directions.dtype))
        parts = (self.directions.unsqueeze(2) * along.unsqueeze(0)).abs()  # (P of θ, P directions, K)
        parts = torch.where(parts > 1e-14 * parts.amax(dim=1, keepdim=True), parts, 0.0)
        allowed = share * errors.abs()

        def too_far(epochs: Tensor) -> Tensor:
            left = parts * torch.exp(-self.rates.view(1, -1, 1) * epochs.unsqueeze(1))
            return left.sum(dim=1) > allowed

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
    # The factors are 1 - w, where w solves w² - (1 - β + step) w + step = 0 (Qian 1999, equation 12).
    half = (1 - momentum + steps) / 2
    root = (half.square() - steps).to(torch.complex128).sqrt()
    near = torch.where(steps > 0, steps / (half + root), 0)
    rates = torch.minimum(_rate(near), _rate(half + root))
    return _sorted(steps_per_epoch * rates, Vt.T)


def forecast_of_cycle(hessians: Tensor, learning_rate: float) -> Forecast:
    """Of plain descent over fixed batches, whose Hessians (n, P, P) stand in the order in which SGD meets them."""
    same = torch.eye(hessians.shape[1], dtype=torch.float64)
    change = torch.zeros_like(same)  # the cycle less the identity
    for hessian in hessians:
        change = change - learning_rate * (hessian + hessian @ change)
    found, directions = torch.linalg.eig(change)
    cycle = _sorted(_rate(-found), directions)
    mean = torch.linalg.eigvalsh(hessians.mean(dim=0)).flip(0).clamp(min=0)
    lost = cycle.rates.abs() < LOST * cycle.rates.abs().max()
    rates = torch.where(lost, len(hessians) * learning_rate * mean, cycle.rates)
    real = bool((cycle.directions.imag == 0).all())
    return Forecast(rates, cycle.directions.real if real else cycle.directions)


def _rate(w: Tensor) -> Tensor:
    """-log |1 - w| of complex numbers, to all digits where |w| is small."""
    return -0.5 * torch.log1p(w.abs().square() - 2 * w.real)


def _sorted(rates: Tensor, directions: Tensor) -> Forecast:
    order = rates.argsort(descending=True)
    return Forecast(rates[order], directions[:, order])
