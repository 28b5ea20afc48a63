"""Are these the rows that a run began with? A checksum of all their values tells."""

import zlib
from collections.abc import Iterable, Iterator

from linreg_pl.data.loaders import Batch


class Digest:
    """A checksum of rows in their order, however they are cut or kept."""

    def __init__(self) -> None:
        self._sum = 0

    def of(self, rows: Iterable[Batch]) -> Iterator[Batch]:
        """The rows, some at a time, each noted as it passes."""
        for batch in rows:
            for part in batch:
                self._sum = zlib.crc32(part.contiguous().numpy().data, self._sum)
            yield batch

    def after(self, rows: Iterable[Batch]) -> str:
        """Of all that has passed, and these rows."""
        for _ in self.of(rows):
            pass
        return self.hex

    @property
    def hex(self) -> str:
        """Of all that has passed."""
        return f"{self._sum:08x}"
