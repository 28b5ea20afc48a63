"""Rows as batches of tensors: the interface of rows in memory and of streamed rows, and what both need.

A batch is a pure function of (seed, epoch, position), wherever the rows are.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.scaling import Scaling
from linreg_pl.core.triangle import weight_of
from linreg_pl.data.loaders import EVALUATION_BATCH_SIZE, Batch
from linreg_pl.errors import InputError

EVALUATION_BATCH_BYTES = 128e6
"""Size limit of an evaluation batch. With fewer rows, the exact solution would merge more than it factorizes."""

LARGE_TABLE_VALUES = 2**22
"""From this many values on, a table no longer fits into a processor's cache."""


class Rows(ABC):
    """Rows of x (N, D), of y (N, K), and of weights (N, 1) if there are any; each process of a world has some."""

    num_rows: int  # N, of all processes
    own_rows: range  # the numbers of those that this process has
    evaluation_batch_size: int  # rows in each batch of `in_order`
    num_lanes = 0  # that are read side by side; 0 in memory

    @abstractmethod
    def prepare(self, scaling: Scaling | None, dtype: torch.dtype) -> None:
        """Standardizes what `batch` returns, in float64, and rounds it to `dtype`."""

    @abstractmethod
    def restore(self) -> None:
        """Undoes `prepare`."""

    def hold_on(self, device: torch.device) -> None:
        """Holds prepared rows on a device, too, and makes batches there, if there is room; on the CPU, gives it back.

        Does nothing for streamed rows.
        """

    @abstractmethod
    def in_order(self) -> Iterator[Batch]:
        """Yields its own rows in the table's order, `evaluation_batch_size` at a time: in the user's units, float64.

        Rows in memory can't be yielded while they are prepared.
        """

    @abstractmethod
    def batch(self, epoch: int, rows: slice) -> Batch:
        """Returns its own among consecutive rows of an epoch, in that epoch's order.

        They are in the user's units, unless prepared.
        """


class RowsLoader:
    """All rows in order, as a loader for evaluation.

    Args:
        rows: The rows.
        name: Their name in messages.
        num_incomplete: Number of rows that were left out, as they lack a value.
    """

    def __init__(self, rows: Rows, name: str, num_incomplete: int = 0) -> None:
        self._rows, self.name, self._num_incomplete = rows, name, num_incomplete
        self.num_rows = rows.num_rows

    def in_words(self) -> str:
        """Returns how many rows there are, of which table, and how many were left out."""
        left_out = f", without {self._num_incomplete} that lack a value" if self._num_incomplete else ""
        return f"{self.num_rows} of {self.name}{left_out}"

    def __len__(self) -> int:
        return -(-self._rows.num_rows // self._rows.evaluation_batch_size)

    def __iter__(self) -> Iterator[Batch]:
        total_weight = 0.0
        for number, batch in enumerate(self._rows.in_order(), start=1):
            total_weight += weight_of([batch])
            is_last = number == len(self) and len(self._rows.own_rows) == self.num_rows
            if is_last:  # Lightning does not ask for a further batch
                require_weight(self.name, total_weight)
            yield batch


def require_weight(name: str, total_weight: float) -> None:
    """Checks that some row has a weight, as the mean needs.

    Raises:
        InputError: the total weight is 0.
    """
    if total_weight == 0:
        raise InputError(f"{name}: the weights of all rows are 0; give --data.weight another column")


def evaluation_batch_size(num_columns: int) -> int:
    """Returns how many rows of float32 to take at a time where no gradient is needed."""
    return max(1, min(EVALUATION_BATCH_SIZE, int(EVALUATION_BATCH_BYTES / 4 / max(1, num_columns))))


def rebatched(
    chunks: Iterator[np.ndarray],
    size: int | Iterator[int],
    widths: Sequence[int],
    dtype: torch.dtype | None = None,
    scaling: Scaling | None = None,
    places: Iterator[np.ndarray] | None = None,
) -> Iterator[Batch]:
    """Cuts the rows of `chunks` (n, sum of widths) into batches of `size` rows, the last one shorter.

    Yields tensors (size, width), one for each width. NumPy fills them, since this runs beside the training, where
    torch's threads would wait for each other. The memory is torch's, since sums over NumPy's may round differently from
    run to run.

    Args:
        chunks: The rows.
        size: Of each batch, or the sizes of all, each above 0.
        widths: Number of columns of x, of y, and of the weights if there are any.
        dtype: Type of the tensors; by default that of the chunks.
        scaling: Standardizes x and y, in float64; by default they stay as they are.
        places: For each batch, the places in it of its rows, in the order of the chunks; by default in that order.
    """
    filled, tensors, capacity, order = 0, tuple[Tensor, ...](), 0, np.arange(0)
    sizes = repeat(size) if isinstance(size, int) else size
    ends = np.cumsum(widths)
    column_slices = [slice(end - width, end) for end, width in zip(ends, widths, strict=True)]
    for values in chunks:
        start = 0
        while start < len(values):
            if not filled:
                capacity = next(sizes)
                kind = torch.from_numpy(values[:0]).dtype if dtype is None else dtype
                tensors = tuple(torch.empty(capacity, width, dtype=kind) for width in widths)
                order = order if places is None else next(places)
            count = min(capacity - filled, len(values) - start)
            pieces = [values[start : start + count, columns] for columns in column_slices]
            filling = slice(filled, filled + count)
            at = filling if places is None else order[filling]
            for tensor, piece in zip(tensors, standardized(pieces, scaling), strict=True):
                tensor.numpy()[at] = piece
            start, filled = start + count, filled + count
            if filled == capacity:
                yield tensors
                filled = 0
    if filled:
        yield tuple(tensor[:filled] for tensor in tensors)


def standardized(pieces: Sequence[np.ndarray], scaling: Scaling | None) -> Sequence[np.ndarray]:
    """Returns x (n, D), y (n, K) and weights, if there are any, with standardized x and y: float64."""
    if scaling is None:
        return pieces
    x, y, *weights = pieces
    z = (x - scaling.means.numpy()) / scaling.scales.numpy()
    return [z, y - scaling.target_means.numpy(), *weights]


def free_bytes(device: torch.device) -> int:
    """Returns how much memory of a device is free; 0 where that is not known, or where rows are anyway."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def take_rows(tensors: Sequence[Tensor], rows: Tensor) -> Batch:
    """Returns the chosen rows of each tensor."""
    return tuple([_take(tensor, rows) for tensor in tensors])


def _take(tensor: Tensor, rows: Tensor) -> Tensor:
    """Returns the chosen rows of a tensor, in about half of the time of torch's `index_select`."""
    cache_line = 16  # values of float32
    if tensor.shape[1] >= cache_line and tensor.numel() >= LARGE_TABLE_VALUES:
        # Sums of one row each: torch prefetches the rows to come.
        return torch.embedding_bag(tensor, rows, torch.arange(len(rows)))[0]
    # Into torch's memory: NumPy's starts at other addresses from run to run, and sums over it may round differently.
    result = torch.empty(len(rows), tensor.shape[1], dtype=tensor.dtype)
    tensor.numpy().take(rows.numpy(), axis=0, out=result.numpy(), mode="wrap")  # "raise" would copy twice
    return result
