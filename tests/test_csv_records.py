"""Compares the reading of CSV files that hypothesis makes with Python's csv module and a parser of its own.

The long form, `--csv-files`, makes 20,000 files instead of some hundred.
"""

import csv
import gzip
import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from linreg_pl import InputError
from linreg_pl.data.progress import unwatched
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.files import find_files
from linreg_pl.data.table.sources import FileSource
from linreg_pl.data.table.text_shapes import MISSING_TEXTS

SEEN = Counter[str]()
"""What the files had, to show that the interesting kinds occur."""

PIECES = ["a", "b7", '"', '""', "\n", "\r", "\r\n", ",", ";", "é", " ", "x y", "", "NA", "1", "-2.5"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
NUMBERS = st.one_of(st.integers(-999, 999).map(str), st.floats(-1e9, 1e9).map(repr), st.sampled_from(["", " 4", "nan"]))
RAW = st.lists(
    st.sampled_from(["a", "1", '"', '""', '5"', "é", " ", "\t", ",", ",,", ',"', '",', "\n", "\n#"]), max_size=25
)


def parse(text: str, delimiter: str) -> list[tuple[list[str], str]] | None:
    """Returns the records of a CSV file with their text, character by character; None if a quote is never closed."""
    records: list[tuple[list[str], str]] = []
    record: list[str] = []
    value, state, index, first = "", "start", 0, 0
    while index < len(text):
        character = text[index]
        index += 1
        if state == "quoted":
            if character != '"':
                value += character
            elif text[index : index + 1] == '"':
                value, index = value + '"', index + 1
            else:
                state = "unquoted"
        elif character == delimiter:
            record, value, state = [*record, value], "", "start"
        elif character in "\r\n":
            if character == "\r" and text[index : index + 1] == "\n":
                index += 1
            if record or state == "unquoted":  # an empty line is no record
                records.append(([*record, value], text[first:index]))
            record, value, state, first = [], "", "start", index
        elif character == '"' and state == "start":
            state = "quoted"
        else:
            value, state = value + character, "unquoted"
    if state == "quoted":
        return None
    return [*records, ([*record, value], text[first:])] if record or state == "unquoted" else records


def written(value: str, draw: Any, delimiter: str) -> str:
    """Returns a value as a program may write it: quoted, or as it is."""
    needs = any(character in value for character in f'{delimiter}\r\n"')
    style = draw(st.integers(0, 9))
    if needs or style == 0:
        return f'"{value.replace(chr(34), 2 * chr(34))}"' + ("z" if style == 1 else "")
    return f'{value}"' if style == 1 and value else value  # a stray quote


@st.composite
def tables(draw: Any) -> tuple[str, str]:
    """Makes a file of three columns, which programs write in many ways; some rows are of the wrong length."""
    delimiter = draw(st.sampled_from([",", ",", ";", "\t", "|"]))
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    rows = draw(st.lists(st.tuples(NUMBERS, TEXTS, TEXTS), min_size=1, max_size=8))
    trailing = delimiter if draw(st.integers(0, 5)) == 0 else ""
    lines = [delimiter.join(written(value, draw, delimiter) for value in row) + trailing for row in rows]
    lines = [each for line in lines for each in [line, *[""] * draw(st.sampled_from([0, 0, 0, 1]))]]
    if draw(st.integers(0, 7)) == 0:
        lines.insert(draw(st.integers(0, len(lines))), "".join(draw(RAW)))
    if draw(st.integers(0, 7)) == 0:  # rows that somebody has switched off
        lines = [f"#{line}" if line and draw(st.integers(0, 2)) == 0 else line for line in lines]
    return delimiter.join(["n", "s", "t"]) + line_end + line_end.join(lines) + draw(
        st.sampled_from(["", line_end])
    ), delimiter


def expected_rows(text: str, delimiter: str) -> list[list[str]] | None:
    """Returns the rows below the header; None where they must be refused."""
    records = parse(text, delimiter)
    if records is None:
        return None
    try:
        by_python = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error:
        by_python = [record for record, _ in records]
    assert [record for record, _ in records] == by_python
    hashes = [is_comment(line) for record, line in records[1:] if len(record) in (3, 4)]
    begin_with_hash = sum(hashes) >= len(hashes) / 2
    SEEN["rows begin with #"] += any(hashes) and begin_with_hash
    SEEN["rows switched off"] += any(hashes) and not begin_with_hash
    lines = [(record, line) for record, line in records[1:] if begin_with_hash or not is_comment(line)]
    wide = [record for record, line in lines if len(record) in (3, 4) or not is_no_row(line)]
    width = 4 if wide and all(len(record) == 4 for record in wide) else 3
    rows = [record for record, line in lines if len(record) == width or not is_no_row(line)]
    if rows and all(row[3:] == [""] for row in rows):
        rows = [row[:3] for row in rows]
    elif len(rows) > 1 and all(len(row) == 4 for row in rows):
        rows = [row[1:] for row in rows]  # as R writes row names
    return rows if all(len(row) == 3 for row in rows) else None


def is_no_row(line: str) -> bool:
    return not line.strip() or is_comment(line)


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def write(path: Path, content: bytes) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("made.csv", content)
    else:
        path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def assert_read_like_python(text: str, delimiter: str, encoding: str, ending: str, size: int, folder: Path) -> None:
    path = folder / f"made.csv{ending}"
    write(path, text.encode(encoding))
    rows = expected_rows(text, delimiter)
    csv_format = Csv(delimiter)
    names = ["n", "s", "t"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Csv, "segment_bytes", size)
        refusal = None
        try:
            source = FileSource(find_files(str(path)), csv_format)
            held = source.table(source.schema(names), 1e9, unwatched)
            streamed = source.table(source.schema(names), 0, unwatched)
            _, as_written = source.as_written(names)
            verbatim = pa.Table.from_batches(list(as_written), source.schema(names, names))
        except InputError as error:
            refusal = str(error)
    if refusal is not None:
        note(refusal)
        assert not rows
        SEEN["refused"] += 1
        return
    assert rows is not None, "a row of the wrong length, or an open quote"
    SEEN["read"] += 1
    SEEN["line break in a value"] += any(set(value) & set("\r\n") for row in rows for value in row)
    assert [list(row.values()) for row in verbatim.to_pylist()] == rows
    missing = {"", *MISSING_TEXTS}
    for table in (held, streamed):
        assert table.num_rows == len(rows)
        batches = pa.Table.from_batches([batch for _, batch in table.all_batches(names)], table.schema)
        for index, name in enumerate(names):
            column = [row[index] for row in rows]
            kind = table.schema.field(name).type
            for value, cell in zip(batches[name].to_pylist(), column, strict=True):
                if cell.strip(" ") in missing and cell == cell.strip(" "):
                    assert value is None
                elif pa.types.is_floating(kind):
                    assert value == float(cell) if value is not None else cell.strip(" ") in missing
                elif value is not None:
                    assert value == (cell if pa.types.is_string(kind) else cell.lower() in ("true", "1"))
                else:
                    assert cell.strip() in missing


ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32"])
ENDINGS = st.sampled_from(["", "", ".gz", ".zip"])
SIZES = st.one_of(st.integers(1, 40), st.just(16_000_000))


@pytest.fixture(scope="module")
def num_files(request: pytest.FixtureRequest) -> int:
    return 20_000 if request.config.getoption("--csv-files") else 300


def test_made_files_like_python(num_files: int, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("made")

    @settings(max_examples=num_files)
    @given(table=tables(), encoding=ENCODINGS, ending=ENDINGS, size=SIZES)
    def compare(table: tuple[str, str], encoding: str, ending: str, size: int) -> None:
        assert_read_like_python(*table, encoding, ending, size, folder)

    SEEN.clear()
    compare()
    print(dict(SEEN))
    assert SEEN["read"] > num_files / 3
    assert SEEN["line break in a value"] > num_files / 10
    assert SEEN["rows switched off"] > num_files / 100
    assert SEEN["rows begin with #"] > num_files / 100


@settings(max_examples=150)
@given(pieces=RAW, size=SIZES)
def test_any_quotes_like_python(pieces: list[str], size: int, tmp_path_factory: Any) -> None:
    """Two columns, so that many random rows have the right length."""
    text = "n,s,t\n" + "1,a,b\n" * 3 + "".join(pieces)
    assert_read_like_python(text, ",", "utf-8", "", size, tmp_path_factory.getbasetemp())
