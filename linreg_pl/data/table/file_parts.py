"""Reads CSV and Arrow files, each process of a world its own records or record batches.

A compressed file, or one in another encoding than UTF-8, can only be read from its start: one process reads all of it.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import pyarrow as pa

from linreg_pl.core.world import World
from linreg_pl.data.table.csv import Csv, Misfits
from linreg_pl.data.table.files import Files
from linreg_pl.data.table.ipc import ipc_batches, num_record_batches
from linreg_pl.data.table.segment_parser import as_text


class Part(NamedTuple):
    """A part of a file: bytes of its text, or record batches; all of them if `span` is None."""

    file: int
    span: tuple[int, int] | None


def own_parts(files: Files, csv: Csv, world: World) -> list[Part]:
    """Returns the parts that this process reads, in order.

    Rank 0 alone looks for the ends of records where a CSV file is cut.
    """
    if world.size == 1:
        return [Part(index, None) for index in range(len(files.files))]
    parts, sizes = list[Part](), list[int]()
    if world.rank == 0:
        parts, sizes = divided_csv(files, csv, world.size) if files.format == "csv" else divided_ipc(files)
    parts, sizes = world.first((parts, sizes))
    share = world.share(sizes)
    return parts[share.start : share.stop]


def divided_csv(files: Files, csv: Csv, count: int) -> tuple[list[Part], list[int]]:
    """Returns parts for `count` processes, and their sizes in bytes."""
    sizes = [path.stat().st_size for path, _ in files.files]
    goals = [sum(sizes) * rank // count for rank in range(1, count)]
    parts, bytes_of_parts = list[Part](), list[int]()
    for index, ((path, _), size, end) in enumerate(zip(files.files, sizes, accumulate(sizes), strict=True)):
        first = end - size
        cuts = csv.cuts(path, [goal - first for goal in goals if first < goal < end])
        spans = list(pairwise([0, *cuts, size]))
        parts += [Part(index, span) for span in spans] if cuts else [Part(index, None)]
        bytes_of_parts += [stop - start for start, stop in spans]
    return parts, bytes_of_parts


def divided_ipc(files: Files) -> tuple[list[Part], list[int]]:
    """Returns the record batches of all files, and their sizes: all alike, as only the batches themselves have them."""
    counts = [num_record_batches(path) for path, _ in files.files]
    parts = [Part(file, (index, index + 1)) for file, number in enumerate(counts) for index in range(number)]
    return parts, [1] * len(parts)


def read_parts(
    files: Files,
    csv: Csv,
    schema: pa.Schema,
    parts: Sequence[Part],
    counts: list[int],
    comments: list[str],
    verbatim: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Reads parts of the files in order.

    Args:
        files: The files.
        csv: The format of CSV files.
        schema: Names and types of the columns.
        parts: What to read.
        counts: Each file's number of rows is added to its entry.
        comments: The comments of CSV files are added to it.
        verbatim: As in `Csv.batches`.

    Raises:
        Misfits: at the end, if values don't have their column's type. No batch follows the first of them.
    """
    partition_names = set(files.partitions.names)
    in_files = pa.schema([field for field in schema if field.name not in partition_names])
    misfits: set[str] = set()
    for index, span in parts:
        path, partitions = files.files[index]
        if files.format == "csv":
            batches = csv.batches(path, as_text(in_files, misfits), verbatim, comments, span)
        else:
            batches = ipc_batches(path, in_files, span)
        try:
            for batch in batches:
                counts[index] += batch.num_rows
                if not misfits:
                    yield _with_partitions(batch, partitions, schema)
        except Misfits as error:
            misfits |= error.columns
    if misfits:
        raise Misfits(misfits)


def _with_partitions(batch: pa.RecordBatch, partitions: dict[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.repeat(pa.scalar(partitions[field.name], field.type), batch.num_rows)
        if field.name in partitions
        else batch.column(field.name).cast(field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
