"""Reads Arrow IPC files (Feather version 2)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from linreg_pl.data.table.files import file_stamp
from linreg_pl.data.table.row_groups import reading
from linreg_pl.errors import InputError


def ipc_schema(path: Path) -> pa.Schema:
    """Returns the names and types of the columns.

    Raises:
        InputError: the file is no Arrow IPC file.
    """
    if not begins_with(path, b"ARROW1"):
        raise InputError(f"{path}: this is not an Arrow IPC file (Feather version 2); write it again, or rename it")
    with reading(path), pa.OSFile(os.fspath(path)) as file:
        return pa.ipc.open_file(file).schema


def num_record_batches(path: Path) -> int:
    """Returns the number of record batches in a file."""
    with reading(path), pa.OSFile(os.fspath(path)) as file:
        count: int = pa.ipc.open_file(file).num_record_batches
        return count


def ipc_batches(path: Path, schema: pa.Schema, span: tuple[int, int] | None = None) -> Iterator[pa.RecordBatch]:
    """Reads the rows of the columns in `schema`: those of the record batches in `span`, or all.

    Raises:
        InputError: the file is damaged, or has changed meanwhile.
    """
    stamp = file_stamp(path)
    with reading(path), pa.OSFile(os.fspath(path)) as file:
        reader = pa.ipc.open_file(file)
        for index in range(*span) if span else range(reader.num_record_batches):
            yield reader.get_batch(index).select(schema.names)
    if file_stamp(path) != stamp:
        raise InputError(f"{path}: the file has changed while it was read; start again")


def begins_with(path: Path, magic: bytes) -> bool:
    """Says whether the file begins with these bytes."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
