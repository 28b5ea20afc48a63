"""Which files does a path name, of which format are they, and which values do their folders' names add?

one file        table.csv, table.csv.gz, table.parquet, table.feather
several         a list of files, a pattern such as data/2024-*.parquet, a folder; in the order of their names
hive partitions data/year=2024/part.parquet: below a folder or a pattern each `name=value` is a column
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from linreg_pl.errors import InputError, quoted

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "ipc",
    ".arrow": "ipc",
    ".ipc": "ipc",
}
COMPRESSIONS = (".gz", ".bz2", ".zst")  # of CSV; the other formats compress inside
ENDINGS = ".csv, .csv.gz, .csv.bz2, .csv.zst, .tsv, .parquet or .feather"


class File(NamedTuple):
    """One file of a table."""

    path: Path
    partitions: dict[str, Any]  # columns that its folders' names add


class Files(NamedTuple):
    """All files of a table: one at least, all of one format."""

    format: str  # csv, parquet or ipc
    files: list[File]
    partitions: pa.Schema  # of the columns that the folders' names add


def find_files(path: str | Sequence[str]) -> Files:
    """The files that `path` names.

    Raises:
        InputError: there is none, one can't be read, or they are of no known format, or of several.
    """
    if not isinstance(path, str):
        if not path:
            raise InputError("no file is named: give --data.path at least one")
        return _of([Path(name) for name in path], None)
    there = Path(path)
    if there.is_dir():
        found = [file for file in sorted(there.rglob("*")) if file.is_file() and not _is_hidden(file, there)]
        tables = [file for file in found if _format(file)]
        if not tables:
            raise InputError(f"{path}: no table lies in this folder; --data.path takes files ending in {ENDINGS}")
        return _of(tables, there)
    if glob.has_magic(path) and not there.exists():
        matching = [Path(name) for name in sorted(glob.glob(path, recursive=True)) if os.path.isfile(name)]
        if not matching:
            raise InputError(f"{path}: there is no such file; give --data.path a pattern that some files match")
        return _of(matching, Path(*_parts_before_magic(there)))
    return _of([there], None)


def unchanged(path: Path) -> tuple[int, int]:
    """What tells that a file is as it was: its size, and when it was written.

    Raises:
        InputError: it is gone.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"{path}: the file is gone while it is needed ({error.strerror}); put it back") from error
    return found.st_size, found.st_mtime_ns


def _of(paths: list[Path], base: Path | None) -> Files:
    for path in paths:
        _require_file(path)
    formats = {_format(path): path for path in paths}
    if len(formats) > 1:
        raise InputError(f"{quoted([str(path) for path in formats.values()])} differ in format; --data.path takes one")
    partitions, of_files = _partitions(paths, base)
    files = [File(path, values) for path, values in zip(paths, of_files, strict=True)]
    return Files(next(iter(formats)), files, partitions)


def _partitions(paths: list[Path], base: Path | None) -> tuple[pa.Schema, list[dict[str, Any]]]:
    if base is None or not any("=" in part for path in paths for part in path.relative_to(base).parts[:-1]):
        return pa.schema([]), [{}] * len(paths)
    options = ds.FileSystemFactoryOptions(partition_base_dir=str(base))
    options.partitioning_factory = ds.HivePartitioning.discover()
    names = [str(path) for path in paths]
    factory = ds.FileSystemDatasetFactory(pa.fs.LocalFileSystem(), names, ds.CsvFileFormat(), options)
    try:
        schema = factory.inspect(fragments=0)  # the files' own columns are no matter of this
        dataset = factory.finish(schema)
    except pa.ArrowInvalid as error:
        raise InputError(f"{base}: the folders' names make no columns ({error})") from error
    of_file = {part.path: ds.get_partition_keys(part.partition_expression) for part in dataset.get_fragments()}
    missing = [name for name in names if of_file[name].keys() != set(schema.names)]
    if missing:
        raise InputError(f"{quoted(missing)}: its folders' names lack one of the columns {quoted(schema.names)}")
    return schema, [of_file[name] for name in names]


def _format(path: Path) -> str:
    """The format's name; empty where it is not known."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        found = FORMATS.get(suffixes[-2], "") if len(suffixes) > 1 else ""
        return found if found == "csv" else ""
    return FORMATS.get(suffixes[-1], "") if suffixes else ""


def _require_file(path: Path) -> None:
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {found}; give --data.path a table")
    if not _format(path):
        raise InputError(f"{path}: the name must end in {ENDINGS}, to tell how to read it; see --data.path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give --data.path a table with a header and rows")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: the file may not be read; change its permissions")


def _is_hidden(file: Path, base: Path) -> bool:
    """Whether Spark and its kin would skip it: notes of theirs begin with a dot or an underscore."""
    return any(part.startswith((".", "_")) for part in file.relative_to(base).parts)


def _parts_before_magic(path: Path) -> list[str]:
    parts = list(path.parts)
    return parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))]
