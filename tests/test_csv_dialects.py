"""Reads CSV files as people have them: delimiters, headers, comments, encodings, compression and width."""

import lzma
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from linreg_pl import InputError, TableDataModule
from linreg_pl.data.progress import unwatched
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.dialect import unique_names
from linreg_pl.data.table.files import find_files
from linreg_pl.data.table.segment_parser import SegmentParser
from linreg_pl.data.table.sources import FileSource


def source_of(path: Path, content: str | bytes, **settings: Any) -> FileSource:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FileSource(find_files(str(path)), Csv(**settings))


def rows_of(source: FileSource) -> list[dict[str, Any]]:
    """Returns all rows of the columns that are features by default."""
    names = [name for name in source.columns if name not in source.index]
    table = source.table(source.schema(names), 1e9, unwatched)
    rows: list[dict[str, Any]] = pa.Table.from_batches(
        [batch for _, batch in table.all_batches(names)], table.schema
    ).to_pylist()
    return rows


TWO = [{"a": 1.0, "y": 2.0}, {"a": 3.0, "y": 4.5}]
SAME: dict[str, tuple[str, str | bytes]] = {
    "semicolons": ("t.csv", "a;y\n1;2\n3;4.5\n"),
    "tabs": ("t.csv", "a\ty\n1\t2\n3\t4.5\n"),
    "bars": ("t.txt", "a|y\n1|2\n3|4.5\n"),
    "commas in .tsv": ("t.tsv", "a,y\n1,2\n3,4.5\n"),
    "runs of blanks": ("t.dat", "   a    y\n  1     2\n  3   4.5  \n\n"),
    "tabs and blanks": ("t.dat", "a \t y\n1\t  2\n3  4.5\n"),
    "quotes and blanks": ("t.txt", '"a" "y"\r\n"1"   2\r\n3 "4.5"\r\n'),
    "row names of R": ("t.txt", '"a" "y"\n"1" 1 2\n"two and" 3 4.5\n'),
    "row names of R in a CSV file": ("t.csv", '"","a","y"\n"x",1,2\n"y",3,4.5\n'),
    "delimiter behind each row": ("t.csv", "a,y\n1,2,\n3,4.5,\n"),
    "delimiter behind each line": ("t.csv", "a,y,\n1,2,\n3,4.5,\n"),
    "comments": ("t.csv", "# made by hand, at noon\n\n#\na,y\n# units, cm, kg\n1,2\n   \n3,4.5\n# end\n"),
    "header in a comment": ("t.txt", "# two\n# a y\n1 2\n3 4.5\n"),
    "header in a comment with commas": ("t.csv", "#a,y\n1,2\n3,4.5\n"),
    "UTF-8 with a mark": ("t.csv", "\ufeffa,y\n1,2\n3,4.5\n"),
    "UTF-16 and tabs": ("t.txt", "a\ty\r\n1\t2\r\n3\t4.5\r\n".encode("utf-16")),
    "blanks around numbers": ("t.csv", "a,y\n 1, 2\n3 ,4.5 \n"),
    "xz": ("t.csv.xz", lzma.compress(b"a,y\n1,2\n3,4.5\n")),
}


@pytest.mark.parametrize(("name", "content"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("size", [1, 16_000_000])
def test_same_table(
    name: str, content: str | bytes, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Csv, "segment_bytes", size)
    assert rows_of(source_of(tmp_path / name, content)) == TWO


def test_decimal_commas_are_text(tmp_path: Path) -> None:
    rows = rows_of(source_of(tmp_path / "t.csv", "a;b;y\n1,5;2,5;3,25\n2,5;1,5;4,5\n"))
    assert rows == [{"a": "1,5", "b": "2,5", "y": "3,25"}, {"a": "2,5", "b": "1,5", "y": "4,5"}]


def test_commas_in_names_and_texts(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path / "t.csv", "name, first;y;a\nMay, Ann;3;4\nLee, Bo;5;6\n"))[1] == {
        "name, first": "Lee, Bo",
        "y": 5,
        "a": 6,
    }
    assert rows_of(source_of(tmp_path / "u.csv", "a b,y\nx y,1\nz w,2\n"))[0] == {"a b": "x y", "y": 1}


def test_first_column_called_number_sign(tmp_path: Path) -> None:
    assert rows_of(source_of(tmp_path / "t.csv", "#,y\n1,2\n"))[0] == {"#": 1, "y": 2}
    assert rows_of(source_of(tmp_path / "u.csv", "color,y\n#ff0000,2\n#00ff00,3\n"))[1] == {"color": "#00ff00", "y": 3}


REMARKS = {
    "a,a,y\n1,2,3\n": ["the header names 'a' twice: the second is called 'a.1'"],
    "a,a.1,a,y,a\n1,2,3,4,5\n": ["the header names 'a' 3 times: the later ones are called 'a.2', 'a.3'"],
    ",y\n4,1\n5,2\n": ["the first column has no name and counts the rows; it is left out"],
    ",y\nu,1\n5,2\n": ["the first column has no name and is left out"],
    "x,y,\n1,2,\n": ["column 3 has no name and no values, and is left out"],
    "x,,y\n1,2,3\n": ["column 2 has no name and is left out; --data.features can name it 'Unnamed: 1'"],
    "x,y\n1,2\n# no more\n": ["skipped a line that begins with #: '# no more'"],
    "k,y\nk1,1\n#k2,900\nk3,2\nk4,3\n": ["skipped a line that begins with #: '#k2,900'"],
    "x,y\n1,2\n#3,900\n\n 4,3\n#5,800\n6,7\n": ["skipped 2 lines that begin with #: '#3,900', '#5,800'"],
    "x,y\n1,2\n": [],
}


def test_rows_switched_off_are_no_rows(tmp_path: Path) -> None:
    """A row of the same length as the others, with # before it; where most rows begin so, they are rows."""
    switched_off = source_of(tmp_path / "t.csv", "k,a,y\nk1,b,1\n#k2,c,900\nk3,b,3\n")
    assert [row["k"] for row in rows_of(switched_off)] == ["k1", "k3"]
    numbered = source_of(tmp_path / "u.csv", "k,a,y\n#1,b,1\n#2,c,900\n3,b,3\n# end\n")
    assert [row["k"] for row in rows_of(numbered)] == ["#1", "#2", "3"]
    quoted = source_of(tmp_path / "v.csv", 'k,y\na,1\nb,2\n"#c",3\n')
    assert [row["k"] for row in rows_of(quoted)] == ["a", "b", "#c"]


@pytest.mark.parametrize(("content", "remarks"), REMARKS.items())
def test_remarks(content: str, remarks: list[str], tmp_path: Path) -> None:
    source = source_of(tmp_path / "t.csv", content)
    rows_of(source)
    assert source.remarks == remarks


TITLED = {  # lines above the header, the header, rows, and the lines that the note names
    "padded": ("Sales report Q3 2024,,,\n,,,\n", "day,region,n,y", "2024-01-01,north,1,2\n2024-01-02,south,3,4\n", 1),
    "padded, no blank line": ("Report 2024,,\n", "a,b,y", "1,2,3\n4,5,6\n", 1),
    "two columns": ("Report 2024,\n", "a,y", "1,2\n3,4\n", 1),
    "two values": ("Report,2024,\nby,me,\n", "a,b,y", "1,2,3\n4,5,6\n", 2),
    "second value": (",Report 2024,\n", "a,b,y", "1,2,3\n4,5,6\n", 1),
    "blank lines alone": (",,\n , ,\n", "a,b,y", "1,2,3\n4,5,6\n", 0),
    "semicolons": ("Bericht, 2024;;\n;;\n", "a;b;y", "1,5;2,5 €;3\n4,5;5,5 €;6\n", 1),
    "five": ("t,,\n" * 5, "a,b,y", "1,2,3\n4,5,6\n", 5),
    "gaps": ("t,,\n", "a,b,y", "x,NA,\nz,,3\nz,5,4\n", 1),
    "comment": ("t,,\n", "a,b,y", "1,2,3\n# made by hand\n4,5,6\n", 1),
    "digits in names": ("t,,,\n", "x1,Q3 24,n,y", "1,2,3,4\n4,5,6,7\n", 1),
}


@pytest.mark.parametrize("name", TITLED)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_titles(name: str, end: str, tmp_path: Path) -> None:
    above, header, rows, num_titles = TITLED[name]
    alone = rows_of(source_of(tmp_path / "alone.csv", f"{header}\n{rows}"))
    source = source_of(tmp_path / "t.csv", f"{above}{header}\n{rows}".replace("\n", end))
    assert rows_of(source) == alone
    notes = [remark for remark in source.remarks if remark.startswith("skipped") and "#" not in remark]
    counted = "a line" if num_titles == 1 else f"{num_titles} lines"
    title = above.splitlines()[0].rstrip(",;").replace(",", " ").strip() if ";" not in above else "Bericht, 2024"
    assert [note[: len(f"skipped {counted} above the header: '{title}'")] for note in notes] == (
        [f"skipped {counted} above the header: '{title}'"] if num_titles else []
    )


@pytest.mark.parametrize("above", ["Report 2024\n\n", "Report 2024,,,\n,,,\n"])
def test_title_above_trailing_delimiters(above: str, tmp_path: Path) -> None:
    source = source_of(tmp_path / "t.csv", above + "a,b,y,\n1,2,3,\n4,5,6,\n")
    assert rows_of(source) == [{"a": 1, "b": 2, "y": 3}, {"a": 4, "b": 5, "y": 6}]
    assert source.remarks == [
        "skipped a line above the header: 'Report 2024'",
        "column 4 has no name and no values, and is left out",
    ]


HEADERS = {  # a file whose first line is the header, and the names
    "nameless first column": (",y\nu,high\nv,3\nw,4\n", ["", "y"]),
    "nameless first of three": (",a,y\nu,b,c\nv,1,2\nw,3,4\n", ["", "a", "y"]),
    "one name": ("a,,\nx,1,2\ny,3,4\n", ["a", "Unnamed: 1", "Unnamed: 2"]),
    "two names": ("a,b,\nx,y,1\nz,w,2\n", ["a", "b", "Unnamed: 2"]),
    "texts alone": ("a,b,\nx,y,u\nz,w,v\n", ["a", "b", "Unnamed: 2"]),
    "a gap in the first row": ("a,,\nx,NA,u\ny,3,v\nz,4,w\n", ["a", "Unnamed: 1", "Unnamed: 2"]),
    "dates": ("a,,\nx,2024-01-01,low\ny,2024-01-02,3\nz,2024-01-03,4\n", ["a", "Unnamed: 1", "Unnamed: 2"]),
    "trailing delimiters": ("a,b,,\nx,y,,\nz,1,,\nz,2,,\n", ["a", "b", "Unnamed: 2", "Unnamed: 3"]),
    "one row": ("a,,\nx,y,z\n", ["a", "Unnamed: 1", "Unnamed: 2"]),
    "six lines above": ("t,,\n" * 6 + "a,b,y\n1,2,3\n4,5,6\n", ["t", "Unnamed: 1", "Unnamed: 2"]),
}


@pytest.mark.parametrize(("content", "names"), HEADERS.values(), ids=HEADERS)
def test_headers_with_empty_names(content: str, names: list[str], tmp_path: Path) -> None:
    source = source_of(tmp_path / "t.csv", content)
    assert source.columns == names
    assert not any("above the header" in remark for remark in source.remarks)


def test_repeated_names_like_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for header in ("a,a,y", "a,a.1,a,y,a", "a.1,a,a,a.1,a.1.1,y", "b,b,b.1,b.1,b.2,b"):
        path = tmp_path / "t.csv"
        path.write_text(f"{header}\n{'1,' * header.count(',')}2\n")
        assert unique_names(header.split(","))[0] == list(pandas.read_csv(path).columns)


def test_latin_1(tmp_path: Path) -> None:
    content = "größe,y\nhöch,2\nhöch,3\n".encode("latin-1")
    assert rows_of(source_of(tmp_path / "t.csv", content, encoding="latin-1"))[0] == {"größe": "höch", "y": 2}
    with pytest.raises(InputError, match=r"'größe,y' is not UTF-8 text; give --data\.encoding latin-1"):
        source_of(tmp_path / "t.csv", content)
    with pytest.raises(InputError, match=r"t\.csv: this is not ascii text; give another --data\.encoding"):
        source_of(tmp_path / "t.csv", content, encoding="ascii")
    with pytest.raises(InputError, match="encoding is 'latin-eins'"):
        Csv(encoding="latin-eins")


def test_missing_values(tmp_path: Path) -> None:
    marks = "a,b,y\nNA,None,1\n <NA> ,x,2\n3,NULL,\n"
    assert rows_of(source_of(tmp_path / "t.csv", marks)) == [
        {"a": None, "b": None, "y": 1},
        {"a": None, "b": "x", "y": 2},
        {"a": 3, "b": None, "y": None},
    ]
    chosen = rows_of(source_of(tmp_path / "t.csv", "a,b,y\n-,NA,1\n2,-,\n", missing_values=["-"]))
    assert chosen == [{"a": None, "b": None, "y": 1}, {"a": 2, "b": None, "y": None}]


def test_late_texts_turn_columns_into_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads twice, however many columns have such values; texts stay as they are written."""
    monkeypatch.setattr(Csv, "head_bytes", 40)
    monkeypatch.setattr(Csv, "segment_bytes", 64)
    start = "a,b,c,d,y\n" + "01,true,1.50,5,6\n" * 50
    source = source_of(tmp_path / "t.csv", start + "x,true,1,5,6\n" + "1,true,2,5,6\n" * 50 + "1,maybe,NA,5,6\n")
    passes = []
    batches = Csv.batches

    def counted(*args: Any, **settings: Any) -> Any:
        passes.append(args)
        return batches(*args, **settings)

    monkeypatch.setattr(Csv, "batches", counted)
    assert source.schema(["a", "b"]).types == [pa.float64(), pa.bool_()]
    rows = rows_of(source)
    assert len(passes) == 2
    assert rows[0] == {"a": "01", "b": "true", "c": 1.5, "d": 5, "y": 6}
    assert (rows[50]["a"], rows[101]["b"], rows[101]["c"], len(rows)) == ("x", "maybe", None, 102)


def test_files_that_disagree_are_text(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,y\n1,2\n")
    source = source_of(tmp_path / "2.csv", "a,y\nu,2\n")
    source = FileSource(find_files(str(tmp_path / "*.csv")), Csv())
    assert rows_of(source) == [{"a": "1", "y": 2}, {"a": "u", "y": 2}]


def test_line_break_where_a_block_ends(tmp_path: Path) -> None:
    """A quoted text that looks like a row must not become one."""
    note = '"first\n900,1,second"'
    path = tmp_path / "t.csv"
    path.write_text("y,a,note\n" + "".join(f"{2 * (row % 7)},{row % 7},{note}\n" for row in range(60_000)))
    rows = rows_of(FileSource(find_files(str(path)), Csv()))
    assert rows == [{"y": 2 * (row % 7), "a": row % 7, "note": "first\n900,1,second"} for row in range(60_000)]


def test_line_breaks_are_fitted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('c,a,y\n"two\nlines",1,2\n"one",2,5\n"two\nlines",3,6\n')
    data = TableDataModule(str(tmp_path / "t.csv"), "y")
    data.setup("fit")
    assert data.feature_names == ["c=one", "c=two\nlines", "a"]
    assert [x.tolist() + y.tolist() for x, y in data.rows()] == [[[0, 1, 1], [1, 0, 2], [0, 1, 3], [2], [5], [6]]]


def test_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("folder/t.tsv", "a\ty\n1\t2\n3\t4.5\n")
        archive.writestr("__MACOSX/._t.tsv", "x")
        archive.writestr("readme.md", "x")
    assert rows_of(FileSource(find_files(str(tmp_path / "t.zip")), Csv())) == TWO
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("u.csv", "a,y\n1,2\n")
    with pytest.raises(InputError, match=r"t\.zip: it contains 2 tables, 'folder/t\.tsv', 'u\.csv'; unpack it"):
        FileSource(find_files(str(tmp_path / "t.zip")), Csv())


REFUSED = {
    "a,b,y\n1,2,3\n2,1\n": "row 2 has 2 values, separated by ',', but the header has 3: '2,1'.*--data.delimiter",
    "a,y\n1,2\n# note\n3\n": "row 2 has 1 value, separated by ','",
    'a,y\n1,2\n"3,4\n5,6\n': "row 2 has a quote that is never closed",
    "a,y\n" + "1,2,\n" * 99 + "1,2,3\n": "row 100 has 3 values",
    "\n\n": "not a single row",
}


@pytest.mark.parametrize(("content", "words"), REFUSED.items(), ids=range(len(REFUSED)))
def test_refused_files(content: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        rows_of(source_of(tmp_path / "t.csv", content))


@pytest.mark.parametrize(("name", "words"), [("t.xlsx", "read_excel"), ("t.dta", "read_stata"), ("t.db", "read_sql")])
def test_files_of_other_programs(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=rf"{name}: .*pandas\.{words} and pass the frame: TableDataModule\(frame"):
        TableDataModule(str(tmp_path / name), "y")


def test_wide_table_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 columns take as many parses as 5: one to guess the types, and one to read."""
    parses = []
    read = SegmentParser._read

    def counted(*args: Any, **settings: Any) -> Any:
        parses.append(args)
        return read(*args, **settings)

    monkeypatch.setattr(SegmentParser, "_read", counted)
    for width in (5, 5000):
        names = [f"x{index}" for index in range(width)]
        source = source_of(tmp_path / "t.csv", ",".join(names) + "\n" + (",".join(["1.5"] * width) + "\n") * 5)
        source.require_same_columns()
        table = source.table(source.schema(names), 1e9, unwatched)
        assert (table.num_rows, len(table.schema), len(parses)) == (5, width, 2)
        parses.clear()
