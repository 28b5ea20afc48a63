"""Keeps what is needed to look for divergence once for many steps, and to undo these."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor


class LateCheck:
    """The largest numbers of the steps since the last look, and what these steps have changed.

    Args:
        tensors: All that a step changes in place, beside the optimizer's state.
        optimizer: The optimizer.
    """

    def __init__(self, tensors: list[Tensor], optimizer: torch.optim.Optimizer) -> None:
        self._tensors, self._optimizer = tensors, optimizer
        self.begin()

    def begin(self) -> None:
        """Keeps what the steps from here on change."""
        self.num_steps = 0
        self._largest: Tensor | None = None
        self._before = [tensor.detach().clone() for tensor in self._tensors]
        self._state: dict[str, Any] = deepcopy(self._optimizer.state_dict())

    def note(self, sizes: Tensor) -> None:
        """Takes a step on trust, whose numbers have these sizes; does not wait for them."""
        self._largest = sizes if self._largest is None else torch.maximum(self._largest, sizes)  # NaN is the largest
        self.num_steps += 1

    def largest(self) -> list[float]:
        """Returns the largest of each size since the last look; waits for the device."""
        assert self._largest is not None, "a look follows a step"
        sizes: list[float] = self._largest.tolist()
        return sizes

    def undo(self) -> None:
        """Undoes the steps since the last look. Needs `torch.no_grad`."""
        for tensor, before in zip(self._tensors, self._before, strict=True):
            tensor.copy_(before)
        self._optimizer.load_state_dict(self._state)
