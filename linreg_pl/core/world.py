"""The processes that share the rows of a table: which rows each one reads, and how their results become one.

Here is the world of one process, which reads all rows. `linreg_pl.data.processes` has the world of several.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import accumulate, pairwise
from operator import add
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")


class World:
    """One process. All processes of a world call the same methods in the same order."""

    rank = 0
    """The number of this process, from 0 on. Rank 0 alone prints."""
    size = 1
    """The number of processes."""
    sees_same_files = False
    """Whether all processes are known to see the same files; then an error in one need not be told by whose it is."""

    def share(self, sizes: Sequence[int]) -> range:
        """Returns which of some consecutive groups of rows this process reads, so that each gets about as many rows.

        Args:
            sizes: Number of rows in each group.
        """
        return divided(sizes, self.size)[self.rank]

    def reduced(self, value: Value, merge: Callable[[Value, Value], Value]) -> Value:
        """Returns the values of all processes merged in the order of ranks, by pairs: the same bits everywhere."""
        return value

    def gathered(self, value: Value) -> list[Value]:
        """Returns the values of all processes, in the order of ranks."""
        return self.reduced([value], add)

    def first(self, value: Value) -> Value:
        """Returns the value of rank 0, so that all processes continue with the same bits."""
        return self.reduced(value, lambda first, _: first)

    def summed(self, values: Tensor) -> Tensor:
        """Returns the sum of the values of all processes: the same bits everywhere. It may overwrite `values`."""
        return values

    def together(self) -> AbstractContextManager[None]:
        """Raises an error of one process in the body in all of them, as the same error."""
        return nullcontext()

    def require_same(self, what: str, entries: Sequence[str]) -> None:
        """Checks that all processes have the same settings or files, which `what` names.

        Raises:
            InputError: one has others.
        """


ALONE = World()
"""The world of one process."""


def known(merge: Callable[[Value, Value], Value]) -> Callable[[Value | None, Value | None], Value | None]:
    """Returns a function that merges two values of which one or both may be None, for a process without rows."""

    def merged(first: Value | None, second: Value | None) -> Value | None:
        if first is None or second is None:
            return second if first is None else first
        return merge(first, second)

    return merged


def divided(sizes: Sequence[int], count: int) -> list[range]:
    """Divides consecutive groups into `count` consecutive parts of about as many rows.

    Args:
        sizes: Number of rows in each group.
        count: Number of parts.
    """
    middles = [end - size / 2 for end, size in zip(accumulate(sizes), sizes, strict=True)]
    bounds = [bisect_left(middles, sum(sizes) * part / count) for part in range(count)]
    return [range(start, stop) for start, stop in pairwise([*bounds, len(sizes)])]
