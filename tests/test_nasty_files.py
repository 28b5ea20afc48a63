"""Files as other programs and people leave them: read as a careful person would, or refused with the cause."""

import gzip
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from linreg_pl import InputError, TableDataModule

NUMBERS = [-26.25, 4.5, -13.0, 10.75, 12.5, -43.25, 99.0, 0.5]
LARGE = [x + 123456 for x in NUMBERS]
ROWS = [f"{x},{3 * x + 1}" for x in NUMBERS]
BODY = "\n".join(ROWS) + "\n"


def joined(rows: list[str], header: str = "a,y") -> str:
    return "\n".join([header, *rows]) + "\n"


def written(form: Callable[[float], str]) -> str:
    """Returns a table whose numbers are written in some way."""
    return joined([f"{form(x)};{3 * x + 1}" for x in NUMBERS], "a;y")


def grouped(x: float, thousands: str, decimal: str) -> str:
    return f"{x + 123456:,.2f}".replace(",", " ").replace(".", decimal).replace(" ", thousands)


READ: dict[str, tuple[str | bytes, list[float], str]] = {  # content, column a, words of a remark
    "mixed line ends": (
        "a,y\r\n" + "".join(row + "\n\r\r\n"[i % 3 :][: 1 + i % 2] for i, row in enumerate(ROWS)),
        NUMBERS,
        "",
    ),
    "byte order mark twice": (b"\xef\xbb\xbf\xef\xbb\xbfa,y\n" + BODY.encode(), NUMBERS, ""),
    "UTF-16": (("a,y\n" + BODY).encode("utf-16"), NUMBERS, ""),
    "Ctrl-Z": ("a,y\n" + BODY + "\x1a", NUMBERS, ""),
    "Excel's separator": ("sep=,\na,y\n" + BODY, NUMBERS, ""),
    "title": ("Report of 2024\n\na,y\n" + BODY, NUMBERS, "skipped a line above the header: 'Report of 2024'"),
    "two titles": ("Report\nby: me\na,y\n" + BODY, NUMBERS, "skipped 2 lines above the header: 'Report', 'by: me'"),
    "padded title": ("Report 2024,\n,\na,y\n" + BODY, NUMBERS, "skipped a line above the header: 'Report 2024'"),
    "row names of R": ("a,y\n" + "".join(f"r{i},{row}\n" for i, row in enumerate(ROWS)), NUMBERS, "no name"),
    "numbers as header": ("1.5,y\n" + BODY, NUMBERS, ""),
    "blank lines": ("a,y\n\n" + "\n\n".join(ROWS), NUMBERS, ""),
    "blanks and tabs": ("a,y\n" + BODY.replace(",", " ,\t"), NUMBERS, ""),
    "trailing commas": ("a,y,,\n" + BODY.replace("\n", ",,\n"), NUMBERS, "no name and no values"),
    "blanks for thousands": (
        written(lambda x: grouped(x, " ", ".")),
        LARGE,
        "is read as numbers",
    ),
    "narrow blanks": (
        written(lambda x: grouped(x, "\u202f", ",")),
        LARGE,
        "is read as numbers",
    ),
    "apostrophes": (written(lambda x: grouped(x, "'", ".")), LARGE, "is read as numbers"),
    "scientific": (written(lambda x: f"{x:.3E}" if x > 0 else f"{x:.4e}"), NUMBERS, ""),
    "typographic minus": (written(lambda x: str(x).replace("-", "\u2212")), NUMBERS, ""),
    "plus": (written(lambda x: f"{x:+}"), NUMBERS, ""),
    "currency behind": (written(lambda x: f"{x} €"), NUMBERS, "'-26.25 €' is -26.25"),
    "minus before currency": (written(lambda x: f"-${-x}" if x < 0 else f"${x}"), NUMBERS, "'-$26.25' is -26.25"),
    "truth values": (written(lambda x: str(x > 0).upper()), [float(x > 0) for x in NUMBERS], ""),
    "truth values beside decimal commas": (
        written(lambda x: str(x > 0)).replace(".", ","),
        [float(x > 0) for x in NUMBERS],
        "'-77,75' is -77.75",
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_read(name: str, memory_limit: float | None, tmp_path: Path) -> None:
    content, expected, words = READ[name]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    data = TableDataModule(str(tmp_path / "t.csv"), "y", shuffle=False, memory_limit=memory_limit)
    data.setup("fit")
    x, y = (part[:, 0].tolist() for part in next(iter(data.train_dataloader())))
    assert len(data.feature_names) == 1
    assert x == pytest.approx(expected, rel=1e-6)
    assert y == [3 * number + 1 for number in NUMBERS]
    assert words in " ".join(data.remarks)
    assert words or not data.remarks


REFUSED: dict[str, tuple[str | bytes, str]] = {
    "NUL": ("a,y\n" + BODY + "1\x00,2\n" + BODY, "line 10 has a NUL byte"),
    "UTF-16 of little ends": (("a,y\n" + BODY).encode("utf-16-le"), "give --data.encoding utf-16-le"),
    "UTF-16 of big ends": (("a,y\n" + BODY).encode("utf-16-be"), "give --data.encoding utf-16-be"),
    "gzip": (gzip.compress(b"a,y\n" + BODY.encode()), "this is a gzip file; rename it, so that it ends in .csv.gz"),
    "spreadsheet": (b"PK\x03\x04" + bytes(60), "this is a spreadsheet, or a zip file; save the sheet as a CSV file"),
    "Parquet": (b"PAR1" + bytes(60), "this is a Parquet file"),
    "Arrow": (b"ARROW1" + bytes(60), "this is an Arrow file"),
    "name in capitals": (joined(ROWS, "a,Y").encode(), "there is no column 'y' (did you mean 'Y'?)"),
    "Windows": (("a,y\n" + BODY.replace("\n", "€\n")).encode("cp1252"), "give --data.encoding cp1252"),
    "no header": (BODY, "if the file has no header, see --data.column_names"),
    "blank name": (" a , y \n" + BODY, "did you mean ' y '?"),
    "footnote": ("a,y\n" + BODY + "Source: an office\n", "row 9 has 1 value"),
    "footnote below a title": ("Report\na,y\n" + BODY + "Source: an office\n", "row 9 has 1 value"),
    "header again": ("a,y\n" + BODY + "a,y\n" + BODY, "row 9: 'a': 16 of 17 values are numbers"),
    "sum in a column of numbers": ("a,y\n" + BODY + "Sum: 45,5\n", "row 9: 'Sum: 45': 8 of 9 values are numbers"),
    "trailing minus": (written(lambda x: f"{-x}-" if x < 0 else f"{x}"), "row 1: '26.25-'"),
    "parentheses": (written(lambda x: f"({-x})" if x < 0 else f"{x}"), "give --data.numbers '[a]'"),
    "percent and fractions": (written(lambda x: f"{x}%" if x > 5 else f"{x / 100}"), "are numbers like"),
    "scales": (written(lambda x: f"{x}K" if x > 5 else f"{x}M"), "are numbers like"),
    "footnote marks": (written(lambda x: f"{x}*" if x > 11 else f"{x}"), "row 5: '12.5*'"),
    "below a limit": (written(lambda x: "<-40" if x < -40 else f"{x}"), "row 6: '<-40'"),
    "too large": (written(lambda x: "1e300" if x == 0.5 else f"{x}"), "write the column in a larger unit"),
    "infinite": (written(lambda x: "inf" if x == 0.5 else f"{x}"), "row 8: inf is not a finite number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    content, words = REFUSED[name]
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")
    assert words in str(caught.value)


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "-Infinity", "1e400"])
def test_infinite_values_are_left_out_as_offered(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(joined([*ROWS, f"{text},1"]))
    with pytest.raises(InputError, match=r"row 9: .* give --data\.missing_values") as caught:
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")
    offered = shlex.split(str(caught.value).rpartition("--data.missing_values ")[2])
    data = TableDataModule(str(tmp_path / "t.csv"), "y", missing_values=yaml.safe_load(offered[0]))
    data.setup("fit")
    assert sum(len(batch[0]) for batch in data.rows()) == len(ROWS)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "cp1252"])
def test_named_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(joined([row.replace(",", " €,") for row in ROWS]).encode(encoding))
    data = TableDataModule(str(tmp_path / "t.csv"), "y", shuffle=False, encoding=encoding)
    data.setup("fit")
    assert next(iter(data.train_dataloader()))[0][:, 0].tolist() == NUMBERS


WINDOWS: dict[str, tuple[str, str]] = {  # content, encoding to offer
    "same line": ("größe;y\n" + "437.743,97 €;2,5\n" * 9, "cp1252"),
    "header": ("preis in €;y\n" + "1,5;2,5\n" * 9, "cp1252"),
    "below the header": ("größe;y\n" + "1,5;2,5\n437.743,97 €;2,5\n" * 9, "cp1252"),
    "later block": ("größe;y\n" + "437.743,97;2,5\n" * 80_000 + "1,5 €;2,5\n", "cp1252"),
    "later block alone": ("a;y\n" + "437.743,97;2,5\n" * 80_000 + "1,5 €;2,5\n", "cp1252"),
    "no control characters": ("größe;y\n" + "1,5 £;2,5\n" * 9, "latin-1"),
    "undefined": ("größe;y\n1,5 €;2,5\n1,5 \x81;2,5\n", "latin-1"),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_encoding_to_offer(name: str, tmp_path: Path) -> None:
    """A euro sign decides wherever it is; Latin-1 would make a control character of it."""
    content, encoding = WINDOWS[name]
    (tmp_path / "t.csv").write_bytes(content.replace("€", "\x80").encode("latin-1"))
    with pytest.raises(InputError, match=f"give --data.encoding {encoding} "):
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")


DOUBTFUL: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "dates": (["20240131", "20240201", "20231224"], {}, "20240131 may be a date; write dates as 2024-01-31"),
    "no dates": (["20240131", "20240201", "20241324"], {}, ""),
    "codes": (["00183", "12", "07001"], {}, "'00183' loses its leading zero"),
    "codes as categories": (["00183", "12", "07001"], {"categorical": ["a"]}, ""),
    "fractions": (["0.183", "0", "-0.5"], {}, ""),
    "numbers": (["100", "0", "7"], {}, ""),
}


LOOKS: dict[str, tuple[str, list[str], str]] = {  # a column's name and values, and what a note says
    "months": ("when", [f"2023{month:02}" for month in range(1, 13)], "202301 may be a month; write months as 2023-01"),
    "no months": ("when", [f"2023{month:02}" for month in range(1, 14)], ""),
    "identifier": ("id", [str(number) for number in range(7, 19)], "it may only name the rows; --data.exclude leaves"),
    "identifier of something": ("customerId", [str(number * number) for number in range(12)], "may only name the rows"),
    "name that ends so": ("paid", [str(number) for number in range(12)], ""),
    "identifier that recurs": ("shop_id", [str(number % 4) for number in range(12)], ""),
    "missing value": (
        "age",
        ["40", "-999", "31", "-999", "12", "9"],
        "'age' has -999 in 2 rows, and no other negative",
    ),
    "missing fraction": ("age", ["4.5", "-99.0", "3.1", "2"], "has -99 in 1 row, and no other negative number; if it"),
    "negative numbers": ("change", ["4", "-999", "-3", "12"], ""),
    "another negative number": ("change", ["4", "-998", "3", "12"], ""),
}


@pytest.mark.parametrize("look", LOOKS)
def test_remarks_on_looks(look: str, tmp_path: Path) -> None:
    name, texts, words = LOOKS[look]
    rows = [f"{text},{index * 7 % 5}" for index, text in enumerate(texts)]
    (tmp_path / "t.csv").write_text(joined(rows, f"{name},y"))
    data = TableDataModule(str(tmp_path / "t.csv"), "y")
    data.setup("fit")
    assert words in " ".join(data.remarks)
    assert len(data.remarks) == bool(words)
    if "missing" in look:
        given = TableDataModule(str(tmp_path / "t.csv"), "y", missing_values=["-999", "-99"])
        given.setup("fit")
        assert not any("negative" in remark for remark in given.remarks)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_remarks_on_numbers(name: str, tmp_path: Path) -> None:
    texts, settings, words = DOUBTFUL[name]
    (tmp_path / "t.csv").write_text(joined([f"{text},{i}" for i, text in enumerate(texts * 3)]))
    data = TableDataModule(str(tmp_path / "t.csv"), "y", **settings)
    data.setup("fit")
    assert words in " ".join(data.remarks)
    assert bool(words) == bool(data.remarks)


def test_header_of_numbers(tmp_path: Path) -> None:
    """Years may be names; fractions alone are hardly."""
    for header, remarks in {"1999,2000": 0, "1.5,2000": 1}.items():
        (tmp_path / "t.csv").write_text(joined(ROWS, header))
        data = TableDataModule(str(tmp_path / "t.csv"), "2000")
        data.setup("fit")
        assert len(data.remarks) == remarks


def test_one_decimal_comma(tmp_path: Path) -> None:
    """A comma typed by hand in one column does not make thousands of another column's points."""
    rows = [f"{i % 9},{1 + i / 1000:.3f},{i * i % 7}" for i in range(60)]
    rows[7] = '"1,5",' + rows[7].split(",", 1)[1]
    (tmp_path / "t.csv").write_text(joined(rows, "a,b,y"))
    with pytest.raises(InputError, match="column 'b': its points may be decimal, or separate thousands") as caught:
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")
    assert caught.value.flags == {"decimal": "."}
    settings: list[tuple[Literal[".", ","], int]] = [(".", 1), (",", 1000)]
    for decimal, factor in settings:
        data = TableDataModule(str(tmp_path / "t.csv"), "y", decimal=decimal)
        data.setup("fit")
        x = np.concatenate([batch[0].numpy() for batch in data.rows()])
        np.testing.assert_allclose(x[:, 1], factor * (1 + np.arange(60) / 1000), rtol=1e-6)
        assert x[7, 0] == 1.5
    rows = [f"{i % 9 / 4};1_{i:03d};{i * i % 7}".replace(".", ",").replace("_", ".") for i in range(60)]
    (tmp_path / "t.csv").write_text(joined(rows, "a;b;y"))
    data = TableDataModule(str(tmp_path / "t.csv"), "y")
    data.setup("fit")  # most values of a have decimal commas
    x = np.concatenate([batch[0].numpy() for batch in data.rows()])
    assert x[:, 1].tolist() == [1000 + i for i in range(60)]


def test_few_commas_beside_points(tmp_path: Path) -> None:
    """A list such as "4,6" among whole numbers is no decimal, where another column shows decimal points."""
    rows = [f"{i / 8},{i % 9},{i * i % 7}" for i in range(60)]
    rows[7] = '0.875,"4,6",0'
    (tmp_path / "t.csv").write_text(joined(rows, "a,b,y"))
    with pytest.raises(InputError, match="column 'b': a few of its values have commas, and column 'a' has") as caught:
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")
    assert caught.value.flags == {"exclude": ["b"]}
    data = TableDataModule(str(tmp_path / "t.csv"), "y", decimal=",")
    data.setup("fit")
    x = np.concatenate([batch[0].numpy() for batch in data.rows()])
    assert x[7].tolist() == [0.875, 4.6]


def test_total(tmp_path: Path) -> None:
    rows = [f"{name},{row}" for name, row in zip("abcababc", ROWS, strict=True)]
    sums = np.array([row.split(",") for row in ROWS], float).sum(axis=0)
    for last, words in {"Total": "the last row has 'Total' in column 'name'", "c": ""}.items():
        (tmp_path / "t.csv").write_text(joined([*rows, f"{last},{sums[0]},{sums[1]}"], "name,a,y"))
        data = TableDataModule(str(tmp_path / "t.csv"), "y")
        data.setup("fit")
        assert words in " ".join(data.remarks)
        assert bool(words) == bool(data.remarks)


def test_values_that_differ_are_no_categories(tmp_path: Path) -> None:
    """What is offered first for many odd values is to leave the column out."""
    rows = [f"{i / 4}{'-' if i % 3 == 0 else ''},{i},{i * i}" for i in range(60)]
    (tmp_path / "t.csv").write_text(joined(rows, "a,b,y"))
    with pytest.raises(InputError) as caught:
        TableDataModule(str(tmp_path / "t.csv"), "y").setup("fit")
    assert caught.value.flags == {"exclude": ["a"]}
