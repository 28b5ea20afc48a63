"""What the data module learns from the rows to fit when it is set up for training."""

import math
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from operator import add

from torch import Tensor

from linreg_pl.core.triangle import Triangle, triangle_of, weight_of
from linreg_pl.core.world import World
from linreg_pl.data.loaders import Batch
from linreg_pl.data.prefetch import in_thread
from linreg_pl.data.progress import Watch
from linreg_pl.data.table.fingerprint import Fingerprint
from linreg_pl.data.table.rows import Rows, require_weight
from linreg_pl.data.table.streamed import StreamedRows


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """What `setup` learns from the rows to fit.

    Args:
        rows: The rows to fit.
        num_drawn: Number of rows, from the first on, that batches are drawn from.
        center: First estimate of the means of the features and targets, (D+K,).
        mean_weight: Mean weight of these rows.
        held_out: Summary of the rows to validate while fitting, if there are any.
        checksum: Checksum of this process's values to fit and to validate; a thread may still be computing it.
        summary: Summary of the drawn rows, if it is known already.
        watch: Sees the pass over the rows that computes the summary otherwise.
        world: The processes that share the rows.
    """

    rows: Rows
    num_drawn: int
    center: Tensor
    mean_weight: float
    held_out: Triangle | None
    checksum: str | Future[str]
    summary: Triangle | None
    watch: Watch
    world: World

    @cached_property
    def triangle(self) -> Triangle:
        """Returns the summary of the drawn rows. The first call takes a pass over them, unless it is known."""
        if self.summary is not None:
            return self.summary
        watched = self.watch(self.drawn(), len(self.rows.own_rows), lambda batch: len(batch[0]))
        return triangle_of(watched, self.center, self.world)

    @cached_property
    def fingerprint(self) -> str:
        """Returns the checksums of all processes, in order. All must ask for it first at the same time."""
        checksum = self.checksum if isinstance(self.checksum, str) else self.checksum.result()
        return "-".join(self.world.gathered(checksum))

    def drawn(self) -> Iterator[Batch]:
        """Yields the drawn rows that this process has, in order."""
        return drawn_rows(self.rows, self.rows.in_order(), self.num_drawn)


def learn_rows(
    rows: Rows,
    name: str,
    in_order: Iterator[Batch],
    num_drawn: int,
    center: Tensor,
    held_out: Triangle | None,
    fingerprint: Fingerprint | None,
    watch: Watch,
    world: World,
    summary: Triangle | None = None,
) -> TrainingRows:
    """Learns what training needs to know of the rows; of streamed rows, in the one pass that gives their summary.

    Args:
        rows: The rows to fit.
        name: Their name in messages.
        in_order: A pass over them, in order.
        num_drawn: As in `TrainingRows`, like the next two.
        center: Likewise.
        held_out: Likewise.
        fingerprint: Takes in the rows, after those held out; None if no checksum is needed.
        watch: As in `TrainingRows`, like the next two.
        world: Likewise.
        summary: Likewise.

    Raises:
        InputError: the weights of all rows are 0.
    """
    checksum: str | Future[str] = ""
    if summary is not None:
        total_weight = summary.total_weight
    elif isinstance(rows, StreamedRows):
        in_order = in_order if fingerprint is None else fingerprint.noting(in_order)
        summary = triangle_of(drawn_rows(rows, in_order, num_drawn), center, world)
        total_weight, checksum = summary.total_weight, "" if fingerprint is None else fingerprint.hex
    else:
        total_weight = world.reduced(weight_of(drawn_rows(rows, in_order, num_drawn)), add)
    require_weight(name, total_weight)
    if fingerprint is not None and summary is None:
        checksum = in_thread(fingerprint.after, rows.in_order())
    return TrainingRows(rows, num_drawn, center, total_weight / num_drawn, held_out, checksum, summary, watch, world)


def unlearnt_rows(rows: Rows, num_drawn: int, center: Tensor, watch: Watch, world: World) -> TrainingRows:
    """Takes rows to cross-validate for training rows without a pass over them; no batch is drawn from them."""
    return TrainingRows(rows, num_drawn, center, math.nan, None, "", None, watch, world)


def drawn_rows(rows: Rows, batches: Iterator[Batch], num_drawn: int) -> Iterator[Batch]:
    """Yields those of a process's batches, in order, that are among the first `num_drawn` rows of all."""
    return first_rows(batches, num_drawn - rows.own_rows.start)


def first_rows(batches: Iterator[Batch], num_rows: int) -> Iterator[Batch]:
    """Yields the first `num_rows` rows of the batches."""
    for batch in batches:
        if num_rows > 0:
            yield tuple(tensor[:num_rows] for tensor in batch)
        num_rows -= len(batch[0])
