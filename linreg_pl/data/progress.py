"""Who looks on while a pass over all rows is taken? Nobody, unless someone wants to show how far it is."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Watch(Protocol):
    """Hands on the parts of a pass, and sees each."""

    def __call__(self, parts: Iterable[T], num_rows: int | None, size: Callable[[Any], int]) -> Iterator[T]:
        """The same parts; `num_rows` is what their `size`s sum up to, None where that is not known."""


def unwatched(parts: Iterable[T], num_rows: int | None, size: Callable[[Any], int]) -> Iterator[T]:
    """The same parts."""
    return iter(parts)
