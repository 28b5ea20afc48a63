"""Are these the rows that a run began with? A checksum of all their values tells."""

import zlib
from collections.abc import Iterator

from linreg_pl.data.batches import Batch
from linreg_pl.data.rows import Rows


class Digest:
    """A checksum of rows in their order, however they are cut or kept."""

    def __init__(self, after: "Digest | None" = None) -> None:
        self._sum: int = after._sum if after else 0

    def of(self, rows: Rows) -> Iterator[Batch]:
        """The rows, each noted as it passes."""
        for x, y in rows.in_order():
            for part in (x, y):
                self._sum = zlib.crc32(part.contiguous().numpy().data, self._sum)
            yield x, y

    @property
    def hex(self) -> str:
        """Of all that has passed."""
        return f"{self._sum:08x}"
