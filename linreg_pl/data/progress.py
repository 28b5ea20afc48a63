"""Progress hooks for passes over the data."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")


class Watch(Protocol):
    """A hook that sees each item of a pass over the rows, to show the progress."""

    def __call__(self, items: Iterable[Item], num_rows: int | None, size: Callable[[Any], int], /) -> Iterator[Item]:
        """Yields the same items. `size` gives an item's number of rows; `num_rows` is their sum, None if unknown."""


def unwatched(items: Iterable[Item], num_rows: int | None, size: Callable[[Any], int], /) -> Iterator[Item]:
    """Yields the same items, and shows nothing."""
    return iter(items)
