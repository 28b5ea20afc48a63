"""A checksum of all values of a table, which shows whether a resumed run has the data it began with."""

import zlib
from collections.abc import Iterable, Iterator

import torch

from linreg_pl.data.loaders import Batch


class Fingerprint:
    """A checksum (CRC-32) of rows in their order. It does not depend on how the rows are cut into batches.

    Args:
        dtype: Type of the values that count: checkpoints up to format 2 knew float32 only.
    """

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self._checksum, self._dtype = 0, dtype

    def noting(self, rows: Iterable[Batch]) -> Iterator[Batch]:
        """Yields the batches unchanged, and adds each to the checksum."""
        for batch in rows:
            for tensor in batch:
                self._checksum = zlib.crc32(tensor.to(self._dtype).contiguous().numpy().data, self._checksum)
            yield batch

    def after(self, rows: Iterable[Batch]) -> str:
        """Adds these rows, and returns the checksum."""
        for _ in self.noting(rows):
            pass
        return self.hex

    @property
    def hex(self) -> str:
        """Returns the checksum of the rows so far, in hexadecimal."""
        return f"{self._checksum:08x}"
