"""Computes something of slices of the rows in parallel, each on one thread, in an order that does not depend on them.

So what is computed has the same bits on any number of threads.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from os import register_at_fork
from typing import Any, TypeVar

import torch
from threadpoolctl import ThreadpoolController

Result = TypeVar("Result")

ROWS_PER_TASK = 131_072
"""Rows that one thread works on before its result is merged with the others'."""


def in_workers(
    function: Callable[..., Result], chunks: Iterable[tuple[Any, ...]], rows_per_task: int = ROWS_PER_TASK
) -> Generator[Result, None, None]:
    """Yields the function's results for slices of the rows, in order; each is computed by a thread of its own.

    Args:
        function: Takes the tensors of a slice.
        chunks: The rows, as tensors of n rows each.
        rows_per_task: Rows in a slice, at most.
    """
    num_threads, pending = torch.get_num_threads(), deque[Future[Result]]()  # bounded, so few chunks are in memory
    slices = (rows for chunk in chunks for rows in zip(*(torch.split(t, rows_per_task) for t in chunk), strict=True))
    try:
        with on_one_thread():  # this thread too: torch's threads spin for a while after each call
            for rows in slices:
                pending.append(workers(num_threads).submit(function, *rows))
                if len(pending) > 2 * num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        for task in pending:
            task.cancel()


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Lets torch and NumPy use one thread: on small matrices, more only wait for each other."""
    num_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        with libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(num_threads)


@cache
def libraries() -> ThreadpoolController:
    """Finds the loaded libraries with thread pools; cached, as finding them takes longer than factoring 1000 rows."""
    return ThreadpoolController()


@cache
def workers(num_threads: int) -> ThreadPoolExecutor:
    """Returns a pool of so many threads; cached, as new threads would allocate their memory anew."""
    return ThreadPoolExecutor(num_threads)


register_at_fork(after_in_child=workers.cache_clear)  # a fork has none of its parent's threads
