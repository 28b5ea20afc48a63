"""Writes tables of all formats, column types and sizes, and compares what is read."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch

from linreg_pl import InputError, LinearRegression, TableDataModule
from linreg_pl.core.scaling import standardization
from linreg_pl.data.table import lanes, memory, rows
from linreg_pl.data.table import order as row_orders
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.memory import MemoryRows
from linreg_pl.data.table.streamed import StreamedRows
from tests.commands import linreg
from tests.runs import PLAIN
from tests.test_bad_input import of_table
from tests.trainers import StopAt, plain_trainer

RUN = Path("lightning_logs") / "version_0"
NUM_ROWS = 1003


def table(num_rows: int = NUM_ROWS, seed: int = 0) -> pa.Table:
    """Returns numbers, truth values and text, and a target that depends on them; all are exact in float32."""
    generator = np.random.default_rng(seed)
    x = generator.integers(-999, 999, num_rows) / 8
    color = generator.choice(["red", "green", "blue"], num_rows)
    on = generator.random(num_rows) < 0.5
    y = np.round(2 * x + 3 * on + 5 * (color == "red") + generator.standard_normal(num_rows), 1)
    return pa.table({"x": x, "color": color, "on": on, "y": y})


def loaded(path: Any, target: Any = "y", **settings: Any) -> TableDataModule:
    data = TableDataModule(path, target, **settings)
    data.setup("fit")
    return data


def everything(data: TableDataModule) -> torch.Tensor:
    """Returns all rows to fit, x beside y."""
    return torch.cat([torch.cat(batch, dim=1) for batch in data.rows()])


def assert_same_rows(one: TableDataModule, other: TableDataModule) -> None:
    """Checks that values, summaries and fingerprints have the same bits."""
    assert one.feature_names == other.feature_names
    assert torch.equal(everything(one), everything(other))
    assert torch.equal(one.triangle.R, other.triangle.R)
    assert one.fingerprint == other.fingerprint


# ---- formats ----


def write_compressed(name: str) -> Callable[[pa.Table, Path], Path]:
    def write(content: pa.Table, folder: Path) -> Path:
        with pa.output_stream(str(folder / f"t.csv.{name}")) as file:  # compressed as the ending says
            pyarrow.csv.write_csv(content, file)
        return folder / f"t.csv.{name}"

    return write


def write_csv(content: pa.Table, folder: Path) -> Path:
    pyarrow.csv.write_csv(content, folder / "t.csv")
    return folder / "t.csv"


def write_parquet(content: pa.Table, folder: Path) -> Path:
    pyarrow.parquet.write_table(content, folder / "t.parquet", row_group_size=100)
    return folder / "t.parquet"


def write_feather(content: pa.Table, folder: Path) -> Path:
    pyarrow.feather.write_feather(content, str(folder / "t.feather"), compression="lz4", chunksize=70)
    return folder / "t.feather"


def write_ten_files(content: pa.Table, folder: Path) -> list[str]:
    for number in range(10):
        pyarrow.parquet.write_table(content.slice(number * 101, 101), folder / f"{number}.parquet", row_group_size=33)
    return [str(folder / f"{number}.parquet") for number in range(10)]


def write_pattern(content: pa.Table, folder: Path) -> Path:
    for number in range(3):
        pyarrow.csv.write_csv(content.slice(number * 335, 335), folder / f"{number}.csv")
    return folder / "[0-9].csv"


def write_folder(content: pa.Table, folder: Path) -> Path:
    for number in range(3):
        (folder / "t" / str(number)).mkdir(parents=True)
        pyarrow.parquet.write_table(content.slice(number * 335, 335), folder / "t" / str(number) / "part.parquet")
    (folder / "t" / "_SUCCESS").touch()
    return folder / "t"


WRITERS: dict[str, Callable[[pa.Table, Path], Any]] = {
    "parquet": write_parquet,
    "feather": write_feather,
    "gz": write_compressed("gz"),
    "bz2": write_compressed("bz2"),
    "zst": write_compressed("zst"),
    "ten files": write_ten_files,
    "pattern": write_pattern,
    "folder": write_folder,
    "frame": lambda content, folder: content,
    "dictionaries": lambda content, folder: content.set_column(1, "color", content["color"].dictionary_encode()),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_same_bits_from_any_format(write: Callable[[pa.Table, Path], Any], memory_limit: Any, tmp_path: Path) -> None:
    content = table()
    settings = {"batch_size": 90, "val_fraction": 0.2, "shuffle": False}
    from_csv = loaded(str(write_csv(content, tmp_path)), **settings)
    (tmp_path / "other").mkdir()
    path = write(content, tmp_path / "other")
    other = loaded(str(path) if isinstance(path, Path) else path, **settings, memory_limit=memory_limit)
    assert isinstance(other._training.rows, StreamedRows) == (memory_limit == 0)
    assert_same_rows(from_csv, other)
    for index in (0, 3, from_csv.steps_per_epoch - 1, 1):
        for ours, theirs in zip(from_csv.batch(5, index), other.batch(5, index), strict=True):
            assert torch.equal(ours, theirs)
    held_out = [torch.cat([torch.cat(batch, 1) for batch in data.val_dataloader()]) for data in (from_csv, other)]
    assert torch.equal(*held_out)


def test_values_equal_the_file(tmp_path: Path) -> None:
    content = table()
    data = loaded(str(write_csv(content, tmp_path)))
    assert data.feature_names == ["x", "color=blue", "color=green", "color=red", "on"]
    expected = np.column_stack(
        [content["x"].to_numpy()]
        + [np.array(content["color"].to_pylist()) == color for color in ("blue", "green", "red")]
        + [content["on"].to_numpy(), content["y"].to_numpy()]
    )
    assert np.array_equal(everything(data).numpy(), expected), "to all of float64's digits"


def test_csv_delimiter_and_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n1;2\n3;4.5\n")
    (tmp_path / "b.tsv").write_text("x\ty\n1\t2\n3\t4.5\n")
    (tmp_path / "c.csv").write_text("1|2\n3|4.5\n")
    with_semicolons = loaded(str(tmp_path / "a.csv"), delimiter=";")
    without_header = loaded(str(tmp_path / "c.csv"), delimiter="|", column_names=["x", "y"])
    assert everything(with_semicolons).tolist() == [[1, 2], [3, 4.5]]
    for other in (loaded(str(tmp_path / "b.tsv")), without_header):
        assert_same_rows(with_semicolons, other)


def test_csv_type_changes_further_down(tmp_path: Path) -> None:
    """Arrow guesses a type from the first megabyte, where y is whole and x is missing."""
    start, end = "7,\n" * 400_000, "0.5,3\n"
    (tmp_path / "t.csv").write_text("y,x\n" + start + end)
    data = loaded(str(tmp_path / "t.csv"), missing="drop")
    assert everything(data).tolist() == [[3, 0.5]]


def test_hive_partitions_are_columns(tmp_path: Path) -> None:
    for year in (2023, 2024):
        for place in ("here", "there"):
            (folder := tmp_path / "t" / f"year={year}" / f"place={place}").mkdir(parents=True)
            (folder / "part.csv").write_text(f"x,y\n{year % 10},{len(place)}\n")
    for path in (tmp_path / "t", tmp_path / "t" / "year=*" / "*" / "*.csv"):
        data = loaded(str(path))
        assert data.feature_names == ["x", "year", "place=here", "place=there"]
        expected = [[3, 2023, 1, 0, 4], [3, 2023, 0, 1, 5], [4, 2024, 1, 0, 4], [4, 2024, 0, 1, 5]]
        assert everything(data).tolist() == expected


class Frame:
    """A frame with nothing but Arrow's interface."""

    def __init__(self, content: pa.Table) -> None:
        self._content = content

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._content.__arrow_c_stream__(requested_schema)


def test_frames_by_arrow_interface() -> None:
    content = table()
    expected = loaded(content, val_fraction=0.1)
    for kind in (pa.string_view(), pa.large_string()):  # the string types of polars
        texts = content["color"].combine_chunks()
        codes = texts.dictionary_encode()
        dictionary = pa.DictionaryArray.from_arrays(codes.indices.cast(pa.uint32()), codes.dictionary.cast(kind))
        for column in (texts.cast(kind), dictionary):
            data = loaded(Frame(content.set_column(1, "color", column)), val_fraction=0.1)
            assert_same_rows(data, expected)
    model = LinearRegression.tutorial(data.num_features, learning_rate=1e-6)
    plain_trainer(2).fit(model, data)
    assert data.hparams["path"] == "the Frame"


def columns_of_every_kind() -> dict[str, list[Any]]:
    """Returns columns of all types, with gaps where the type allows them."""
    generator = np.random.default_rng(4)
    whole, color = generator.integers(-9, 9, NUM_ROWS).tolist(), generator.choice(["red", "green"], NUM_ROWS).tolist()
    gap = (generator.random((4, NUM_ROWS)) < 0.1).tolist()

    def with_gaps(values: list[Any], number: int) -> list[Any]:
        return [None if missing else value for value, missing in zip(values, gap[number], strict=True)]

    return {
        "x": [value / 8 for value in whole],
        "on": [value > 3 for value in whole],
        "color": color,
        "kind": color[::-1],
        "count": with_gaps(whole, 0),
        "known": with_gaps([value < 0 for value in whole], 1),
        "half": with_gaps([value / 2 for value in whole], 2),
        "shade": with_gaps(color[3:] + color[:3], 3),
        "y": [2.0 * value for value in whole],
    }


def frame_of(library: str) -> Any:
    """Returns the same columns as a frame, with that library's own types."""
    values = columns_of_every_kind()
    if library == "polars":
        return pl.DataFrame(values, schema_overrides={"kind": pl.Categorical, "count": pl.Int16})
    kinds: Any = {"color": "object", "kind": "category", "count": "Int64", "known": "boolean", "shade": "string"}
    index = pd.Index([number * number for number in range(NUM_ROWS)])  # as after a selection of rows
    return pd.DataFrame(values).astype(kinds).set_index(index)


@pytest.mark.parametrize("missing", ["drop", "mean"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_equal_parquet(library: str, missing: Any, tmp_path: Path) -> None:
    frame, content = frame_of(library), pa.table(columns_of_every_kind())
    expected = loaded(str(write_parquet(content, tmp_path)), missing=missing)
    assert expected.num_rows_to_fit == NUM_ROWS if missing == "mean" else expected.num_rows_to_fit < NUM_ROWS
    assert_same_rows(loaded(frame, missing=missing), expected)
    frame.to_parquet(tmp_path / "t.parquet") if library == "pandas" else frame.write_parquet(tmp_path / "t.parquet")
    assert_same_rows(loaded(str(tmp_path / "t.parquet"), missing=missing), expected)
    with pytest.raises(InputError, match=r"the DataFrame: column 'known'.*of 1003 rows:.*'count' in \d+"):
        loaded(frame, missing="error")
    some = loaded(frame, features=["x", "on"])
    assert torch.equal(everything(some), everything(loaded(content, features=["x", "on"])))


def test_pandas_index_only_if_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]}, index=pd.Index([7, 5], name="id"))
    for part in ("a", "b"):
        frame.to_parquet(tmp_path / f"{part}.parquet")
        frame = frame.reset_index(drop=True)  # a default index is not written
    for path, count in ((tmp_path / "a.parquet", 1), (tmp_path / "*.parquet", 2)):
        assert everything(loaded(str(path))).tolist() == [[1, 3], [2, 4]] * count
    assert everything(loaded(str(tmp_path / "a.parquet"), features=["id"])).tolist() == [[7, 3], [5, 4]]


@pytest.mark.parametrize("path", [{"x": [1.0]}, np.eye(2), 3, ["a.csv", pl.DataFrame()], pl.LazyFrame({"x": [1.0]})])
def test_path_of_wrong_type(path: Any) -> None:
    with pytest.raises(
        InputError, match=r"path must be a file name.*of type (dict|ndarray|int|DataFrame|LazyFrame); (see|collect)"
    ):
        TableDataModule(path, "y")


WITHOUT_FRAMES = """
import sys
from linreg_pl.cli.main import main

assert not main(["fit", "--trainer.max_epochs", "1"])
assert not {"pyarrow", "pandas", "polars"} & set(sys.modules)

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "polars"):
            raise ImportError(name)

sys.meta_path.insert(0, NotInstalled())
assert main(["describe"]) == 2
flags = "--data TableDataModule --data.path t.parquet --data.target y --trainer.max_epochs 2".split()
sys.exit(main(["fit", *flags]))
"""


def test_imports_what_is_needed(tmp_path: Path) -> None:
    """The readers of tables only for a table, and pandas and polars not even then: in a process from nothing."""
    write_parquet(table(), tmp_path)
    result = subprocess.run([sys.executable, "-c", WITHOUT_FRAMES], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "linreg: missing settings: give --data.path\n")
    assert len(list((tmp_path / "lightning_logs").iterdir())) == 2


def test_numbers_of_any_width(tmp_path: Path) -> None:
    """Compares with Python's float, rounded once to float32."""
    columns = {
        "int8": pa.array([-128, 127], pa.int8()),
        "uint64": pa.array([2**63 + 1, 3], pa.uint64()),
        "int64": pa.array([2**60 + 1, -5], pa.int64()),
        "half": pa.array(np.array([0.5, 65504], np.float16)),
        "double": pa.array([0.1, -1e30]),
        "decimal": pa.array([Decimal("12.34"), Decimal("-0.01")], pa.decimal128(9, 2)),
        "wide": pa.array([Decimal(10) ** 30, Decimal(1)], pa.decimal256(50, 2)),
        "truth": pa.array([True, False]),
        "y": pa.array([1.0, 2.0], pa.float32()),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    expected = [[np.float32(float(value)) for value in row.values()] for row in pa.table(columns).to_pylist()]
    assert everything(loaded(str(tmp_path / "t.parquet"))).tolist() == expected


@pytest.mark.parametrize("kind", [pa.decimal128(9, 3), pa.decimal256(50, 3)], ids=str)
def test_decimals_are_the_nearest_floats(kind: pa.DataType) -> None:
    """So their digits are found, as where a CSV file has them."""
    decimals = [Decimal(number).scaleb(-3) for number in range(-500, 500)]
    data = loaded(
        pa.table({"x": pa.array(decimals, kind), "y": pa.array(decimals, kind).take(list(range(999, -1, -1)))})
    )
    data.setup("solve")
    x, y = (torch.cat(parts).flatten().tolist() for parts in zip(*data.rows(), strict=True))
    assert x == y[::-1] == list(map(float, decimals))
    assert data.triangle.decimals is not None
    assert data.triangle.decimals.tolist() == [1, 1]


def test_files_with_different_number_types(tmp_path: Path) -> None:
    for name, kind in (("a", pa.int32()), ("b", pa.float64()), ("c", pa.null())):
        value = None if name == "c" else 7
        content = pa.table({"x": pa.array([value], kind), "y": pa.array([1.0])})
        pyarrow.parquet.write_table(content, tmp_path / f"{name}.parquet")
    data = loaded(str(tmp_path / "*.parquet"), missing="mean")
    assert everything(data).tolist() == [[7, 1], [7, 1], [7, 1]]


# ---- categories and missing values ----


def test_drop_first_category() -> None:
    whole, dropped = loaded(table()), loaded(table(), drop_first=True)
    assert dropped.feature_names == ["x", "color=green", "color=red", "on"]
    assert torch.equal(everything(dropped), everything(whole)[:, [0, 2, 3, 4, 5]])


def test_categories_come_from_fitted_rows() -> None:
    """A rare category is fitted, or refused if it is held out; it is never ignored."""
    content = pa.table({"x": ["a", "b"] * 30 + ["rare"], "y": np.arange(61.0)})
    names = set()
    for seed in range(12):
        data = TableDataModule(content, "y", val_fraction=0.3, seed=seed)
        names.add(tuple(data.feature_names))
        if len(data.feature_names) == 2:
            with pytest.raises(
                InputError, match="'rare' is none of the 2 categories in the rows that were fitted, 'a'"
            ):
                data.setup("fit")
    assert names == {("x=a", "x=b", "x=rare"), ("x=a", "x=b")}


def test_checkpoint_keeps_categories_and_means(tmp_path: Path) -> None:
    (tmp_path / "fit.csv").write_text("c,x,y\n" + "b,1,3\na,2,1\nb,3,7\na,,3\n" * 5)
    flags = of_table("fit.csv", "--data.missing", "mean", *PLAIN)
    settings = ("--model.learning_rate", "0.05", "--trainer.max_epochs", "50")
    assert (result := linreg("fit", *flags, *settings, cwd=tmp_path)).code == 0, result.stderr
    report = json.loads((tmp_path / RUN / "report.json").read_text())["coefficients"]
    assert list(report) == ["W/c=a", "W/c=b", "W/x", "b"]
    (tmp_path / "new.csv").write_text("c,x\nb,10\nb,\n,10\n")
    checkpoint = str(RUN / "checkpoints" / "step=50.ckpt")
    result = linreg("predict", "--ckpt_path", checkpoint, "--data.path", "new.csv", cwd=tmp_path)
    assert (result.code, result.stdout) == (0, "3 predictions in predictions.csv\n"), result.stderr
    x = np.array([[0, 1, 10], [0, 1, 2], [0.5, 0.5, 10]])  # the mean of x is 2, and half of the rows are b
    expected = x @ [report["W/c=a"], report["W/c=b"], report["W/x"]] + report["b"]
    predictions = pyarrow.csv.read_csv(tmp_path / "predictions.csv")["y_predicted"].to_numpy()
    np.testing.assert_allclose(predictions, expected, rtol=1e-5)
    (tmp_path / "new.csv").write_text("c,x\nb,1\nd,1\n")
    flags = ("--ckpt_path", checkpoint, "--data.path", "new.csv", "--data.unseen", "error")
    result = linreg("predict", *flags, cwd=tmp_path)
    assert (result.code, result.stderr.count("\n")) == (2, 3)
    assert "new.csv: column 'c', row 2: 'd' is none of the 2 categories" in result.stderr
    assert linreg("test", "--ckpt_path", checkpoint, "--data.path", "fit.csv", cwd=tmp_path).code == 0


def test_plain_trainer_keeps_categories(tmp_path: Path) -> None:
    data = loaded(table(), batch_size=100)
    model = LinearRegression.tutorial(data.num_features, learning_rate=1e-5)
    trainer = plain_trainer(2)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    content = table(7, seed=1)
    only_red = content.set_column(1, "color", pa.array(["red"] * 7))
    fresh = TableDataModule(only_red, "y")
    predictions = plain_trainer(1).predict(model, fresh, ckpt_path=tmp_path / "model.ckpt", weights_only=True)
    assert predictions is not None
    x = np.column_stack([content["x"], np.zeros(7), np.zeros(7), np.ones(7), content["on"]])
    expected = x @ model.W.detach().numpy() + model.b.detach().numpy()
    np.testing.assert_allclose(
        torch.cat(predictions).numpy(),  # type: ignore[arg-type]  # one list, from one loader
        expected,
        rtol=1e-5,
    )


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_missing_values_dropped_or_imputed(memory_limit: Any, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 9, (400, 3)).astype(float)
    values[generator.random((400, 3)) < 0.1] = np.nan
    content = pa.table({name: pa.array(column, from_pandas=True) for name, column in zip("abc", values.T, strict=True)})
    write_parquet(content, tmp_path)
    settings = {"batch_size": 1, "memory_limit": memory_limit, "shuffle": False}
    dropped = loaded(str(tmp_path / "t.parquet"), "c", missing="drop", **settings)
    assert np.array_equal(everything(dropped).numpy(), values[~np.isnan(values).any(axis=1)])
    filled = loaded(str(tmp_path / "t.parquet"), "c", missing="mean", **settings)
    known = values[~np.isnan(values[:, 2])]
    expected = np.where(np.isnan(known), np.nanmean(known, axis=0), known)
    np.testing.assert_allclose(everything(filled).numpy(), expected, rtol=1e-6)
    assert filled.num_rows_to_fit == len(known)
    with pytest.raises(InputError, match=r"of 400 rows: 'a' in \d+.*--data\.missing"):
        loaded(str(tmp_path / "t.parquet"), "c", missing="error", **settings)
    by_default = loaded(str(tmp_path / "t.parquet"), "c", **settings)
    assert torch.equal(everything(by_default), everything(dropped))
    assert by_default.remarks == dropped.remarks


def test_incomplete_row_has_no_prediction(tmp_path: Path) -> None:
    (tmp_path / "fit.csv").write_text("x,y\n1,2\n,9\n2,4\n")
    flags = of_table("fit.csv", "--data.missing", "drop")
    assert linreg("fit", *flags, "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    assert linreg("predict", "--ckpt_path", str(RUN / "checkpoints" / "step=1.ckpt"), cwd=tmp_path).code == 0
    predictions = pyarrow.csv.read_csv(tmp_path / "predictions.csv")["y_predicted"]  # Arrow reads nan as missing
    assert pc.is_null(predictions).to_pylist() == [False, True, False]


def test_constant_columns_are_allowed() -> None:
    content = pa.table({"one": [1.0] * 5, "x": [1.0, 2, 3, 4, 5], "same": ["a"] * 5, "y": [2.0, 4, 6, 8, 10]})
    assert everything(loaded(content)).shape == (5, 4)


# ---- size ----


def streamed(path: Path, **settings: Any) -> TableDataModule:
    return loaded(str(path), memory_limit=0.0, **{"batch_size": 50, "seed": 3, **settings})


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> int:
    """Sets and returns the rows of a window, for two features and a target."""
    monkeypatch.setattr(StreamedRows, "window_bytes", 4 * 3 * 130)
    return 130


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """Writes 1,003 rows in groups of 100, whose feature is the row's number."""
    number = np.arange(NUM_ROWS, dtype=np.float32)
    return write_parquet(pa.table({"number": number, "half": number / 2, "y": -number}), tmp_path)


def test_streamed_epoch_takes_each_row_once(counted: Path, small_windows: int) -> None:
    data = streamed(counted)
    epochs = [torch.cat([data.batch(epoch, index)[0][:, 0] for index in range(20)]) for epoch in (0, 1)]
    for numbers in epochs:
        assert len(set(numbers.tolist())) == 1000, "no row occurs twice; the last three rows are dropped"
    assert not torch.equal(*epochs)
    x, y = data.batch(0, 7)
    assert torch.equal(y, -x[:, :1])
    first_window = epochs[0][:small_windows]
    assert len({int(number) // 100 for number in first_window.tolist()}) == 11, "rows of all groups"
    assert not torch.equal(first_window, first_window.sort().values)


def test_streamed_batch_is_pure_function(counted: Path, small_windows: int) -> None:
    one, other = streamed(counted, val_fraction=0.1), streamed(counted, val_fraction=0.1)
    expected = {(e, i): one.batch(e, i) for e in (0, 1, 2) for i in range(one.steps_per_epoch)}
    positions = list(expected)
    np.random.default_rng(0).shuffle(positions)
    for epoch, index in positions[:30]:
        for ours, theirs in zip(other.batch(epoch, index), expected[epoch, index], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize(
    ("num_rows", "batch_size"), [(1, 1), (4096, 4096), (4097, 2048), (8192, 4096), (8193, 2731), (20_000, 4000)]
)
def test_default_batch_size(num_rows: int, batch_size: int, memory_limit: Any, tmp_path: Path) -> None:
    number = np.arange(float(num_rows))
    path = write_parquet(pa.table({"x": number, "y": number}), tmp_path)
    data = loaded(str(path), memory_limit=memory_limit)
    assert isinstance(data._training.rows, StreamedRows) == (memory_limit == 0)
    assert data.batch_size == batch_size
    assert data.batch(0, data.steps_per_epoch - 1)[0].shape == (batch_size, 1)


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_default_batch_size_of_fitted_rows(memory_limit: Any, tmp_path: Path) -> None:
    number = np.arange(10_000.0)
    content = pa.table({"x": pa.array(number, mask=number >= 9000), "y": number})
    path = write_parquet(content, tmp_path)
    data = loaded(str(path), memory_limit=memory_limit, missing="drop", val_fraction=0.1)
    fitted = data.num_rows_to_fit
    assert 7900 < fitted < 8192
    assert data.batch_size == fitted // 2


def test_resuming_seeks_to_the_group(counted: Path, small_windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MOST_LANES", 2)
    data = streamed(counted)
    read: list[int] = []
    original = type(data._tables.fitted.table).batches

    def noting(self: Any, groups: Any, columns: Any) -> Any:
        for first, batch in original(self, groups, columns):
            read.append(first)
            yield first, batch

    monkeypatch.setattr(type(data._tables.fitted.table), "batches", noting)
    data.batch(4, 17)  # rows 850 to 899
    assert len(read) <= 5, "its window, from row 390 of each lane, and the next one, but not the three groups before"


def test_streamed_run_resumes_exactly(counted: Path, small_windows: int, tmp_path: Path) -> None:
    def model() -> LinearRegression:
        return LinearRegression.tutorial(2, learning_rate=1e-8, momentum=0.9)

    untouched = model()
    plain_trainer(3).fit(untouched, streamed(counted))
    interrupted = model()
    trainer = plain_trainer(3, StopAt(27))  # in the middle of the second epoch, and of a window
    trainer.fit(interrupted, streamed(counted))
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = model()
    plain_trainer(-1, max_steps=60).fit(resumed, streamed(counted), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(resumed.W, untouched.W)
    assert torch.equal(resumed.b, untouched.b)


def test_streamed_run_equals_run_in_memory(counted: Path, tmp_path: Path) -> None:
    data = of_table(str(counted), "--data.shuffle", "false", *PLAIN)
    settings = ("--data.batch_size", "100", "--data.val_fraction", "0.1", "--model.learning_rate", "1e-8")
    reports = []
    for limit in ("1", "0"):
        (folder := tmp_path / limit).mkdir()
        flags = (*data, *settings, "--data.memory_limit", limit, "--trainer.max_epochs", "3")
        result = linreg("fit", *flags, cwd=folder)
        assert (result.code, result.stderr) == (0, "")
        assert ("streamed from disk at every pass" in result.stdout) == (limit == "0")
        reports.append((folder / RUN / "report.json").read_bytes())
        solved = linreg(
            "solve", *data, *settings, "--data.memory_limit", limit, "--model.l2", "0", "--json", cwd=folder
        )
        assert (solved.code, solved.stderr) == (0, "")
        reports.append(solved.stdout.encode())
    assert reports[0] == reports[2]
    assert reports[1] == reports[3]
    onward = linreg("fit", "--resume", str(RUN), "--trainer.max_epochs", "4", "--data.memory_limit", "1", cwd=folder)
    assert onward.code == 0, onward.stderr
    assert "streamed from disk at every pass" in onward.stdout


def test_run_in_memory_stays_there(counted: Path, tmp_path: Path) -> None:
    data = of_table(str(counted), "--data.batch_size", "100", *PLAIN)
    assert linreg("fit", *data, "--model.learning_rate", "1e-8", "--trainer.max_epochs", "1", cwd=tmp_path).code == 0
    more = ("--trainer.max_epochs", "2", "--data.memory_limit", "0")
    result = linreg("fit", "--resume", str(RUN), *more, cwd=tmp_path)
    assert result.code == 2
    assert "the run began with the table in memory" in result.stderr
    assert "--data.memory_limit" in result.stderr


def test_temporal_types_are_days() -> None:
    noon = datetime.datetime(1970, 1, 3, 12)
    zone = datetime.timezone(datetime.timedelta(hours=12))
    content = pa.table(
        {
            "date": [datetime.date(2026, 1, 1)],
            "date64": pa.array([datetime.date(1969, 12, 31)], pa.date64()),
            "stamp": pa.array([noon], pa.timestamp("ns")),
            "zoned": pa.array([noon.replace(tzinfo=zone)], pa.timestamp("us", "Pacific/Auckland")),
            "clock": [datetime.time(18)],
            "length": [datetime.timedelta(hours=36)],
            "y": [1.0],
        }
    )
    days = (datetime.date(2026, 1, 1) - datetime.date(1970, 1, 1)).days
    assert everything(loaded(content)).tolist() == [[days, -1, 2.5, 2.0, 0.75, 1.5, 1.0]]


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_wide_rows_have_small_batches(memory_limit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "EVALUATION_BATCH_BYTES", 4 * 3 * 100)  # a hundred rows of three columns
    generator = np.random.default_rng(0)
    content = pa.table({name: generator.standard_normal(NUM_ROWS).astype(np.float32) for name in "aby"})
    data = loaded(content, batch_size=50, memory_limit=memory_limit, shuffle=False)
    assert [len(x) for x, _ in data.rows()] == [100] * 10  # batches of 50 leave the last three out
    data.setup("test")
    loader = data.test_dataloader()
    sizes = [len(x) for x, _ in loader]
    assert sizes == [100] * 10 + [3]
    assert len(loader) == 11
    assert torch.cat([x[:, 0] for x, _ in loader]).tolist() == content["a"].to_pylist()


def test_evaluation_batch_bytes_are_limited() -> None:
    for num_columns in (1, 10, 100, 300):
        assert rows.evaluation_batch_size(num_columns) == 65_536, "not limited"
    for num_columns in (1_000, 5_000, 100_000):
        assert 64e6 < 4 * num_columns * rows.evaluation_batch_size(num_columns) <= 128e6
    assert rows.evaluation_batch_size(10**9) == 1


def test_large_table_in_any_epoch_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads draw the orders in advance."""
    for module in (row_orders, memory):
        monkeypatch.setattr(module, "LARGE_TABLE_ROWS", 8)
    first, again = (loaded(table(), batch_size=10) for _ in range(2))
    wanted = [(0, 1), (1, 0), (0, 2), (5, 0), (6, 1), (4, 0), (0, 0)]
    seen = {place: first.batch(*place) for place in wanted}
    for place in reversed(wanted):
        for ours, theirs in zip(again.batch(*place), seen[place], strict=True):
            assert torch.equal(ours, theirs), place


@pytest.mark.parametrize("num_targets", [1, 2, 20])
@pytest.mark.parametrize("num_features", [3, 20])
@pytest.mark.parametrize("many_values", [1, 10**6])
def test_shuffled_rows_stay_whole(
    num_features: int, num_targets: int, many_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compares features, targets and weights with the rows that the order names, in large tables too."""
    for module in (row_orders, memory):
        monkeypatch.setattr(module, "LARGE_TABLE_ROWS", 8)
    monkeypatch.setattr(rows, "LARGE_TABLE_VALUES", many_values)
    monkeypatch.setattr(memory, "evaluation_batch_size", lambda num_columns: 8)
    widths = (num_features, num_targets, 1)
    tensors = tuple(torch.rand(50, width, dtype=torch.float64) for width in widths)
    held = MemoryRows(lambda size: zip(*(torch.split(t, size) for t in tensors), strict=True), widths, shuffled_by=3)
    for dtype in (torch.float64, torch.float32, torch.float64):
        for epoch in (0, 1, 5):
            order = row_orders.row_order(3, epoch, 50)
            assert torch.equal(order.sort().values, torch.arange(50))
            for start in (0, 20, 40):
                batch = held.batch(epoch, slice(start, start + 20))
                for drawn, tensor in zip(batch, tensors, strict=True):
                    assert torch.equal(drawn, tensor[order[start : start + 20]].to(dtype))
        if dtype == torch.float64:  # the rows as they were read
            assert torch.equal(torch.cat([x for x, *_ in held.in_order()]), tensors[0])
            held.prepare(None, torch.float32)
        else:
            with pytest.raises(RuntimeError, match="call restore"):
                next(held.in_order())
            held.restore()


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_rows_are_prepared_and_restored(memory_limit: float | None) -> None:
    """Batches are standardized in float64 and rounded once; restored, they have all their digits again."""
    content = table()
    content = content.set_column(0, "x", pa.array(1.7e9 + content["x"].to_numpy()))
    raw, data = (loaded(content, batch_size=90, memory_limit=memory_limit) for _ in range(2))
    scaling = standardization(data.triangle)
    for dtype in (torch.float32, torch.float64, torch.float32):
        data.prepare(scaling, dtype)
        for index in (0, 2):
            x, y = raw.batch(1, index)
            z, deviations = data.batch(1, index)
            assert torch.equal(z, ((x - scaling.means) / scaling.scales).to(dtype))
            assert torch.equal(deviations, (y - scaling.target_means).to(dtype))
    data.restore()
    assert_same_rows(raw, data)
    for ours, theirs in zip(raw.batch(1, 2), data.batch(1, 2), strict=True):
        assert torch.equal(ours, theirs)


def test_checkpoint_after_test_of_streamed_table(tmp_path: Path) -> None:
    """The checkpoint keeps the fingerprint of the rows to fit."""
    data, module = loaded(table(), memory_limit=0), LinearRegression.tutorial(num_features=5, learning_rate=1e-6)
    trainer = plain_trainer(1)
    trainer.fit(module, data)
    fitted = data.fingerprint
    trainer.test(module, data, verbose=False)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    assert torch.load(tmp_path / "after.ckpt", weights_only=True)["TableDataModule"]["fingerprint"] == fitted


def test_csv_index_only_if_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 4.0], "y": [1.0, 0.0, 1.0]})
    frame.to_csv(tmp_path / "t.csv")
    assert loaded(str(tmp_path / "t.csv")).feature_names == ["a"]
    assert loaded(str(tmp_path / "t.csv"), features=["", "a"]).feature_names == ["", "a"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
@pytest.mark.parametrize("size", [1, 7, 64, 5000])
def test_csv_segments_of_any_size(end: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses segments shorter and longer than a line, and empty lines."""
    lines = [f"{row},{row * 1.25!r},{'x' * (row % 90)}" for row in range(60)]
    path = tmp_path / "t.csv"
    path.write_text("a,b,text\n" + "\n".join([*lines[:30], "", *lines[30:]]) + end)
    schema = pa.schema([("b", pa.float64()), ("text", pa.string())])
    monkeypatch.setattr(Csv, "segment_bytes", size)
    content = pa.Table.from_batches(Csv().batches(path, schema), schema)
    assert content["b"].to_pylist() == [row * 1.25 for row in range(60)]
    assert [text or "" for text in content["text"].to_pylist()] == ["x" * (row % 90) for row in range(60)]
