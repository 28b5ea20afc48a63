"""Runs real gradient descent in float64: torch.optim.SGD on autograd's gradient of J, batch after batch.

Forecasts are checked against it: `epochs` uses no Hessian, eigenvalue or closed form.
"""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from linreg_pl.core.objective import objective, penalty
from linreg_pl.core.optimum import penalty_rows
from linreg_pl.core.stability import batch_hessian
from tests.problems import problem


class Descent(NamedTuple):
    """The batches of an epoch, and the settings of the descent."""

    batches: list[tuple[Tensor, Tensor]]  # x (n, D) and y (n, K), float64
    l2: float = 0.0
    fit_intercept: bool = True
    fold_bias: bool = False
    momentum: float = 0.0

    @property
    def x(self) -> Tensor:
        """Returns all rows of x."""
        return torch.cat([x for x, _ in self.batches])

    @property
    def y(self) -> Tensor:
        """Returns all rows of y."""
        return torch.cat([y for _, y in self.batches])

    @property
    def hessians(self) -> Tensor:
        """Returns the program's Hessians of the batches, (n, P, P)."""
        D, K = self.x.shape[1], self.y.shape[1]
        rows = penalty_rows(D, self.l2, self.fold_bias).high
        hessians = [
            batch_hessian(x, rows, K, torch.eye(1 + D).double()[:, 0 if self.fit_intercept else 1 :])
            for x, _ in self.batches
        ]
        return torch.stack(hessians)

    def epochs(self, start: Tensor, velocity: Tensor, learning_rate: float, count: int = 1) -> tuple[Tensor, Tensor]:
        """Returns θ (P, K) and the optimizer's velocity (P, K) after so many epochs."""
        theta = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([theta], lr=learning_rate, momentum=self.momentum)
        if self.momentum:
            optimizer.state[theta]["momentum_buffer"] = velocity.clone()
        for _ in range(count):
            for x, y in self.batches:
                optimizer.zero_grad()
                W = theta[1:] if self.fit_intercept else theta
                b = theta[0] if self.fit_intercept else torch.zeros(y.shape[1], dtype=torch.float64)
                loss = objective(x, y, W, b, self.l2) + (penalty(b, self.l2) if self.fold_bias else 0)
                loss.backward()
                optimizer.step()
        after = optimizer.state[theta]["momentum_buffer"] if self.momentum else velocity
        return theta.detach(), after

    def cycle(self, learning_rate: float) -> Tensor:
        """Computes the matrix by which one epoch multiplies the error, with momentum the error and the velocity.

        An epoch is an affine map, so each column is an epoch from a unit vector less the epoch from 0. The K targets
        are independent; the first one is used.
        """
        P, K = self.hessians.shape[1], self.y.shape[1]
        size = 2 * P if self.momentum else P

        def after(state: Tensor) -> Tensor:
            theta, velocity = torch.zeros(P, K, dtype=torch.float64), torch.zeros(P, K, dtype=torch.float64)
            theta[:, 0] = state[:P]
            velocity[:, 0] = state[P:] if self.momentum else 0
            end = self.epochs(theta, velocity, learning_rate)
            return torch.cat([values[:, 0] for values in end])[:size]

        origin = after(torch.zeros(size, dtype=torch.float64))
        return torch.stack([after(unit) - origin for unit in torch.eye(size, dtype=torch.float64)], dim=1)

    def radius(self, learning_rate: float) -> float:
        """Computes the cycle's spectral radius: errors shrink in the end below 1, and grow above."""
        return float(torch.linalg.eigvals(self.cycle(learning_rate)).abs().max())


@st.composite
def descents(draw: st.DrawFn, momenta: tuple[float, ...] = (0.0,), most_features: int = 4) -> Descent:
    """Draws small problems in 1 to 5 batches, with more rows than coefficients, so every direction has curvature."""
    num_features = draw(st.integers(1, most_features))
    num_batches = draw(st.integers(1, 5))
    batch_size = draw(st.integers(-(-(num_features + 2) // num_batches), 6))
    x, y, W, _, l2 = problem(
        num_rows=num_batches * batch_size,
        num_features=num_features,
        num_targets=draw(st.integers(1, 2)),
        l2=draw(st.sampled_from([0.0, 0.1])),
        seed=draw(st.integers(0, 2**31)),
    )
    x = x * (0.3 + W[:, 0].abs()) + draw(st.sampled_from([0.0, 1.0]))
    fit_intercept = draw(st.booleans())
    return Descent(
        batches=list(zip(x.split(batch_size), y.split(batch_size), strict=True)),
        l2=l2,
        fit_intercept=fit_intercept,
        fold_bias=fit_intercept and draw(st.booleans()),
        momentum=draw(st.sampled_from(momenta)),
    )
