"""Limits torch to one thread for small work."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads_that_pay(products: int, single_thread_limit: int = 2**20) -> Iterator[None]:
    """Runs the body with one thread if it multiplies at most `single_thread_limit` times, else with all threads.

    Threads take microseconds to synchronize, on a busy machine milliseconds: below the limit one thread is faster.

    Args:
        products: Multiplications, such as those of x and W in a batch.
        single_thread_limit: Up to this many, one thread finishes before several have synchronized.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if products <= single_thread_limit else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
