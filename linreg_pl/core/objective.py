"""Defines the cost J and its gradient.

    J(W, b) = mean((X W + b - y)²) + l2 · sum(W²)             b is not penalised
    dJ/dW   = 2/(N·K) · Xᵀ (X W + b - y) + 2 · l2 · W
    dJ/db   = 2/(N·K) · sum over rows of (X W + b - y)

N rows, D features, K targets; the mean runs over all N·K entries. scikit-learn's `Ridge` sums where J averages:
its `alpha` is N·K·l2. PyTorch's `weight_decay` is neither: it is half of this penalty, and falls on b too.

With l1 above 0, J also has the term `l1 · sum|W|`. It has no gradient where an entry of W is 0, so the gradient here
leaves it out. Each step takes the penalty into account by a soft threshold, its proximal operator:

    W ← soft(W - learning_rate · dJ/dW, learning_rate · l1)            soft(v, t) = sign(v) · max(|v| - t, 0)

Where rows have weights w (N, 1), each square is multiplied by its row's:

    J(W, b) = mean(w · (X W + b - y)²) + l2 · sum(W²)

Weights are scaled once, to be 1 on average over all rows, so J over all rows is the weighted mean. A batch divides by
its number of rows, not by its total weight, so the mean of J over batches of equal size is J over all rows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """J's gradient at one (W, b), on one batch. J itself is computed only when it is read."""

    grad_W: Tensor  # (D, K)
    grad_b: Tensor  # (K,)
    residuals: Tensor  # (N, K), X W + b - y
    weighted_residuals: Tensor  # (N, K)
    penalized: Tensor  # W before the step; with a penalised bias, b stacked on W
    l2: float
    l1: float

    @cached_property
    def mse(self) -> Tensor:
        """Computes J without the penalty, ()."""
        return (self.residuals * self.weighted_residuals).mean()

    @cached_property
    def loss(self) -> Tensor:
        """Computes J, ()."""
        return self.mse + penalty(self.penalized, self.l2, self.l1)

    @property
    def grad_norm(self) -> float:
        """Computes the norm of J's gradient in (W, b); with l1, of its shortest subgradient."""
        grad_W = subgradient(self.grad_W, self.penalized, self.l1) if self.l1 else self.grad_W
        return math.hypot(torch.linalg.vector_norm(grad_W), torch.linalg.vector_norm(self.grad_b))

    @property
    def squares(self) -> Tensor:
        """Returns a number that is finite if all squared residuals are, (); takes less time than J."""
        return torch.dot(self.residuals.view(-1), self.weighted_residuals.view(-1))


@dataclass(frozen=True)
class OtherLossStep(Step):
    """The gradient of a cost with another loss than the square: `mean(w · loss(X W + b - y))` and the penalties."""

    mean_loss: Tensor  # (), weighted

    @cached_property
    def loss(self) -> Tensor:
        """Computes the cost, ()."""
        return self.mean_loss + penalty(self.penalized, self.l2, self.l1)


def predict(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Computes `x W + b`, shape (N, K), for `x` (N, D), `W` (D, K), `b` (K,)."""
    return torch.addmm(b, x, W)


def residuals(x: Tensor, y: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """Computes `x W + b - y`, shape (N, K).

    Raises:
        ValueError: `y` is not (N, K). Broadcasting would accept (N,) and quietly compare all rows with all rows.
    """
    if y.shape != (len(x), W.shape[1]):
        raise ValueError(
            f"y has shape {tuple(y.shape)}, but x {tuple(x.shape)} and W {tuple(W.shape)} predict"
            f" {(len(x), W.shape[1])}: one row of y for each row of x, one column for each target"
        )
    return predict(x, W, b).sub_(y)


def penalty(W: Tensor, l2: float, l1: float = 0.0) -> Tensor:
    """Computes `l2 · sum(W²) + l1 · sum|W|`."""
    squares = l2 * W.square().sum()
    return squares + l1 * W.abs().sum() if l1 else squares


def subgradient(gradient: Tensor, W: Tensor, l1: float) -> Tensor:
    """Returns the shortest subgradient in W (D, K) of `l1 · sum|W|` and a term that has this gradient (D, K)."""
    return torch.where(W == 0, torch.nn.functional.softshrink(gradient, l1), gradient + l1 * W.sign())


def weighted(residual: Tensor, weights: Tensor | None) -> Tensor:
    """Computes `w · residual`, shape (N, K); without weights, returns the residuals themselves.

    Raises:
        ValueError: `weights` is not (N, 1). Broadcasting would accept (N,) and quietly weigh targets, not rows.
    """
    if weights is None:
        return residual
    if weights.shape != (len(residual), 1):
        raise ValueError(f"weights has shape {tuple(weights.shape)}: give one column of {len(residual)} rows")
    return residual * weights


def objective(
    x: Tensor, y: Tensor, W: Tensor, b: Tensor, l2: float, weights: Tensor | None = None, l1: float = 0.0
) -> Tensor:
    """Computes J(W, b), differentiable; autograd gives the gradient that `value_and_gradient` has in closed form."""
    residual = residuals(x, y, W, b)
    return (residual * weighted(residual, weights)).mean() + penalty(W, l2, l1)


def value_and_gradient(
    x: Tensor, y: Tensor, W: Tensor, b: Tensor, l2: float, weights: Tensor | None = None, l1: float = 0.0
) -> Step:
    """Computes J's gradient in closed form, and keeps the residuals, from which J follows without another pass.

    Autograd would take longer. The gradient leaves out the term of l1.
    """
    residual = residuals(x, y, W, b)
    weighted_residual = weighted(residual, weights)
    factor = 2 / residual.numel()
    grad_W = torch.addmm(W, x.T, weighted_residual, beta=2 * l2, alpha=factor)
    return Step(grad_W, factor * weighted_residual.sum(dim=0), residual, weighted_residual, W.clone(), l2, l1)


def with_loss(
    step: Step, loss: Callable[[Tensor], Tensor], x: Tensor, W: Tensor, weights: Tensor | None = None
) -> OtherLossStep:
    """Replaces the square in a step by another loss of each residual, whose derivative autograd computes.

    Args:
        step: The step of `value_and_gradient` at the same W and b.
        loss: Maps residuals (N, K) to losses (N, K).
        x: The batch's features (N, D).
        W: Weights (D, K).
        weights: Weights (N, 1) of the rows.

    Raises:
        ValueError: the losses are not (N, K).
    """
    with torch.enable_grad():
        residual = step.residuals.detach().requires_grad_()
        losses = loss(residual)
        if losses.shape != residual.shape:
            raise ValueError(
                f"loss returns shape {tuple(losses.shape)} for residuals {tuple(residual.shape)}: return the loss of"
                ' each residual, with reduction="none"'
            )
        mean_loss = weighted(losses, weights).mean()
        (slopes,) = torch.autograd.grad(mean_loss, residual)
    grad_W = torch.addmm(W, x.T, slopes, beta=2 * step.l2)
    parts = (step.residuals, step.weighted_residuals, step.penalized, step.l2, step.l1)
    return OtherLossStep(grad_W, slopes.sum(dim=0), *parts, mean_loss.detach())


def with_penalized_bias(step: Step, b: Tensor, l2: float) -> Step:
    """Adds the penalty of b to a step, as if b were the weight of a column of ones."""
    penalized = torch.cat([b.unsqueeze(0), step.penalized])
    return replace(step, grad_b=step.grad_b + 2 * l2 * b, penalized=penalized)
