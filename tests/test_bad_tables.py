"""Tests tables that can't be fitted: files of all formats, several files at once, and files that change during a run.

Files that hypothesis generates are read as Python's csv module reads them, or refused in one sentence.
"""

import csv
import gzip
import io
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linreg_pl import InputError, LinearRegression, TableDataModule
from tests.test_bad_input import LARGE, LONGEST, of_table, parquet, refuse
from tests.trainers import plain_trainer

HEADER = "x,y\n"
ROWS = "".join(f"{n},{n}\n" for n in range(9))
NUMBERS = parquet(x=[1.0, 2.0], y=[1.0, 2.0])


def feather(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(pa.table(columns), sink)
    return sink.getvalue()


def stream_of_arrow() -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema([("x", pa.float64())])):
        pass
    return sink.getvalue()


def typed(values: list[Any], kind: pa.DataType) -> bytes:
    return parquet(x=pa.array(values, kind), y=[1.0] * len(values))


def twice_x() -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_arrays([pa.array([1.0])] * 3, ["x", "x", "y"]), sink)
    return sink.getvalue()


Files = dict[str, bytes | str]
CASES: dict[str, tuple[Files, str, str]] = {  # files, flags (the path first), words of the message
    "folder without tables": ({"d/notes.md": "hello"}, "d", "d: this folder has no table|--data.path|.csv"),
    "pattern that nothing matches": ({}, "d/*.csv", "d/*.csv|no such file|pattern"),
    "list with a missing file": ({"a.csv": HEADER + ROWS}, "[a.csv,b.csv]", "b.csv|no such file"),
    "empty list": ({}, "[]", "--data.path|at least one"),
    "formats mixed": ({"d/a.csv": HEADER + ROWS, "d/b.parquet": NUMBERS}, "d", "a.csv|b.parquet|differ in format"),
    "a file lacks a column": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": "y\n1\n"},
        "d",
        "d/b.csv|no column 'x'",
    ),
    "a file has one more": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": "x,y,z\n1,2,3\n"},
        "d",
        "d/b.csv|'z'|d/a.csv",
    ),
    "a file has text": (
        {"d/a.parquet": NUMBERS, "d/b.parquet": parquet(x=["u"], y=[1.0])},
        "d",
        "d/b.parquet|'x' contains string|double in d/a.parquet",
    ),
    "a file has truth values": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": HEADER + "true,1\n"},
        "d",
        "d/b.csv: column 'x', row 1: 'true'",
    ),
    "a file doubles a name": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": "x,x,y\n1,2,3\n"},
        "d",
        "d/b.csv|it has 'x.1', which d/a.csv lacks",
    ),
    "a file is empty": ({"d/a.csv": HEADER + ROWS, "d/b.csv": ""}, "d", "d/b.csv|empty"),
    "a short row in the second file": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": HEADER + "1,2\n3\n"},
        "d",
        "d/b.csv: row 2 has 1 value, separated by ','",
    ),
    "a gap in the second file": (
        {"d/a.csv": HEADER + ROWS, "d/b.csv": HEADER + "1,2\n,3\n"},
        "d --data.missing error",
        "d/b.csv: column 'x', row 2|missing|1 of 11 rows",
    ),
    "partitions that differ": (
        {"d/a=1/t.csv": HEADER + ROWS, "d/b=1/t.csv": HEADER + ROWS},
        "d",
        "d/a=1/t.csv|lack one of the columns 'a', 'b'",
    ),
    "gzip cut off": ({"t.csv.gz": gzip.compress((HEADER + ROWS * 999).encode())[:-99]}, "t.csv.gz", "t.csv.gz|CSV"),
    "gzip that is none": ({"t.csv.gz": HEADER + ROWS}, "t.csv.gz", "t.csv.gz|can't be read"),
    "bzip2 that is none": ({"t.csv.bz2": HEADER + ROWS}, "t.csv.bz2", "t.csv.bz2|can't be read"),
    "zstandard that is none": ({"t.csv.zst": HEADER + ROWS}, "t.csv.zst", "t.csv.zst|can't be read"),
    "compressed Parquet": (
        {"t.parquet.gz": gzip.compress(NUMBERS)},
        "t.parquet.gz",
        "t.parquet.gz|must end in",
    ),
    "feather cut off": ({"t.feather": feather(x=[1.0], y=[1.0])[:-20]}, "t.feather", "t.feather|cut off or damaged"),
    "feather that is CSV": ({"t.feather": HEADER + ROWS}, "t.feather", "t.feather|not an Arrow IPC file"),
    "Arrow's stream": ({"t.arrow": stream_of_arrow()}, "t.arrow", "t.arrow|not an Arrow IPC file"),
    "feather without rows": (
        {"t.feather": feather(x=pa.array([], pa.int8()), y=pa.array([], pa.int8()))},
        "t.feather",
        "t.feather|not a single row",
    ),
    "Parquet without its end": (
        {"t.parquet": NUMBERS[: len(NUMBERS) // 2]},
        "t.parquet",
        "t.parquet|cut off or damaged",
    ),
    "Parquet with doubled names": ({"t.parquet": twice_x()}, "t.parquet", "t.parquet|'x'|more than once"),
    "structs": (
        {"t.parquet": parquet(x=[{"a": 1}], y=[1.0])},
        "t.parquet",
        "'x': it contains struct|--data.exclude '[x]'",
    ),
    "maps": ({"t.parquet": typed([[("a", 1)]], pa.map_(pa.string(), pa.int8()))}, "t.parquet", "'x': it contains map"),
    "bytes": ({"t.parquet": parquet(x=[b"\xff"], y=[1.0])}, "t.parquet", "'x': it contains bytes|binary|UTF-8"),
    "a decimal too large": (
        {"t.parquet": typed([Decimal(10) ** 40], pa.decimal256(50, 0))},
        "t.parquet",
        "'x', row 1|float32",
    ),
    "text in a dictionary as the target": (
        {"t.parquet": parquet(x=[1.0], y=pa.array(["a"]).dictionary_encode())},
        "t.parquet",
        "'y', row 1: 'a'|must be numbers",
    ),
    "nothing but missing text": (
        {"t.parquet": typed([None], pa.string())},
        "t.parquet",
        "no column is left|'x' is empty",
    ),
    "UTF-16 without a mark": (
        {"t.csv": (HEADER + ROWS).encode("utf-16-le")},
        "t.csv",
        "t.csv|UTF-16|--data.encoding utf-16-le",
    ),
    "a zero byte in a later block": (
        {"t.csv": ("a,b,y\n" + LARGE + "1,\0,3\n")},
        "t.csv --data.missing error",
        "t.csv|row 250001",
    ),
    "Latin-1 in a later block": (
        {"t.csv": ("a,c,y\n" + "1,b,3\n" * 250_000 + "1,é,3\n").encode("latin-1")},
        "t.csv",
        "t.csv|UTF-8",
    ),
    "nothing but newlines": ({"t.csv": "\n\n\n\n"}, "t.csv", "t.csv|"),
    "one column": ({"t.csv": "y\n1\n2\n"}, "t.csv", "no column is left for --data.features"),
    "a truth value among numbers": (
        {"t.csv": "a,b,y\n" + LARGE + "true,2,3\n"},
        "t.csv",
        "'a', row 250001: 'true': 250000 of 250001 values are numbers",
    ),
    "too large for float64": ({"t.csv": HEADER + "1e999,2\n"}, "t.csv", "'x', row 1"),
    "too many kinds": (
        {"t.csv": HEADER + "".join(f"name{n % 101},{n}\n" for n in range(300))},
        "t.csv",
        "'x': has 101 categories, more than 100|--data.rare other|--data.max_categories 101",
    ),
    "a category that is a column": (
        {"t.csv": "x,x=a,y\na,1,2\n"},
        "t.csv",
        "'x=a' is both a column and a category",
    ),
    "units": ({"t.csv": HEADER + "12 kg,1\n15 kg,2\n9 kg,4\n"}, "t.csv", "'x', row 1|'12 kg'|--data.numbers '[x]'"),
    "a currency's code": ({"t.csv": HEADER + "CHF 10,1\nCHF 7,2\n"}, "t.csv", "'x', row 1|'CHF 10'|--data.numbers"),
    "losses in parentheses": (
        {"t.csv": HEADER + "1.5,1\n(2.5),2\n4,7\n"},
        "t.csv",
        "'x', row 2|'(2.5)'|--data.numbers '[x]'",
    ),
    "a comma of either kind": (
        {"t.csv": HEADER + '"1,234",1\n"5,678",2\n'},
        "t.csv",
        "'x', row 1|'1,234'|--data.decimal",
    ),
    "a day or a month": (
        {"t.csv": HEADER + "01/02/2024,1\n03/04/2024,2\n"},
        "t.csv",
        "'x', row 1|'01/02/2024'|--data.day_first",
    ),
    "percents in part": ({"t.csv": HEADER + "5%,1\n7%,2\n9,3\n8%,5\n"}, "t.csv", "'x', row 3|'9'"),
    "columns all missing": (
        {"t.csv": HEADER + ",1\n,2\n"},
        "t.csv --data.missing mean",
        "no column is left|'x' is empty",
    ),
    "no target known": ({"t.csv": HEADER + "1,\n2,\n"}, "t.csv --data.missing mean", "t.csv"),
    "no row left": ({"t.csv": HEADER + "1,\n,2\n"}, "t.csv --data.missing drop", "each of the 2 rows lacks a value"),
    "no row left to stream": (
        {"t.csv": HEADER + "1,\n,2\n"},
        "t.csv --data.missing drop --data.memory_limit 0 --data.batch_size 1",
        "each of the 2 rows lacks a value",
    ),
    "delimiter of two": ({"t.csv": HEADER + ROWS}, "t.csv --data.delimiter ;;", "delimiter is ';;'|--data.delimiter"),
    "delimiter none": ({"t.csv": HEADER + ROWS}, 't.csv --data.delimiter "', "delimiter is|one character"),
    "wrong delimiter": ({"t.csv": HEADER + ROWS}, "t.csv --data.delimiter ;", "no column 'y'|see --data.delimiter"),
    "too few names": ({"t.csv": "1,2,3\n"}, "t.csv --data.column_names [x,y]", "row 1 has 3 values|2"),
    "doubled names": ({"t.csv": "1,2,3\n"}, "t.csv --data.column_names [x,x,y]", "'x'|more than once"),
    "names beside a header": (
        {"t.csv": HEADER + ROWS},
        "t.csv --data.column_names [x,y]",
        "column 'y', row 1: 'y': 9 of 10 values are numbers",
    ),
    "memory below nothing": ({"t.csv": HEADER + ROWS}, "t.csv --data.memory_limit -1", "memory_limit is -1"),
    "no category allowed": ({"t.csv": HEADER + ROWS}, "t.csv --data.max_categories 0", "max_categories is 0"),
    "unknown remedy": ({"t.csv": HEADER + ROWS}, "t.csv --data.missing guess", "--data.missing|guess|drop"),
    "infinity in a later group": (
        {"t.parquet": parquet(x=[1.0] * 99_999 + [math.inf], y=[1.0] * 100_000)},
        "t.parquet --data.memory_limit 0 --data.batch_size 10",
        "'x', row 100000: inf is not a finite number",
    ),
}


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(("files", "flags", "words"), CASES.values(), ids=CASES)
def test_bad_table(tmp_path: Path, files: Files, flags: str, words: str) -> None:
    write(tmp_path, files)
    refuse("fit", *of_table(*flags.split()), cwd=tmp_path, words=words)


def test_many_kinds_of_bad_tables() -> None:
    assert len(CASES) >= 60


GOOD: dict[str, tuple[bytes, list[list[float]]]] = {
    "byte order mark": (b"\xef\xbb\xbfx,y\n1,2\n", [[1, 2]]),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), [[1, 2]]),
    "UTF-32, big-endian": (b"\0\0\xfe\xff" + "x,y\n1,2\n".encode("utf-32-be"), [[1, 2]]),
    "CR as line end": (b"x,y\r1,2\r", [[1, 2]]),
    "Windows' line ends": (b"x,y\r\n1,2\r\n", [[1, 2]]),
    "no newline at the end": (b"x,y\n1,2", [[1, 2]]),
    "quoted numbers": (b'"x","y"\n"1","2"\n', [[1, 2]]),
    "blanks around numbers": (b"x,y\n 1 , 2\n", [[1, 2]]),
    "empty lines": (b"x,y\n\n1,2\n\n\n3,4\n", [[1, 2], [3, 4]]),
    "text with commas": (b'x,y\n"a,b",2\n', [[1, 2]]),
    "truth values": (b"x,y\ntrue,2\nFalse,3\n", [[1, 2], [0, 3]]),
    "constant columns": (b"x,y\n1,2\n1,2\n", [[1, 2], [1, 2]]),
    "a quoted newline": (b'x,y\n"1\n2",3\n4,5\n', [[1, 0, 3], [0, 1, 5]]),
    "thousands": (b"x,y\n1 000,2\n2 000,3\n", [[1000, 2], [2000, 3]]),
    "percents": (b"x,y\n5%,2\n7%,3\n", [[5, 2], [7, 3]]),
    "money": ("x,y\n€5,2\n€7,3\n".encode(), [[5, 2], [7, 3]]),
    "dates with slashes": (b"x,y\n31/12/1970,2\n1/2/1970,3\n", [[364, 2], [31, 3]]),
    "a number among words": (b"x,y\none,2\n2,3\n", [[0, 1, 2], [1, 0, 3]]),
    "a number among truth values": (b"x,y\ntrue,2\ntrue,3\n7,4\n", [[0, 1, 2], [0, 1, 3], [1, 0, 4]]),
    "ages": (b"x,y\n18-25,1\n26-99,2\n", [[1, 0, 1], [0, 1, 2]]),
}


@pytest.mark.parametrize(("content", "values"), GOOD.values(), ids=GOOD)
def test_odd_but_good_table(tmp_path: Path, content: bytes, values: list[list[float]]) -> None:
    write(tmp_path, {"t.csv": content})
    assert read(tmp_path / "t.csv") == values


def read(path: Path, **settings_of_data: Any) -> list[list[float]]:
    data = TableDataModule(str(path), "y", **settings_of_data)
    data.setup("fit")
    return [row for x, y in data.rows() for row in torch.cat([x, y], dim=1).tolist()]


# ---- during a run ----


def change(path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"x": [0.0] * 7, "y": [0.0] * 7}), path)


MISHAPS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "changed": (change, "t.parquet: the file has changed|t.parquet: the file is cut off or damaged"),
    "gone": (Path.unlink, "t.parquet: the file is gone"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:500]), "t.parquet: the file (has changed|is cut off)"),
}


@pytest.mark.parametrize(("mishap", "words"), MISHAPS.values(), ids=MISHAPS)
def test_file_changes_while_streaming(
    tmp_path: Path, mishap: Callable[[Path], Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linreg_pl.data.table.streamed.StreamedRows.window_bytes", 4 * 2 * 100)
    number = np.arange(5000.0)
    pyarrow.parquet.write_table(pa.table({"x": number, "y": number}), tmp_path / "t.parquet", row_group_size=100)
    data = TableDataModule(str(tmp_path / "t.parquet"), "y", batch_size=50, memory_limit=0)
    data.setup("fit")
    mishap(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=words):
        plain_trainer(2).fit(LinearRegression.tutorial(learning_rate=1e-9), data)


def test_no_room_for_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"t.csv": HEADER + ROWS})

    class Full(io.RawIOBase):
        def write(self, content: object) -> int:
            raise OSError(28, "No space left on device")

        def writable(self) -> bool:
            return True

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    with pytest.raises(InputError, match=r"no room.*--data\.memory_limit.*TMPDIR"):
        read(tmp_path / "t.csv", memory_limit=0, batch_size=1)


def test_not_a_table() -> None:
    class Lying:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            return 3

    with pytest.raises(InputError, match="Arrow can't read this Lying as a table"):
        TableDataModule(Lying(), "y")
    with pytest.raises(InputError, match="the Table: there is not a single row"):
        TableDataModule(pa.table({"x": pa.array([], pa.int8()), "y": pa.array([], pa.int8())}), "y").setup("fit")


# ---- files that hypothesis generates ----

CELLS = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.floats(-1e30, 1e30).map(repr),
    st.sampled_from(
        ["", "NA", "nan", "true", "False", "inf", "-inf", "1e39", "0x10", "1_0", "1,5", "a", "b", "é", "7"]
    ),
)
TEXTS = st.lists(st.lists(CELLS.filter(lambda cell: "," not in cell), min_size=1, max_size=4), min_size=1, max_size=6)
MISSING = {"", "NA", "nan"}


def value(cell: str) -> float:
    """Returns the number that a cell of numbers or truth values stands for."""
    return float({"true": "1", "False": "0"}.get(cell, cell))


@settings(max_examples=300)
@given(rows=TEXTS)
def test_csv_read_like_python_or_refused(rows: list[list[str]], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "made.csv"
    width = len(rows[0])
    names = [*(f"x{index}" for index in range(width)), "y"]
    lines = [",".join([*row, str(number)]) for number, row in enumerate(rows)]
    path.write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")
    content = read_or_refused(path)
    if content is None:
        return
    data = TableDataModule(str(path), "y")
    table = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert len(content) == len(table) == len(rows)
    for row, numbers in zip(table, content, strict=True):
        columns = {name.partition("=")[0] for name in data.feature_names}  # empty ones and labels are left out
        assert not MISSING & {row[column] for column in columns}
        for name, number in zip([*data.feature_names, "y"], numbers, strict=True):
            column, is_category, category = name.partition("=")
            expected = float(row[column] == category) if is_category else value(row[column])
            assert number == expected, (name, row)


@settings(max_examples=200)
@given(content=st.one_of(st.binary(max_size=300), st.text("0123456789,;.-e\n\r\"' é\0", max_size=99).map(str.encode)))
def test_any_bytes_are_read_or_refused(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "made.csv"
    path.write_bytes(b"x,y\n1,2\n" + content)
    read_or_refused(path)


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.parametrize("ending", ["parquet", "feather", "csv.gz"])
def test_damaged_files_never_crash(ending: str, data: st.DataObject, tmp_path_factory: Any) -> None:
    contents = {"parquet": NUMBERS, "feather": feather(x=[1.0, 2.0], y=[1.0, 2.0])}
    content = bytearray(contents.get(ending) or gzip.compress((HEADER + ROWS).encode()))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"made.{ending}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    read_or_refused(path)


def read_or_refused(path: Path) -> list[list[float]] | None:
    """Returns the table, or None if it is refused in a short sentence. Any other error fails the test."""
    refusal, content = "", None
    try:
        content = read(path)
    except InputError as error:
        refusal = str(error)
    assert max(map(len, refusal.splitlines()), default=0) <= LONGEST + 100 + len(str(path))  # with three flags
    assert content is None or all(math.isfinite(number) for row in content for number in row)
    return content
