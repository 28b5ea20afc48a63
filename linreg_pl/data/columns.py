"""How do numeric columns of a CSV or Parquet file become one array, and what is refused?

Rows are counted from 1, a CSV's header not counted.
"""

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from linreg_pl.errors import InputError, quoted, shortened

PARQUET = b"PAR1"
"""How a Parquet file begins."""

BYTES_PER_VALUE = 12
"""While reading: 8 in Arrow's float64, 4 in our float32; `solve` has float64, and needs some more."""


def column_names(path: Path) -> list[str]:
    """Names of the file's columns, in its order.

    Raises:
        InputError: there is no such file, it is no table, or a name stands twice.
    """
    names = _parquet_schema(path).names if _is_parquet(path) else _csv_header(path)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(f"{path}: {quoted(doubled)} stands more than once in the header; rename all but one")
    return names


def require_columns(path: Path, found: Sequence[str], wanted: Sequence[str], flag: str) -> None:
    """Checks a choice of columns.

    Raises:
        InputError: none is wanted, one is wanted twice, or one is not there.
    """
    if not wanted:
        raise InputError(f"{path}: no column is left for {flag}; the file has {quoted(found)}")
    doubled = sorted({name for name in wanted if list(wanted).count(name) > 1})
    if doubled:
        raise InputError(f"{flag} names {quoted(doubled)} more than once; name each column once")
    missing = [name for name in wanted if name not in found]
    if missing:
        near = difflib.get_close_matches(missing[0], found, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        only = " alone (commas must separate columns)" if len(found) == 1 else ""
        raise InputError(
            f"{path}: there is no column {quoted(missing)}{meant}; the file has {quoted(found)}{only}; see {flag}"
        )


def read_columns(path: Path, names: Sequence[str], dtype: type[np.floating[Any]] = np.float32) -> np.ndarray:
    """The columns `names` as one array (num_rows, len(names)) of float32 or float64.

    Raises:
        InputError: no rows, text, a missing value, NaN or infinity (with row and column), or more than fits in memory.
    """
    table = _read_parquet(path, names) if _is_parquet(path) else _read_csv(path, names)
    if table.num_rows == 0:
        raise InputError(_no_rows(path))
    array = np.empty((table.num_rows, len(names)), dtype=dtype)
    for index, name in enumerate(names):
        array[:, index] = _as_floats(path, name, table.column(name))
    return array


def _as_floats(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise InputError(_not_numeric(path, name, column))
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() + 1
        raise InputError(
            f"{path}: column {name!r}, row {row}: the value is missing (empty, NA, NaN or null;"
            f" in {column.null_count} of {len(column)} rows); fill it in, or drop such rows"
        )
    with np.errstate(over="ignore"):
        values: np.ndarray = column.to_numpy().astype(np.float64)
        not_finite = np.flatnonzero(~np.isfinite(values.astype(np.float32)))
    if not_finite.size:
        row = int(not_finite[0])
        raise InputError(
            f"{path}: column {name!r}, row {row + 1}: {column[row].as_py()} is not a finite number in float32, which"
            f" ends at 3.4e38 (in {not_finite.size} of {len(column)} rows); correct it, or drop such rows"
        )
    return values


def _not_numeric(path: Path, name: str, column: pa.ChunkedArray) -> str:
    remedy = "correct that, or choose other columns with --data.features and --data.target"
    if not _is_parquet(path) and (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        for row, value in enumerate(column.to_pylist(), start=1):
            text = value.decode(errors="replace") if isinstance(value, bytes) else value
            if text is not None and not _is_number(text):
                return f"{path}: column {name!r}, row {row}: {shortened(text)} is not a number; {remedy}"
    return f"{path}: column {name!r} holds {column.type}, not numbers; {remedy}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python's separator, not Arrow's


def _is_parquet(path: Path) -> bool:
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    if path.suffix.lower() == ".csv":
        return False
    raise InputError(f"{path}: the name must end in .csv or .parquet, to tell how to read it; see --data.path")


def _require_file(path: Path) -> None:
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise InputError(f"{path}: {found}; give --data.path a CSV or Parquet file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give --data.path a table with a header and rows")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: the file may not be read; change its permissions")


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _csv_header(path: Path) -> list[str]:
    _require_file(path)
    if _beginning(path).startswith(PARQUET):
        raise InputError(f"{path}: this is a Parquet file; rename it, so that it ends in .parquet")
    if b"\0" in _beginning(path):
        raise InputError(f"{path}: this is no text in UTF-8, but a binary file; give --data.path a CSV file")
    try:
        with pyarrow.csv.open_csv(path) as reader:
            return list(reader.schema.names)
    except pa.ArrowInvalid as error:
        raise InputError(_not_csv(path)) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the header is no text in UTF-8; save the file as UTF-8") from error


def _not_csv(path: Path) -> str:
    broken: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        broken.append(row)
        return "error"

    with suppress(pa.ArrowInvalid):  # once more: only a single thread counts the rows
        pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=note),
        )
    if not broken:
        return _no_rows(path)
    row = broken[0]
    counts = f"{row.actual_columns} values, but the header has {row.expected_columns}"
    return f"{path}: row {row.number - 1} has {counts}: {shortened(row.text)}; correct that row"


def _no_rows(path: Path) -> str:
    return f"{path}: there is not a single row below the header; give --data.path a table with rows"


def _read_csv(path: Path, names: Sequence[str]) -> pa.Table:
    # Text of a number and its separator is rarely shorter than a byte and a half for each of the twelve it needs.
    _require_memory(path, path.stat().st_size)
    try:
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(include_columns=list(names)))
    except pa.ArrowInvalid as error:
        raise InputError(_not_csv(path)) from error


def _parquet_schema(path: Path) -> pa.Schema:
    _require_file(path)
    try:
        return pyarrow.parquet.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(_not_parquet(path, error)) from error


def _not_parquet(path: Path, error: Exception) -> str:
    if not _beginning(path).startswith(PARQUET):
        return f"{path}: this is no Parquet file; if it is a CSV file, rename it, so that it ends in .csv"
    reason = str(error).splitlines()[0].split(". ")[0].rstrip(".")
    return f"{path}: the Parquet file is cut off or damaged ({reason}); write it again"


def _read_parquet(path: Path, names: Sequence[str]) -> pa.Table:
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _require_memory(path, file.metadata.num_rows * len(names) * BYTES_PER_VALUE)
            return file.read(columns=list(names))
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(_not_parquet(path, error)) from error


def _require_memory(path: Path, num_bytes: int) -> None:
    available = physical_memory()
    if num_bytes > available:
        raise InputError(
            f"{path}: the table needs about {num_bytes / 1e9:.1f} GB of memory, and this machine has"
            f" {available / 1e9:.1f} GB; use fewer rows, or fewer columns with --data.features"
        )


def physical_memory() -> int:
    """Bytes of physical memory in this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
