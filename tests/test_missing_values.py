"""By default, incomplete rows are dropped and counted where most rows are complete, and the table is refused otherwise.

The oracle is NumPy's least squares on the rows that pandas finds complete.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from linreg_pl import InputError, TableDataModule
from linreg_pl.exact.solution import solve
from linreg_pl.training.hyper_parameters import HyperParameters
from tests.commands import linreg
from tests.runs import RUN


def frame(num_rows: int, incomplete: int, num_features: int = 2) -> pd.DataFrame:
    """Returns a table of a line with noise, whose first rows lack a value of x0."""
    generator = np.random.default_rng(num_rows)
    x = generator.standard_normal((num_rows, num_features))
    content = pd.DataFrame(x, columns=[f"x{index}" for index in range(num_features)])
    content["y"] = x.sum(axis=1) + 0.1 * generator.standard_normal(num_rows)
    content.loc[: incomplete - 1, "x0"] = np.nan
    return content


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize(("num_rows", "incomplete"), [(40, 1), (40, 20), (41, 20), (6, 3)])
def test_most_rows_complete(num_rows: int, incomplete: int, memory_limit: Any, tmp_path: Path) -> None:
    content = frame(num_rows, incomplete)
    content.to_csv(tmp_path / "t.csv", index=False)
    data = TableDataModule(str(tmp_path / "t.csv"), "y", memory_limit=memory_limit)
    data.setup("solve")
    complete = content.dropna()
    design = np.column_stack([np.ones(len(complete)), complete[["x0", "x1"]]])
    expected = np.linalg.lstsq(design, complete["y"], rcond=None)[0]
    optimum = solve(data, HyperParameters(2)).problem.optimum
    assert [*optimum.b.tolist(), *optimum.W[:, 0].tolist()] == pytest.approx(expected, rel=1e-9)
    assert data.remarks == [f"dropped {incomplete} of {num_rows} rows with a missing value: 'x0' in {incomplete}"]


def test_row_group_without_rows(tmp_path: Path) -> None:
    content = pa.table({"x": np.arange(9.0), "y": [None, *range(8)]})
    with pyarrow.parquet.ParquetWriter(tmp_path / "t.parquet", content.schema) as writer:
        for group in (content, content.slice(0, 0), content):
            writer.write_table(group)
    data = TableDataModule(str(tmp_path / "t.parquet"), "y")
    data.setup("solve")
    assert data.remarks == ["dropped 2 of 18 rows with a missing value: 'y' in 2"]


@pytest.mark.parametrize(
    ("num_rows", "incomplete", "num_features", "reason"),
    [
        (40, 21, 2, "19 are complete, less than half"),
        (4, 2, 2, "2 are complete, no more than the number of features, 2"),
        (40, 10, 30, "30 are complete, no more than the number of features, 30"),
    ],
)
def test_few_rows_complete(num_rows: int, incomplete: int, num_features: int, reason: str) -> None:
    """Imputing is offered first: dropping would leave less than half, or no more rows than features."""
    with pytest.raises(
        InputError, match=f"{incomplete} of {num_rows} rows: 'x0' in {incomplete}; {reason}; "
    ) as refused:
        TableDataModule(frame(num_rows, incomplete, num_features), "y").setup("fit")
    assert refused.value.flags == {"missing": "mean"}


def test_category_of_incomplete_rows() -> None:
    """The names of the features are known before the rows are read."""
    content = frame(40, 2)
    content["city"] = ["Rome", "Rome", *["Ulm", "Graz"] * 19]
    data = TableDataModule(content, "y")
    names = data.feature_names
    data.setup("fit")
    assert names == data.feature_names == ["x0", "x1", "city=Graz", "city=Ulm"]


def test_held_out_rows() -> None:
    """Their gaps are counted too, whether the rows to fit have any or not."""
    content = frame(400, 0)
    content.loc[::9, "x1"] = np.nan
    data = TableDataModule(content, "y", val_fraction=0.25)
    data.setup("fit")
    assert data.held_out is not None
    assert data.num_rows_to_fit + data.held_out.num_rows == 355
    assert len(data.remarks) == 2
    for remark, words in zip(
        data.remarks, ("rows with a missing value: 'x1' in", "rows to validate, with"), strict=True
    ):
        assert words in remark
    assert sum(int(remark.split()[1]) for remark in data.remarks) == 45


def test_gap_in_held_out_rows_alone() -> None:
    """A refusal counts the rows that it is about."""
    content = frame(60, 0)
    for row in range(60):
        gap = content.copy()
        gap.loc[row, "x1"] = np.nan
        data = TableDataModule(gap, "y", val_fraction=0.25)
        data.setup("fit")
        assert len(data.remarks) == 1
        strict = TableDataModule(gap, "y", val_fraction=0.25, missing="error")
        with pytest.raises(InputError, match=rf"column 'x1', row {row + 1}: a value is missing, as in 1 of \d+ rows"):
            strict.setup("fit")


def test_commands(tmp_path: Path) -> None:
    """A run is resumed with the same rows; a test says how many it left out."""
    content = frame(60, 3)
    content.to_csv(tmp_path / "t.csv", index=False)
    table = ("--data", "TableDataModule", "--data.path", "t.csv", "--data.target", "y", "--model.schedule", "constant")
    fitted = linreg("fit", *table, "--trainer.max_epochs", "4", cwd=tmp_path)
    assert (fitted.code, fitted.stderr) == (0, "")
    assert "note      dropped 3 of 60 rows with a missing value: 'x0' in 3\n" in fitted.stdout
    resumed = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "8", cwd=tmp_path)
    assert (resumed.code, resumed.stderr) == (0, "")
    checkpoint = str(RUN / "checkpoints" / "step=8.ckpt")
    tested = linreg("test", "--ckpt_path", checkpoint, cwd=tmp_path)
    assert (tested.code, tested.stderr) == (0, "")
    assert "57 of t.csv, without 3 that lack a value" in tested.stdout


MARKED: dict[str, tuple[pa.Array, str, int]] = {
    "double": (pa.array([999.0, 1.5, 2.5]), "999.0", 1),
    "double, whole mark": (pa.array([12345678901.0, 1.5, 2.5]), "12345678901", 1),
    "negative": (pa.array([-1e9, 1.5, 2.5]), "-1000000000", 1),
    "exponent": (pa.array([1e20, 1.5, 2.5]), "1e20", 1),
    "float": (pa.array([0.1, 1.5, 2.5], pa.float32()), "0.1", 1),
    "half": (pa.array(np.array([999, 1.5, 2.5], np.float16)), "999", 1),
    "whole": (pa.array([999, 1, 2]), "999.0", 1),
    "whole, all digits": (pa.array([2**60, 2**60 + 1, 2]), str(2**60), 1),
    "unsigned": (pa.array([2**64 - 1, 1, 2], pa.uint64()), str(2**64 - 1), 1),
    "too large": (pa.array([127, 1, 2], pa.int8()), "128", 0),
    "decimal": (pa.array([Decimal("999.00"), Decimal("1.50"), Decimal("2.50")]), "999", 1),
    "infinite": (pa.array([np.inf, 1.5, 2.5]), "inf", 1),
    "infinite float": (pa.array([-np.inf, 1.5, 2.5], pa.float32()), "-Infinity", 1),
    "infinite among whole numbers": (pa.array([999, 1, 2]), "inf", 0),
    "no number": (pa.array([999.0, 1.5, 2.5]), "n.a.", 0),
}


@pytest.mark.parametrize("name", MARKED)
def test_marks_are_compared_as_numbers(name: str, tmp_path: Path) -> None:
    """The file has 60 rows, one of which is the marked value."""
    values, mark, num_marked = MARKED[name]
    column = values.take(pa.array([0] + [1, 2] * 30).slice(0, 60))
    y = pa.array(np.arange(60.0) ** 2 % 13)
    pyarrow.parquet.write_table(pa.table({"x": column, "y": y}), tmp_path / "t.parquet")
    data = TableDataModule(str(tmp_path / "t.parquet"), "y", missing_values=[mark])
    data.setup("fit")
    assert sum(len(batch[0]) for batch in data.rows()) == 60 - num_marked


ODD: dict[str, tuple[dict[str, list[object]], dict[str, object]]] = {
    "alone": ({"x": ["odd"], "g": ["A", "B", "C"]}, {"missing_values": ["odd"], "missing": "drop"}),
    "a category": ({"x": ["B"], "g": ["A", "B", "C"]}, {"exclude": ["x"]}),
    "odd in both": ({"x": ["odd"], "z": ["odd"]}, {"missing_values": ["odd"], "missing": "drop"}),
}


@pytest.mark.parametrize("name", ODD)
def test_remedy_spares_other_columns(name: str) -> None:
    """An odd text is not offered as a missing value where another column has it as a value."""
    columns, flags = ODD[name]
    content = pd.DataFrame({"y": [(i * i) % 7 + 3 for i in range(60)]})
    for column, values in columns.items():
        content[column] = [values[i % len(values)] for i in range(60)]
        if values[0] in ("odd", "B"):
            content[column] = [values[0] if i == 7 else str(i / 4) for i in range(60)]
    with pytest.raises(InputError) as refused:
        TableDataModule(content, "y").setup("fit")
    assert refused.value.flags == flags
    data = TableDataModule(content, "y", **refused.value.flags)
    data.setup("fit")
    assert sum(len(batch[0]) for batch in data.rows()) == (60 if "exclude" in flags else 59)


def test_number_among_dates() -> None:
    """0 is also a value of the column n and of y."""
    dates = ["0" if i == 7 else f"2024-{i % 9 + 1:02d}-{i % 28 + 1:02d}" for i in range(60)]
    content = pd.DataFrame({"y": np.arange(60) % 3, "n": np.arange(60) % 2, "d": dates})
    with pytest.raises(InputError) as refused:
        TableDataModule(content, "y").setup("fit")
    assert refused.value.flags == {"exclude": ["d"]}
    content["n"] += 1
    content["y"] += 0.5
    with pytest.raises(InputError) as refused:
        TableDataModule(content, "y").setup("fit")
    assert refused.value.flags == {"exclude": ["d"]}, "a text with a digit may be a value"


@pytest.mark.parametrize("mark", ["NA", " NA", "NA ", "  NA", "\tNA ", "   n/a   ", " ", ""])
@pytest.mark.parametrize("quote", ["", '"'])
def test_padded_mark_is_missing(mark: str, quote: str, tmp_path: Path) -> None:
    """In a file, blanks around a mark make it no category, whatever the other columns are."""
    lines = [f"{quote}{['a', 'b', mark][index % 3]}{quote},{index}\n" for index in range(30)]
    (tmp_path / "t.csv").write_text("".join(["c,y\n", *lines]))
    data = TableDataModule(str(tmp_path / "t.csv"), "y")
    data.setup("fit")
    assert data.feature_names == ["c=a", "c=b"]
    assert data.remarks == ["dropped 10 of 30 rows with a missing value: 'c' in 10"]
