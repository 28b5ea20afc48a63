"""Finds the files that a path names, their format, and the columns that their folder names add.

one file        table.csv, table.csv.gz, table.parquet, table.feather
a URL           https://host/table.csv, s3://bucket/table.parquet; copied before it is read
several files   a list of files, a pattern such as data/2024-*.parquet, or a folder; sorted by name
hive partitions data/year=2024/part.parquet: below a folder or a pattern, each `name=value` is a column
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from linreg_pl.data.table.remote import downloaded, is_remote
from linreg_pl.data.table.remote_copy import RemoteCopy
from linreg_pl.errors import InputError, quoted

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".dat": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "ipc",
    ".arrow": "ipc",
    ".ipc": "ipc",
}
ENDINGS = ".csv, .csv.gz, .csv.bz2, .csv.xz, .csv.zst, .tsv, .txt, .dat, .zip, .parquet or .feather"


class File(NamedTuple):
    """One file of a table."""

    path: Path
    partitions: dict[str, Any]  # values of the columns that its folder names add


class Files(NamedTuple):
    """All files of a table: at least one, all of one format."""

    format: str  # csv, parquet or ipc
    files: list[File]
    partitions: pa.Schema  # the columns that folder names add


def find_files(path: str | Sequence[str]) -> Files:
    """Returns the files that `path` names.

    Raises:
        InputError: there is no file, one can't be read, or the formats differ or are unknown.
    """
    if not path:
        raise InputError("no file is named: give --data.path at least one")
    if not isinstance(path, str):
        names = [name.removeprefix("file://") for name in path]
        local = [downloaded(name, _is_table).copies if is_remote(name) else [Path(name)] for name in names]
        return _opened([each for paths in local for each in paths], None)
    path = path.removeprefix("file://")
    if is_remote(path):
        return _opened(*downloaded(path, _is_table))
    root = Path(path)
    if root.is_dir():
        tables = [file for file in sorted(root.rglob("*")) if file.is_file() and _is_table(file.relative_to(root))]
        if not tables:
            raise InputError(f"{path}: this folder has no table; --data.path takes files ending in {ENDINGS}")
        return _opened(tables, root)
    if glob.has_magic(path) and not root.exists():
        matching = [Path(name) for name in sorted(glob.glob(path, recursive=True)) if os.path.isfile(name)]
        if not matching:
            raise InputError(f"{path}: there is no such file; give --data.path a pattern that some files match")
        return _opened(matching, Path(*_folders_before_pattern(root)))
    return _opened([root], None)


class Stamp(NamedTuple):
    """What shows whether a file has changed: its size, its time of change, and the ETag that a store gives it."""

    size: int
    time_ns: int
    etag: str = ""

    def __str__(self) -> str:
        """Returns a phrase for messages; a store may not say the time."""
        time = f", changed at {self.time_ns / 1e9:.9f}" if self.time_ns else ""
        return f"of {self.size} bytes{time}" + (f", ETag {self.etag}" if self.etag else "")


def file_stamp(path: Path) -> Stamp:
    """Returns a file's stamp: that of the object for a copy.

    Raises:
        InputError: the file is gone.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(f"{path}: the file is gone ({error.strerror}); put it back and start again") from error
    if isinstance(path, RemoteCopy):
        return Stamp(stat.st_size, path.stored.time_ns, path.stored.etag)
    return Stamp(stat.st_size, stat.st_mtime_ns)


def _opened(paths: list[Path], base: Path | None) -> Files:
    for path in paths:
        _require_file(path)
    formats = {_format(path): path for path in paths}
    if len(formats) > 1:
        names = quoted([str(path) for path in formats.values()])
        raise InputError(f"{names} differ in format; give --data.path files of one format")
    partitions, values_of_files = _partitions(paths, base)
    files = [File(path, values) for path, values in zip(paths, values_of_files, strict=True)]
    return Files(next(iter(formats)), files, partitions)


def _partitions(paths: list[Path], base: Path | None) -> tuple[pa.Schema, list[dict[str, Any]]]:
    if base is None or not any("=" in folder for path in paths for folder in path.relative_to(base).parts[:-1]):
        return pa.schema([]), [{}] * len(paths)
    options = ds.FileSystemFactoryOptions(partition_base_dir=str(base))
    options.partitioning_factory = ds.HivePartitioning.discover()
    names = [os.fspath(path) for path in paths]
    factory = ds.FileSystemDatasetFactory(pa.fs.LocalFileSystem(), names, ds.CsvFileFormat(), options)
    try:
        schema = factory.inspect(fragments=0)  # the columns of the folder names alone
        dataset = factory.finish(schema)
    except pa.ArrowInvalid as error:
        raise InputError(f"{base}: the folder names can't be read as columns ({error})") from error
    values = {file.path: ds.get_partition_keys(file.partition_expression) for file in dataset.get_fragments()}
    missing = [name for name in names if values[name].keys() != set(schema.names)]
    if missing:
        raise InputError(f"{quoted(missing)}: its folder names lack one of the columns {quoted(schema.names)}")
    return schema, [values[name] for name in names]


def _format(path: PurePath) -> str:
    """Returns the format's name; empty if it is unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".zip":
        return "csv"
    if suffixes and suffixes[-1] in (".gz", ".bz2", ".zst", ".xz"):
        # Only CSV is compressed as a whole; the other formats compress inside.
        return "csv" if len(suffixes) > 1 and FORMATS.get(suffixes[-2]) == "csv" else ""
    return FORMATS.get(suffixes[-1], "") if suffixes else ""


def _require_file(path: Path) -> None:
    if not path.is_file():
        problem = "it is a folder" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {problem}; give --data.path a table")
    if hint := _hint(path):
        raise InputError(f"{path}: {hint}")
    if not _format(path):
        raise InputError(f"{path}: the name must end in {ENDINGS}, to tell how to read it; see --data.path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give --data.path a table with a header and rows")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: the file can't be read; change its permissions")


def _hint(path: Path) -> str:
    """Returns how to read a table that another program has to open; empty for other files."""
    frame = "and pass the frame: TableDataModule(frame, target=...)"
    csv_file = "or save the table as a CSV file"
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xls", ".xlsm", ".ods"):
        return (
            f"this is a spreadsheet; save the sheet as a CSV file, or read it in Python with pandas.read_excel {frame}"
        )
    readers = {".sav": "spss", ".dta": "stata", ".sas7bdat": "sas", ".xpt": "sas"}
    if suffix in readers:
        return f"read this file in Python with pandas.read_{readers[suffix]} {frame}, {csv_file}"
    if suffix in (".db", ".sqlite", ".sqlite3"):
        return f"this is a database; read it in Python with pandas.read_sql {frame}, {csv_file}"
    return ""


def _is_table(inside: PurePath) -> bool:
    """Says whether a file in a folder is read: not if it is a note of Spark or the like, as `_SUCCESS` or `.crc`."""
    return bool(_format(inside)) and not any(name.startswith((".", "_")) for name in inside.parts)


def _folders_before_pattern(path: Path) -> list[str]:
    names = list(path.parts)
    return names[: next(index for index, name in enumerate(names) if glob.has_magic(name))]
