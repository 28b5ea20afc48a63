"""Runs work in a background thread: the next item of an iterator, or a single call."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def prefetched(items: Iterator[Result]) -> Iterator[Result]:
    """Yields the same items; a thread makes the next one while the caller uses this one."""
    thread, end = ThreadPoolExecutor(1), object()
    try:
        upcoming = thread.submit(next, items, end)
        while (item := upcoming.result()) is not end:
            upcoming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is not the end
    finally:
        # Without waiting: the garbage collector may close this while a thread starts, and the two would deadlock.
        thread.shutdown(wait=False, cancel_futures=True)


def in_thread(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Future[Result]:
    """Calls the function in a thread of its own, and returns the future result."""
    thread = ThreadPoolExecutor(1)
    future = thread.submit(function, *args, **kwargs)
    thread.shutdown(wait=False)  # the thread ends after this call
    return future
