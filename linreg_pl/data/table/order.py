"""Random orders of rows: pure functions of the seed, the epoch and, for a window of rows, its number."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from linreg_pl.data.random_streams import Purpose, stream

LARGE_TABLE_ROWS = 2**18
"""From this many rows on, the order of all rows no longer fits into a processor's cache."""


@lru_cache(maxsize=1)  # every batch of an epoch asks for it
def row_order(seed: int, epoch: int, num_rows: int) -> Tensor:
    """Returns the order of all rows in an epoch, shape (num_rows,).

    A permutation of many rows would miss the cache at every row. So each row gets 64 random bits, the last of which are
    replaced by the row's number, and these keys are sorted. All orders are equally likely, except that two rows with
    the same random bits keep their order: among 2^23 rows, one pair in 2^41.
    """
    random = stream(seed, Purpose.ROW_ORDER, epoch)
    if num_rows < LARGE_TABLE_ROWS:
        return torch.from_numpy(random.permutation(num_rows))
    number_bits = np.uint64((1 << (num_rows - 1).bit_length()) - 1)
    keys = random.integers(2**64, size=num_rows, dtype=np.uint64)
    keys &= ~number_bits
    keys |= np.arange(num_rows, dtype=np.uint64)
    keys.sort()
    keys &= number_bits
    return torch.from_numpy(keys.view(np.int64))


def window_order(seed: int, epoch: int, window: int, num_rows: int) -> np.ndarray:
    """Returns the order of the rows in one window of an epoch, shape (num_rows,)."""
    order: np.ndarray = stream(seed, Purpose.ROW_ORDER, epoch, window).permutation(num_rows)
    return order
