"""Takes each step on the rows of several processes: one sum over the processes a step, of gradients and signs.

    gradient = sum of n · gradient over the processes / sum of n            n rows of the batch in a process

So the processes may have shares of any size, and some none. The first process has the run: its folder, its curves and
its rules. The others take the same steps, until it says that the run is over. All start with the same bits and add the
same sums, so W and b stay the same in all of them.
"""

import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import torch
from torch import Tensor, nn

from linreg_pl.core import objective
from linreg_pl.core.world import World


class RunIsOver(BaseException):
    """Raised at a step that the run does not take, in all processes but the first.

    Not an `Exception`, as nothing has failed.
    """


@dataclass(frozen=True)
class SharedStep(objective.Step):
    """The step on a batch that several processes share; the residuals are those of this process."""

    mean_square: Tensor  # (), J without the penalty

    @cached_property
    def mse(self) -> Tensor:
        """Returns J without the penalty, ()."""
        return self.mean_square

    @property
    def squares(self) -> Tensor:
        """Returns a number that is finite if the squared residuals of all processes are, ()."""
        return self.mean_square


class SharedSteps:
    """The steps that several processes take together. Nothing else is exchanged between the first and the last.

    Args:
        world: The processes.
        module: The model, of which each process has a copy.
        cuts_batches: Whether each process has all rows of a batch, and takes its part; else it has its own rows only.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, world: World, module: nn.Module, cuts_batches: bool) -> None:
        self.world = world
        self.signal: int | None = None  # that another process than the first has received
        self.on_signal: Callable[[int], object] = lambda number: None  # called in the first process
        self._module, self._cuts_batches = module, cuts_batches
        self._size = sum(parameter.numel() for parameter in module.parameters()) + 2
        self._has_begun = self._is_over = False

    def value_and_gradient(
        self, x: Tensor, y: Tensor, W: Tensor, b: Tensor, l2: float, weights: Tensor | None, l1: float
    ) -> SharedStep:
        """Computes J's gradient over the rows of all processes; see `objective.value_and_gradient`.

        Raises:
            RunIsOver: the first process takes no further step.
            InputError: another process has failed; it is the error of that.
        """
        if not self._has_begun:
            self.world.require_same("libraries, processor or initial W", list(self._start()))
            self._has_begun = True
        if self._cuts_batches:
            rows = slice(*(len(x) * rank // self.world.size for rank in (self.world.rank, self.world.rank + 1)))
            x, y, weights = x[rows], y[rows], None if weights is None else weights[rows]
        residuals, weighted, sums = y, y, torch.zeros(self._size, dtype=torch.float64)
        if len(y):
            own = objective.value_and_gradient(x, y, W, b, l2, weights, l1)
            residuals, weighted = own.residuals, own.weighted_residuals
            means = torch.cat([own.grad_W.flatten(), own.grad_b, own.mse.view(1), torch.ones(1, dtype=W.dtype)])
            sums = len(y) * means.double()
        sums = self._exchanged(sums)
        if self._is_over:
            raise RunIsOver
        means = (sums[:-1] / sums[-1]).to(W.dtype)
        grad_W, grad_b, mean_square = torch.split(means, [W.numel(), b.numel(), 1])
        parts = (residuals, weighted, W.clone(), l2, l1)
        return SharedStep(grad_W.view_as(W), grad_b, *parts, mean_square.squeeze())

    def _start(self) -> Iterator[str]:
        """Yields what must be the same in all processes, so that their W and b stay the same."""
        yield f"torch {torch.__version__}"
        yield f"NumPy {np.__version__}"
        yield f"instructions {torch.backends.cpu.get_cpu_capability()}"
        values = (tensor.contiguous().numpy().data for tensor in self._module.state_dict().values())
        yield f"checksum {reduce(lambda checksum, data: zlib.crc32(data, checksum), values, 0):08x}"

    @contextmanager
    def led(self) -> Iterator[None]:
        """Runs the body in the first process, and then tells the others that the run is over."""
        try:
            yield
        finally:
            self._end()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Runs the body in another process, and then waits until the first one says that the run is over."""
        try:
            yield
            while self._has_begun and not self._is_over:
                self._exchanged(torch.zeros(self._size, dtype=torch.float64))
        except RunIsOver:
            return
        except Exception:  # at a signal, the end of this process tells the others
            self._end()
            raise

    def _end(self) -> None:
        """Takes part in the next sum for the last time. Before the first sum, the error alone tells the others."""
        if self._has_begun and not self._is_over:
            self._is_over = True
            is_first = self.world.rank == 0
            self.world.summed(self._message(torch.zeros(self._size, dtype=torch.float64), is_first, not is_first))

    def _message(self, sums: Tensor, is_over: bool = False, has_failed: bool = False) -> Tensor:
        signs = [is_over, has_failed, *(self.signal == number for number in self.SIGNALS)]
        return torch.cat([sums, torch.tensor(signs, dtype=torch.float64)])

    def _exchanged(self, sums: Tensor) -> Tensor:
        """Returns the sums over all processes, and acts on their signs."""
        total = self.world.summed(self._message(sums))
        is_over, has_failed, *signals = (total[self._size :] > 0).tolist()
        if has_failed and not is_over:
            self._is_over = True
            self.world.first(None)  # raises the error of the process that has failed
        self._is_over = is_over
        for number, was_received in zip(self.SIGNALS, signals, strict=True):
            if was_received and self.world.rank == 0:
                self.on_signal(number)
        return total[: self._size]
