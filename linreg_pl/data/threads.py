"""How many of torch's threads does a piece of work get?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 2**20
"""Products of a batch's x and W that one thread has added up before several have met."""


@contextmanager
def threads_that_pay(products: int) -> Iterator[None]:
    """One for small work, all for large: to meet takes them microseconds, on a busy machine milliseconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if products <= SMALL else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
