"""Are these the rows that a run began with? A checksum of all their values tells."""

import zlib
from collections.abc import Iterable, Iterator

from linreg_pl.data.batches import Batch


class Digest:
    """A checksum of rows in their order, however they are cut or kept."""

    def __init__(self, after: "Digest | None" = None) -> None:
        self._sum: int = after._sum if after else 0

    def of(self, rows: Iterable[Batch]) -> Iterator[Batch]:
        """The rows, some at a time, each noted as it passes."""
        for batch in rows:
            for part in batch:
                self._sum = zlib.crc32(part.contiguous().numpy().data, self._sum)
            yield batch

    @property
    def hex(self) -> str:
        """Of all that has passed."""
        return f"{self._sum:08x}"
