"""Takes the step of the l1 penalty, a soft threshold of W, behind the step of SGD.

    W ← soft(W, learning_rate · l1)

A gradient that is multiplied by a share of rows goes with an l1 that is, too. With momentum, what the threshold takes
away is added to the velocity, divided by the learning rate. So the velocity stays the last change of W, and the steps
are those of iPiano (Ochs et al., SIAM Journal on Imaging Sciences 7, 2014).
"""

from typing import Any

import torch
from torch import Tensor

from linreg_pl.errors import InputError
from linreg_pl.training.problem import Problem


def shrink(W: Tensor, optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Moves W (D, K) towards 0 in place, and its velocity with it, at the optimizer's learning rate.

    Needs `torch.no_grad`.
    """
    group = optimizer.param_groups[0]
    rate = float(group["lr"])
    if group["momentum"]:
        velocity = optimizer.state[W]["momentum_buffer"]
        velocity += (W / rate).nan_to_num_().clamp_(-l1, l1)  # 0/0 is 0, at a learning rate of 0
    W.copy_(torch.nn.functional.softshrink(W, rate * l1).add_(0.0))  # + 0, as softshrink gives -0, too


def set_exact_zeros(W: Tensor, b: Tensor, posed: Problem) -> None:
    """Sets W (D, K) to 0 in place where the exact solution is 0, unless J, over all rows, would grow.

    The noise of batches, or rounding, keeps such W near 0. Needs `torch.no_grad`.
    """
    term = posed.optimum.l1_term
    assert term is not None
    settled = torch.where((term.minimum == 0).to(W.device), 0.0, W)
    if posed.gap(posed.errors(settled, b)) <= posed.gap(posed.errors(W, b)):
        W.copy_(settled)


def require_plain_descent(optimizers: list[Any]) -> None:
    """Checks that the threshold fits the optimizer: it is SGD, with nothing but momentum.

    Raises:
        InputError: it is another one, such as that of an own `configure_optimizers`.
    """
    for optimizer in optimizers:
        extras = {"weight_decay", "dampening", "nesterov", "maximize"}
        is_plain = type(optimizer) is torch.optim.SGD and not any(
            group.get(name) for group in optimizer.param_groups for name in extras
        )
        if not is_plain or len(optimizer.param_groups) > 1:
            raise InputError(
                f"l1 needs torch.optim.SGD without weight_decay, dampening and nesterov, for its soft threshold, and"
                f" configure_optimizers returned {type(optimizer).__name__}: leave out l1, or use that optimizer"
            )
