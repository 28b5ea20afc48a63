"""Exports are run by their receivers, and predict what the model does: SQL, JSON, ONNX and PyTorch."""

import datetime
import io
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

import linreg_pl
from examples.make_tables import make_diabetes, make_diamonds, make_flights
from linreg_pl import InputError, LinearRegression
from tests.commands import linreg
from tests.pages import ROOT, blocks

EPOCH = datetime.date(1970, 1, 1)


def exported(model: LinearRegression, format: str) -> bytes:
    """Returns what the model writes."""
    file = io.BytesIO()
    model.export(file, format)
    return file.getvalue()


def matrix(columns: list[Any]) -> np.ndarray:
    """Returns columns as an array (N, K), with NaN for no prediction."""
    return np.array(columns, dtype=np.float64).T


class Rows:
    """Rows to predict, as a table and as lists with dates in days and times in fractions of a day."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.columns = {name: table[name].to_pylist() for name in table.column_names}
        for name in table.column_names:
            if pa.types.is_temporal(table[name].type):
                self.columns[name] = list(map(days, self.columns[name]))


def days(value: Any) -> Any:
    """Returns a date as days since 1970-01-01, and a time of day as a fraction of a day."""
    if isinstance(value, datetime.date):
        return (value - EPOCH).days
    return value if value is None else (value.hour * 60 + value.minute) / 1440


def with_duckdb(model: LinearRegression, rows: Rows) -> np.ndarray:
    """Returns the predictions of the SQL in DuckDB."""
    connection = duckdb.connect(config={"threads": 1})
    connection.register("rows", rows.table)
    result = connection.sql(exported(model, "sql").decode() + "FROM rows").fetchnumpy()
    assert list(result) == [f"{name}_predicted" for name in model.target_names]
    return matrix([np.ma.filled(column, np.nan) for column in result.values()])


def with_sqlite(model: LinearRegression, rows: Rows) -> np.ndarray:
    """Returns the predictions of the SQL in SQLite, after what its comments say of dates."""
    sql = exported(model, "sql").decode()
    for new, old in re.findall(r"^-- In SQLite, write (.*) for (.*)\.$", sql, re.MULTILINE):
        sql = sql.replace(old, new)
    kinds = {pa.date32(): pa.string(), pa.time64("us"): pa.string(), pa.bool_(): pa.int8()}
    table = rows.table.cast(pa.schema([(each.name, kinds.get(each.type, each.type)) for each in rows.table.schema]))
    connection = sqlite3.connect(":memory:")
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in table.column_names)
    connection.execute(f"CREATE TABLE rows ({names})")
    values = zip(*(column.to_pylist() for column in table.columns), strict=True)
    connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * table.num_columns)})", values)
    return matrix(list(zip(*connection.execute(f"{sql}FROM rows ORDER BY rowid"), strict=True)))


def with_python(model: LinearRegression, rows: Rows) -> np.ndarray:
    """Returns the predictions of the reader of JSON that the documentation shows."""
    code = next(block for block in blocks((ROOT / "docs/export.md").read_text(), "python") if "def predict" in block)
    reader = re.findall(r"^def predict.*?^    return .*?$", code, re.DOTALL | re.MULTILINE)[0]
    assert len(reader.splitlines()) == 10
    names: dict[str, Any] = {}
    exec(reader, names)
    document, nothing = json.loads(exported(model, "json")), [np.nan] * len(model.target_names)
    dicts = (dict(zip(rows.columns, values, strict=True)) for values in zip(*rows.columns.values(), strict=True))
    return np.array([names["predict"](document, row) or nothing for row in dicts])


def with_onnxruntime(model: LinearRegression, rows: Rows) -> np.ndarray:
    """Returns the predictions of the ONNX graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported(model, "onnx"), options, providers=["CPUExecutionProvider"])
    inputs = {}
    for each in session.get_inputs():
        assert each.type in ("tensor(string)", "tensor(double)")
        is_text, values = each.type == "tensor(string)", rows.columns[each.name]
        values = [value or "" for value in values] if is_text else values
        inputs[each.name] = np.array(values, dtype=object if is_text else np.float64)
    return matrix(session.run([f"{name}_predicted" for name in model.target_names], inputs))


def with_torch(model: LinearRegression, rows: Rows) -> np.ndarray:
    """Returns the predictions of the program of torch.export, from features that the names in its file describe."""
    extra_files = {"names.json": "", "model.json": ""}
    program = torch.export.load(io.BytesIO(exported(model, "pt2")), extra_files=extra_files).module()
    names, document = json.loads(extra_files["names.json"]), json.loads(extra_files["model.json"])
    assert names == {"features": model.feature_names, "targets": model.target_names}
    features = dict[str, np.ndarray]()
    for column in document["columns"]:
        name, values = column["name"], np.array(rows.columns[column["name"]], object)
        missing = np.isin(values, np.array(column["missing_values"], object))
        features[f"{name} is missing"] = missing.astype(np.float64)
        if column["kind"] != "category":
            features[name] = np.where(missing, np.nan, values).astype(np.float64)
            continue
        unseen = ~missing & ~np.isin(values, np.array(list(column["categories"]), object))
        values = np.where(unseen & ("other" in column["categories"]), "other", values)
        nothing = missing if column["other"] is None else missing | unseen
        for text in column["categories"]:
            known = np.where(unseen & (column["other"] is None), np.inf, values == text)
            features[f"{name}={text}"] = np.where(nothing & (values != "other"), np.nan, known)
    x = np.stack([features[name] for name in names["features"]], axis=1)
    predictions: np.ndarray = program(torch.from_numpy(x)).numpy()
    return predictions


RECEIVERS: list[Callable[[LinearRegression, Rows], np.ndarray]] = [
    with_duckdb,
    with_sqlite,
    with_python,
    with_onnxruntime,
    with_torch,
]


def difference(predicted: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, in standard deviations of the predictions of each target."""
    assert predicted.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(predicted), np.isnan(expected))
    largest: float = np.nanmax(np.abs(predicted - expected) / np.nanstd(expected, axis=0))
    return largest


def assert_all_predict(model: LinearRegression, table: pa.Table, rel: float = 1e-12) -> None:
    """Raises AssertionError unless all receivers predict what the model does."""
    expected = model.predict(table).reshape(table.num_rows, -1)
    rows = Rows(table)
    for receiver in RECEIVERS:
        assert difference(receiver(model, rows), expected) <= rel, receiver.__name__


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Creates a folder for runs, with `examples`."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "examples").mkdir()
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """Returns a run's folder, relative to `folder`."""
    make_diabetes(folder / "examples")
    result = linreg("fit", "--config", str(ROOT / "examples/diabetes.yaml"), "--trainer.max_epochs", "9", cwd=folder)
    assert result.code == 0, result.stderr
    return Path("lightning_logs/version_0")


@pytest.mark.parametrize(
    ("name", "make"), [("diabetes", make_diabetes), ("diamonds", make_diamonds), ("flights", make_flights)]
)
def test_example_tables(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    """Receivers predict rows as `linreg predict` does: all of them, and every sixth of the largest table."""
    (tmp_path / "examples").mkdir()
    make(tmp_path / "examples")
    shutil.copy(ROOT / "examples" / f"{name}.yaml", tmp_path / "examples")
    fit = ["--config", f"examples/{name}.yaml", "--trainer.max_epochs", "2", "--exact", "false"]
    for args in (["fit", *fit], ["predict", "--ckpt_path", "lightning_logs/version_0", "--output", "p.parquet"]):
        result = linreg(*args, cwd=tmp_path)
        assert result.code == 0, result.stderr
    expected = matrix([pyarrow.parquet.read_table(tmp_path / "p.parquet").column(0).to_numpy()])
    [path] = [path for path in (tmp_path / "examples").iterdir() if path.suffix in (".csv", ".parquet")]
    model = LinearRegression.load(tmp_path / "lightning_logs" / "version_0")
    columns = model.columns.learnt["features"]
    table = (pyarrow.csv.read_csv if path.suffix == ".csv" else pyarrow.parquet.read_table)(path).select(columns)
    some = slice(None, None, max(1, table.num_rows // 50_000))
    rows, expected = Rows(table.take(np.arange(table.num_rows)[some])), expected[some]
    for receiver in RECEIVERS:
        measured = difference(receiver(model, rows), expected)
        print(f"{name} {receiver.__name__} {measured:.2g} of {len(expected)} rows")
        assert measured <= 1e-12


def offers(num_rows: int = 60) -> pa.Table:
    """Returns rows of every kind of column, with missing values, and names and texts with quotes."""
    draw = np.random.default_rng(0)
    sizes = draw.normal(50, 9, num_rows).tolist()
    sizes[3] = sizes[17] = None
    cities = draw.choice(["Ulm", "Köln", "O'Hare", 'a "b"'], num_rows).tolist()
    cities[5] = None
    codes = draw.choice([10, 20, 30], num_rows).tolist()
    listed = [EPOCH + datetime.timedelta(20_000 + int(day)) for day in draw.integers(0, 900, num_rows)]
    opened = [datetime.time(int(hour), 30) for hour in draw.integers(6, 20, num_rows)]
    lift = (draw.random(num_rows) < 0.5).tolist()
    lift[8] = None
    known = np.array([size or 50 for size in sizes])
    price = 3 * known + np.array([len(city or "") for city in cities]) * 40 + draw.normal(0, 5, num_rows)
    return pa.table(
        {
            'size "net"': pa.array(sizes, pa.float64()),
            "city's": cities,
            "code": codes,
            "listed": listed,
            "opened": opened,
            "lift": pa.array(lift, pa.bool_()),
            "price": price,
            'rent "cold"': price / 9 + draw.normal(0, 1, num_rows),
        }
    )


def new_offers() -> pa.Table:
    """Returns complete rows, one row for each missing value, and one with an unseen category."""
    table = offers(40).slice(20, 9).drop_columns(["price", 'rent "cold"'])
    rows = table.to_pylist()
    for row, name in enumerate(table.column_names):
        rows[row][name] = None
    rows[6]["city's"] = "Bonn"
    return pa.Table.from_pylist(rows, table.schema)


UNSEEN_AS_MISSING = {"missing": "mean", "unseen": "missing", "drop_first": True}
REST = {"rare": "other", "max_categories": 3}
FLOAT64 = {"trainer": {"precision": 64}, "missing": "mean", "missing_values": ["20", "Ulm"]}
PLAIN = {"standardize": False, "precondition": False, "learning_rate": 1e-12}


@pytest.mark.parametrize(
    ("num_empty", "settings"),
    [
        pytest.param(7, {}, id="drop"),
        pytest.param(1, {"missing": "mean"}, id="mean"),
        pytest.param(0, UNSEEN_AS_MISSING, id="unseen as missing"),
        pytest.param(1, {"missing": "indicator"}, id="indicator"),
        pytest.param(6, REST, id="rest"),
        pytest.param(0, {**REST, "missing": "indicator", "drop_first": True}, id="rest and indicator"),
        pytest.param(1, FLOAT64, id="float64"),
        pytest.param(7, PLAIN, id="plain"),
    ],
)
def test_missing_and_unseen(num_empty: int, settings: dict[str, Any]) -> None:
    model = linreg_pl.fit(offers(), target=["price", 'rent "cold"'], categorical=["code"], max_epochs=2, **settings)
    table = new_offers()
    assert np.isnan(model.predict(table)[:, 0]).sum() == num_empty
    codes = pa.array([None if code is None else str(code) for code in table["code"].to_pylist()])
    table = table.set_column(2, "code", codes)
    assert_all_predict(model, table)
    assert model.W.dtype == (torch.float64 if settings is FLOAT64 else torch.float32)


def test_codes_are_numbers_in_sql() -> None:
    """A database may hold codes as numbers."""
    model = linreg_pl.fit(offers(), target="price", exclude=["rent*"], categorical=["code"], max_epochs=2)
    table = new_offers()
    expected = model.predict(table)[:, None]
    assert difference(with_duckdb(model, Rows(table)), expected) <= 1e-12
    assert difference(with_sqlite(model, Rows(table)), expected) <= 1e-12


def test_marks_of_missing_values() -> None:
    draw = np.random.default_rng(1)
    dates = [datetime.date(9999, 12, 31), *(EPOCH + datetime.timedelta(int(day)) for day in draw.integers(0, 999, 30))]
    table = pa.table(
        {
            "x": [-999.0, *draw.normal(5, 1, 30)],
            "t": ["unknown", *draw.choice(["a", "b"], 30)],
            "d": dates,
            "y": draw.normal(0, 1, 31),
        }
    )
    marks = ["-999", "unknown", "9999-12-31"]
    for missing in ("drop", "mean", "indicator"):
        model = linreg_pl.fit(table, target="y", missing_values=marks, missing=missing, categorical=["t"], max_epochs=2)
        assert np.isnan(model.predict(table)[0]) == (missing == "drop")
        assert_all_predict(model, table.select(["x", "t", "d"]))


def test_far_columns_keep_digits() -> None:
    """Numbers far from 0 lose digits in x W + b, so that they are centered."""
    draw = np.random.default_rng(2)
    x = 1e12 + draw.normal(0, 1, (50, 1))
    model = linreg_pl.fit(x, x[:, 0] - 1e12 + draw.normal(0, 0.1, 50))
    assert json.loads(exported(model, "json"))["columns"][0]["center"] == pytest.approx(x.mean(), rel=1e-15)
    assert_all_predict(model, pa.table({"x0": x[:, 0]}))


def test_many_columns() -> None:
    """Databases refuse expressions that are too deep."""
    x = np.random.default_rng(3).normal(0, 1, (20, 1200))
    model = LinearRegression(1200, learning_rate=1e-3, standardize=False, precondition=False)
    rows = Rows(pa.table({f"x{number}": column for number, column in enumerate(x.T)}))
    expected = model.predict(x)[:, None]
    assert difference(with_duckdb(model, rows), expected) <= 1e-12
    assert difference(with_sqlite(model, rows), expected) <= 1e-12


def test_json_equals_coefficients(folder: Path, run: Path) -> None:
    model = LinearRegression.load(folder / run)
    document, coefficients = json.loads(exported(model, "json")), model.coefficients()
    assert document["intercept"] == [coefficients["intercept"]]
    for column in document["columns"]:
        assert column["coefficients"] == [coefficients[column["name"]]]


def test_command_writes_each_format(folder: Path, run: Path) -> None:
    model = LinearRegression.load(folder / run)
    result = linreg("export", str(run), "--format", "sql", cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout == "model.sql predicts 'progression' from 10 features\n"
    assert (folder / "model.sql").read_bytes() == exported(model, "sql")
    checkpoint = str(run / "checkpoints" / "step=9.ckpt")
    assert linreg("export", checkpoint, "--output", "other.json", cwd=folder).code == 0
    assert (folder / "other.json").read_bytes() == exported(model, "json")
    printed = linreg("export", checkpoint, "--format", "json", "--output", "-", cwd=folder)
    assert (printed.code, printed.stdout) == (0, exported(model, "json").decode())
    model.export(folder / "model.onnx")
    assert (folder / "model.onnx").read_bytes() == exported(model, "onnx")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["RUN", "--format", "xml"], "format is 'xml': give json, sql, onnx or pt2"),
        (["RUN", "--output", "model"], "format is '': give json, sql, onnx or pt2"),
        (["RUN"], "export needs a format: give --format json, sql, onnx or pt2"),
        ([], "the following arguments are required: RUN; see linreg export --help"),
        (["nowhere", "--format", "sql"], "nowhere: there is no such checkpoint; a run's are in RUN/checkpoints/"),
        (["examples", "--format", "sql"], "examples: there is no checkpoint in this folder"),
        (["RUN", "--output", "nowhere/model.sql"], "nowhere: nothing can be written there (No such file or directory)"),
        (["RUN", "--output", "examples", "--format", "sql"], "examples: this is no file that can be replaced"),
        (["RUN", "--output", "RUN/checkpoints/step=9.ckpt", "--format", "sql"], "this is no file that can be replaced"),
        (["RUN", "--output", "/proc/model.sql"], "/proc/model.sql: nothing can be written there"),
    ],
)
def test_bad_input(args: list[str], message: str, folder: Path, run: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = linreg("export", *[arg.replace("RUN", str(run)) for arg in args], cwd=folder)
    assert (result.code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.startswith("linreg: ")
    assert result.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before, "nothing is written"


def test_untrained_model() -> None:
    with pytest.raises(InputError, match="no coefficients yet"):
        LinearRegression(num_features=2).export(io.BytesIO(), "json")


def test_onnx_is_not_installed(monkeypatch: pytest.MonkeyPatch, folder: Path, run: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match="pip install onnx"):
        LinearRegression.load(folder / run).export(folder / "nothing.onnx")
    assert not (folder / "nothing.onnx").exists()


def test_onnx_names_must_differ() -> None:
    table = pa.table({"y_predicted": [1.0, 2.0, 4.0], "y": [1.0, 2.0, 3.0]})
    model = linreg_pl.fit(table, target="y", max_epochs=2)
    with pytest.raises(InputError, match="rename the column"):
        model.export(io.BytesIO(), "onnx")


def test_onnx_is_standard(folder: Path, run: Path) -> None:
    graph = onnx.load_from_string(exported(LinearRegression.load(folder / run), "onnx"))
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx.ml"}
    assert [each.name for each in graph.graph.input][:2] == ["age", "sex"]
