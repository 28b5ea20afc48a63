"""What the data module learns from the rows to fit when it is set up for training."""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

from linreg_pl.core.triangle import Triangle, triangle_of
from linreg_pl.data.loaders import Batch
from linreg_pl.data.progress import Watch
from linreg_pl.data.table.rows import Rows


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What `setup` learns from the rows to fit.

    Args:
        rows: The rows to fit.
        num_drawn: Number of rows, from the first on, that batches are drawn from.
        mean_weight: Mean weight of these rows.
        held_out: Summary of the rows to validate while fitting, if there are any.
        checksum: Checksum of the values to fit and to validate; a thread may still be computing it.
        summary: Summary of the drawn rows, if it is known already.
        watch: Sees the pass over the rows that computes the summary otherwise.
    """

    rows: Rows
    num_drawn: int
    mean_weight: float
    held_out: Triangle | None
    checksum: str | Future[str]
    summary: Triangle | None
    watch: Watch

    @cached_property
    def triangle(self) -> Triangle:
        """Returns the summary of the drawn rows. The first call takes a pass over them, unless it is known."""
        if self.summary is not None:
            return self.summary
        drawn = first_rows(self.rows.in_order(), self.num_drawn)
        return triangle_of(self.watch(drawn, self.rows.num_rows, lambda batch: len(batch[0])))


def first_rows(batches: Iterator[Batch], num_rows: int) -> Iterator[Batch]:
    """Yields the first `num_rows` rows of the batches."""
    for batch in batches:
        if num_rows > 0:
            yield tuple(tensor[:num_rows] for tensor in batch)
        num_rows -= len(batch[0])
