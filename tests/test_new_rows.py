"""Other tables are read as a checkpoint's table was: its dates, notations, categories, rest, means and indicators."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from linreg_pl import InputError, TableDataModule
from tests.commands import linreg
from tests.runs import RUN

NUM_ROWS = 60


def fitted_rows() -> pd.DataFrame:
    """Returns a clean table."""
    generator = np.random.default_rng(0)
    x = generator.integers(-9999, 9999, NUM_ROWS) / 100
    day = pd.Timestamp("2023-12-01") + pd.to_timedelta(generator.integers(0, 500, NUM_ROWS), "D")
    city = generator.choice(["Ulm", "Köln", "Graz", "Linz", "Bonn"], NUM_ROWS, p=[0.4, 0.3, 0.2, 0.05, 0.05])
    discount, y = generator.integers(0, 30, NUM_ROWS), generator.normal(size=NUM_ROWS).round(3)
    return pd.DataFrame({"x": x, "day": day, "city": city, "discount": discount, "y": y})


def office(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the texts of an export with decimal commas."""
    commas = {name: [str(value).replace(".", ",") for value in frame[name]] for name in ("x", "y")}
    percent = [f"{value}%" for value in frame.discount]
    return frame.assign(**commas, day=frame.day.dt.strftime("%d.%m.%Y"), discount=percent)


def written(path: Path, frame: pd.DataFrame, sep: str = ";") -> str:
    frame.to_csv(path, index=False, sep=sep)
    return str(path)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, Any]:
    """Returns the data's part of a checkpoint."""
    texts = office(fitted_rows())
    texts.loc[[3, 8], "x"] = "-"
    texts.loc[[5], "city"] = ""
    path = written(tmp_path / "fit.csv", texts)
    data = TableDataModule(path, "y", missing="indicator", max_categories=4, rare="other")
    data.setup("fit")
    stored: dict[str, Any] = json.loads(json.dumps(data.state_dict()))  # plain values
    return stored


def rows(path: Any, state: dict[str, Any], stage: str = "predict", **settings: Any) -> np.ndarray:
    """Returns x of other rows: (n, D)."""
    settings = {"missing": "indicator"} | settings
    data = TableDataModule(path, "y", **settings)
    data.adopt(state)
    data.setup(stage)
    loaders = {"predict": data.predict_dataloader, "validate": data.val_dataloader, "test": data.test_dataloader}
    return np.concatenate([batch[0].numpy() for batch in loaders[stage]()])


def expected(frame: pd.DataFrame, state: dict[str, Any]) -> np.ndarray:
    """Returns the columns of x by hand."""
    names = state["design"]["categories"]["city"]
    assert names == ["Graz", "Köln", "Ulm", "other"]
    kept = frame.city.where(frame.city.isin(names) | frame.city.isna(), "other")
    means = dict(zip(state["feature_names"], state["design"]["means"], strict=True))
    days = (frame.day - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    columns = {"x": frame.x, "x is missing": frame.x.isna(), "day": days}
    columns |= {f"city={name}": (kept == name).astype(float).where(kept.notna()) for name in names}
    columns |= {"city is missing": kept.isna(), "discount": frame.discount}
    assert list(columns) == state["feature_names"]
    return np.column_stack([columns[name].astype(float).fillna(means[name]) for name in columns])


SAME = {
    "%d.%m.%Y": ";",
    "%Y-%m-%d": ",",
    "%d %b %Y": "\t",
    "%d/%m/%Y": "|",
    "%Y-%m-%d 00:00": ";",
}


@pytest.mark.parametrize("stage", ["predict", "validate", "test"])
@pytest.mark.parametrize("date", SAME)
def test_other_form(date: str, stage: str, state: dict[str, Any], tmp_path: Path) -> None:
    """Column order, delimiter and date format may differ; so may further columns, and the memory used."""
    frame = fitted_rows().iloc[::-2].reset_index(drop=True)
    frame.loc[2, "x"] = np.nan
    frame.loc[[1, 4], "city"] = ["Wien", None]
    texts = office(frame).assign(day=frame.day.dt.strftime(date), more="?")
    texts.loc[2, "x"] = "n/a"
    texts = texts[["y", "more", "discount", "city", "day", "x"]]
    path = written(tmp_path / "new.csv", texts, SAME[date])
    for memory_limit in (None, 0.0):
        x = rows(path, state, stage, missing=None, memory_limit=memory_limit)
        np.testing.assert_allclose(x, expected(frame, state), rtol=1e-6)


def test_parquet_types(state: dict[str, Any], tmp_path: Path) -> None:
    """Numbers and dates of a typed table need no notation."""
    frame = fitted_rows()
    frame.to_parquet(tmp_path / "new.parquet")
    for path in (str(tmp_path / "new.parquet"), frame):
        np.testing.assert_allclose(rows(path, state), expected(frame, state), rtol=1e-6)


@pytest.fixture
def plain_state() -> dict[str, Any]:
    """Returns the same for a fit that has no rest and no means."""
    frame = fitted_rows()
    data = TableDataModule(frame.assign(city=frame.city.replace({"Linz": "Ulm", "Bonn": "Ulm"})), "y")
    data.setup("fit")
    return data.state_dict()


ODD: dict[str, tuple[str, Any, str]] = {  # column, its value in row 7, words of the refusal
    "category": ("city", "Wien", "column 'city', row 7: 'Wien' is none of the 3 categories"),
    "text": ("x", "twelve", "column 'x', row 7: 'twelve' is not a number"),
}


@pytest.mark.parametrize("name", ODD)
def test_unseen(name: str, plain_state: dict[str, Any], tmp_path: Path) -> None:
    """Predictions of such rows are missing; validation and the test refuse them, unless told otherwise."""
    column, value, words = ODD[name]
    frame = fitted_rows().head(30)
    frame["city"] = frame.city.replace({"Linz": "Ulm", "Bonn": "Ulm"})
    odd = frame.astype({column: object})
    odd.loc[6, column] = value
    path = written(tmp_path / "new.csv", odd, ",")
    whole = rows(frame, plain_state, missing="error")
    for memory_limit in (None, 0.0):
        settings: dict[str, Any] = {"missing": "error", "memory_limit": memory_limit}
        for unseen in (None, "missing"):
            x = rows(path, plain_state, unseen=unseen, **settings)
            assert np.isnan(x).any(axis=1).nonzero()[0].tolist() == [6]
            np.testing.assert_array_equal(np.delete(x, 6, 0), np.delete(whole, 6, 0))
        for stage in ("predict", "validate", "test"):
            with pytest.raises(InputError, match=re.escape(words)):
                rows(path, plain_state, stage, unseen="error", **settings)
        for stage in ("validate", "test"):
            with pytest.raises(InputError, match=re.escape(words)):
                rows(path, plain_state, stage, **settings)
            x = rows(path, plain_state, stage, unseen="missing", **settings | {"missing": "drop"})
            np.testing.assert_array_equal(x, np.delete(whole, 6, 0))
    if name == "category":
        with pytest.raises(InputError, match=r"--data\.rare other"):
            rows(path, plain_state, unseen="other", missing="error")


def test_predictions_keep_all_rows(plain_state: dict[str, Any], tmp_path: Path) -> None:
    """Any value that can't be used leaves its row without a prediction."""
    frame = fitted_rows().assign(city="Ulm").head(12).astype(object)
    frame["day"] = frame.day.astype(str).str[:10].astype(object)
    faults = {1: ("x", ""), 2: ("x", "-"), 3: ("city", ""), 4: ("day", "soon"), 5: ("discount", "1e999"), 6: ("x", "?")}
    for row, (column, value) in faults.items():
        frame.loc[row, column] = value
    x = rows(written(tmp_path / "new.csv", frame, ","), plain_state, missing="error")
    assert len(x) == 12
    assert np.isnan(x).any(axis=1).nonzero()[0].tolist() == list(faults)


def test_commands_share_the_readings(tmp_path: Path) -> None:
    """A fit's export is predicted, validated, tested and resumed from files in another form."""
    frame = fitted_rows()
    written(tmp_path / "fit.csv", office(frame))
    flags = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", "y")
    more = ("--data.max_categories", "4", "--data.rare", "other", "--data.val_fraction", "0.2")
    first = linreg("fit", *flags, *more, "--trainer.max_epochs", "3", cwd=tmp_path)
    assert first.code == 0, first.stderr
    checkpoint = ("--ckpt_path", str(RUN / "checkpoints" / "step=3.ckpt"))
    again = frame.assign(day=frame.day.dt.strftime("%d %B %Y"))[["city", "discount", "y", "day", "x"]]
    again = again.assign(**{name: office(frame)[name] for name in ("x", "y", "discount")})
    written(tmp_path / "same.csv", again, "\t")
    again.loc[[2, 5], "x"] = ""
    again.loc[[7], "city"] = "Wien"
    again.loc[[9], "day"] = "soon"
    written(tmp_path / "new.csv", again, "\t")
    predictions = []
    for name, empty in {"fit.csv": [], "same.csv": [], "new.csv": [2, 5, 9]}.items():
        result = linreg("predict", *checkpoint, "--data.path", name, cwd=tmp_path)
        assert (result.code, result.stderr) == (0, "")
        counted = f", {len(empty)} of them empty" if empty else "\n"
        assert result.stdout.startswith(f"{NUM_ROWS} predictions in predictions.csv{counted}")
        predictions.append(pd.read_csv(tmp_path / "predictions.csv")["y_predicted"].to_numpy())
        assert np.isnan(predictions[-1]).nonzero()[0].tolist() == empty
    np.testing.assert_array_equal(predictions[1], predictions[0])
    rest = np.delete(np.arange(NUM_ROWS), [2, 5, 7, 9])
    np.testing.assert_array_equal(predictions[2][rest], predictions[0][rest])
    for command in ("validate", "test"):
        results = [linreg(command, *checkpoint, "--data.path", name, cwd=tmp_path) for name in ("fit.csv", "same.csv")]
        assert [result.code for result in results] == [0, 0], results[1].stderr
        assert results[0].stdout.replace("fit.csv", "same.csv") == results[1].stdout
    resumed = ("--data.path", "same.csv", "--trainer.max_epochs", "5", "--allow_changed_settings", "true")
    result = linreg("fit", "--resume", str(RUN), *resumed, cwd=tmp_path)
    assert result.code == 0, result.stderr
    checkpoint = ("--ckpt_path", str(RUN / "checkpoints" / "step=5.ckpt"))
    results = [linreg("test", *checkpoint, "--data.path", name, cwd=tmp_path) for name in ("fit.csv", "same.csv")]
    assert results[0].stdout.replace("fit.csv", "same.csv") == results[1].stdout != ""


DATES = {  # how the fitted and the new rows write the days
    "ISO, then points": ("%Y-%m-%d", "%d.%m.%Y"),
    "ISO, then month first": ("%Y-%m-%d", "%m/%d/%Y"),
    "day first, then month first": ("%d/%m/%Y", "%m/%d/%Y"),
    "month first, then points": ("%m/%d/%Y", "%d.%m.%Y"),
    "day first, then ISO": ("%d.%m.%Y", "%Y-%m-%d"),
    "day first, then names": ("%d.%m.%Y", "%d %B %Y"),
}


@pytest.mark.parametrize("stage", ["predict", "validate", "test"])
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize(("fitted", "new"), DATES.values(), ids=DATES)
def test_dates_in_another_format(fitted: str, new: str, memory_limit: float | None, stage: str, tmp_path: Path) -> None:
    """Dates that are in one order throughout are read in it, and a note says so."""
    table = fitted_rows()[["day", "y"]]
    data = TableDataModule(written(tmp_path / "fit.csv", table.assign(day=table.day.dt.strftime(fitted))), "y")
    data.setup("fit")
    state = json.loads(json.dumps(data.state_dict()))
    path = written(tmp_path / "new.csv", table.assign(day=table.day.dt.strftime(new)))
    x = rows(path, state, stage, missing=None, memory_limit=memory_limit)[:, 0]
    np.testing.assert_array_equal(x, (table.day - pd.Timestamp(0)) / pd.Timedelta(days=1))
    other = TableDataModule(path, "y")
    other.adopt(state)
    read_all(other, stage)
    is_order_new = new in ("%d.%m.%Y", "%m/%d/%Y")
    assert len(other.remarks) == is_order_new
    if is_order_new:
        first = next(day for day in table.day if day.day > 12)
        words = f"column 'day' is not written as in the rows that were fitted: '{first.strftime(new)}' is read as"
        assert other.remarks == [f"{words} {first.date()}"]


@pytest.mark.parametrize("stage", ["predict", "validate"])
def test_dates_in_several_orders_are_refused(stage: str, tmp_path: Path) -> None:
    """A date with day and month swapped says that the others may be swapped, too."""
    table = fitted_rows()[["day", "y"]]
    data = TableDataModule(written(tmp_path / "fit.csv", table.assign(day=table.day.dt.strftime("%d/%m/%Y"))), "y")
    data.setup("fit")
    days = [*table.day.dt.strftime("%d/%m/%Y"), "12/31/2024"]
    path = written(tmp_path / "new.csv", pd.DataFrame({"day": days, "y": range(len(days))}))
    new = TableDataModule(path, "y")
    new.adopt(data.state_dict())
    with pytest.raises(InputError, match=r"new\.csv: column 'day', row \d+: '12/31/2024' has day and month in another"):
        read_all(new, stage)


@pytest.mark.parametrize("day_first", [None, True, False])
def test_date_that_may_be_swapped(day_first: bool | None, tmp_path: Path) -> None:
    """01/02/2024 is read after ISO dates only if a flag says how; else it has no prediction."""
    table = fitted_rows()[["day", "y"]]
    data = TableDataModule(written(tmp_path / "fit.csv", table.assign(day=table.day.dt.strftime("%Y-%m-%d"))), "y")
    data.setup("fit")
    path = written(tmp_path / "new.csv", pd.DataFrame({"day": ["01/02/2024", "03/04/2024"]}))
    state = json.loads(json.dumps(data.state_dict()))
    x = rows(path, state, missing=None, day_first=day_first)[:, 0]
    days = {True: ["2024-02-01", "2024-04-03"], False: ["2024-01-02", "2024-03-04"], None: ["NaT", "NaT"]}
    np.testing.assert_array_equal(x, (pd.to_datetime(days[day_first]) - pd.Timestamp(0)) / pd.Timedelta(days=1))


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_unseen_value_in_a_row_that_is_dropped(stage: str, tmp_path: Path) -> None:
    """What is dropped for another missing value need not be known; what is complete must be."""
    fitted = pd.DataFrame({"c": ["a", "b"] * 10, "x": [1.0, 2, 3, np.nan] * 5, "d": ["u", "v"] * 10, "y": range(20)})
    data = TableDataModule(written(tmp_path / "fit.csv", fitted), "y")
    data.setup("fit")
    state = json.loads(json.dumps(data.state_dict()))
    new = pd.DataFrame({"c": ["a", "new", "b"], "x": ["1", "", "3"], "d": ["u", "new", "v"], "y": [1, 2, 3]})
    x = rows(written(tmp_path / "new.csv", new), state, stage, missing="drop")
    np.testing.assert_array_equal(x[:, data.feature_names.index("x")], [1, 3])
    both = pd.DataFrame({"c": ["a", "b", "new"], "x": ["1", "", "3"], "d": ["u", "v", "w"], "y": [1, 2, 3]})
    words = "column 'c', row 3: 'new' is none of the 2 categories"
    with pytest.raises(InputError, match=words):
        rows(written(tmp_path / "both.csv", both), state, stage, missing="drop")


def read_all(data: TableDataModule, stage: str) -> None:
    """Reads all rows of a stage."""
    data.setup(stage)
    for _ in data.predict_dataloader() if stage == "predict" else data.val_dataloader():
        pass


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize(
    ("texts", "expected", "remarks"),
    [
        (["True", "False"], [1, 0], []),
        (
            ["True", "False", "maybe", "TRUE"],
            [1, 0, np.nan, 1],
            ["column 'b' in 1 row: 'maybe' is not a truth value; not predicted"],
        ),
        (["true", "?", "False"], [1, np.nan, 0], []),
        (["1", "0", "", " true"], [1, 0, np.nan, 1], []),
    ],
)
def test_truth_values_as_texts(
    texts: list[str], expected: list[float], remarks: list[str], memory_limit: float | None, tmp_path: Path
) -> None:
    """One odd text makes a column of texts of the truth values; they are 1 and 0 still."""
    fitted = written(tmp_path / "fit.csv", pd.DataFrame({"b": [True, False] * 10, "y": range(20)}))
    data = TableDataModule(fitted, "y")
    data.setup("fit")
    new = TableDataModule(written(tmp_path / "new.csv", pd.DataFrame({"b": texts, "more": 1})), "y")
    new.adopt(json.loads(json.dumps(data.state_dict())))
    new.setup("predict")
    x = [value for batch in new.predict_dataloader() for value in batch[0][:, 0].tolist()]
    np.testing.assert_array_equal(x, expected)
    assert new.remarks == remarks


def test_truth_word_among_numbers(tmp_path: Path) -> None:
    data = TableDataModule(written(tmp_path / "fit.csv", pd.DataFrame({"x": [0.5, 2] * 10, "y": range(20)})), "y")
    data.setup("fit")
    new = TableDataModule(written(tmp_path / "new.csv", pd.DataFrame({"x": ["0.5", "True"]})), "y")
    new.adopt(json.loads(json.dumps(data.state_dict())))
    new.setup("predict")
    x = [value for batch in new.predict_dataloader() for value in batch[0][:, 0].tolist()]
    np.testing.assert_array_equal(x, [0.5, np.nan])


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0", "  unknown"])
@pytest.mark.parametrize("stage", ["predict", "validate"])
def test_blank_is_no_category(blank: str, stage: str, tmp_path: Path) -> None:
    """Fitted and new rows take blanks, and marks with blanks around them, for missing values alike."""
    fitted = pd.DataFrame({"c": [*["a", "b"] * 10, blank], "y": range(21)})
    new = pd.DataFrame({"c": ["b", blank, "a"], "y": range(3)})
    for first, second in (
        (fitted, new),
        (written(tmp_path / "fit.csv", fitted), written(tmp_path / "new.csv", new)),
    ):
        data = TableDataModule(first, "y", missing_values=["unknown"])
        data.setup("fit")
        assert data.remarks == ["dropped 1 of 21 rows with a missing value: 'c' in 1"]
        state = json.loads(json.dumps(data.state_dict()))
        x = rows(second, state, stage, missing="drop", missing_values=["unknown"])
        expected = [[0, 1], [np.nan, np.nan], [1, 0]]
        np.testing.assert_array_equal(x, expected if stage == "predict" else [expected[0], expected[2]])


@pytest.mark.parametrize("fitted_zone", [None, "UTC"])
@pytest.mark.parametrize("new_zone", [None, "Europe/Berlin"])
def test_time_zones(fitted_zone: str | None, new_zone: str | None) -> None:
    """Time stamps with and without a zone are no dates of the same kind, in frames as in texts."""
    times = pd.Series(pd.date_range("2024-01-30 12:30", periods=40, freq="9h"))
    fitted = pd.DataFrame({"t": times if fitted_zone is None else times.dt.tz_localize(fitted_zone), "y": range(40)})
    data = TableDataModule(fitted, "y")
    data.setup("fit")
    moved = times if new_zone is None else times.dt.tz_localize(new_zone)
    texts = moved.map(lambda time: time.isoformat())
    results = []
    for column in (moved, texts):
        new = TableDataModule(pd.DataFrame({"t": column}), "y")
        new.adopt(data.state_dict())
        new.setup("predict")
        results.append(np.concatenate([batch[0].numpy() for batch in new.predict_dataloader()])[:, 0])
        assert bool(new.remarks) == ((fitted_zone is None) != (new_zone is None))
    np.testing.assert_array_equal(results[0], results[1])
    if (fitted_zone is None) == (new_zone is None):
        seconds = [(each if each.tzinfo else each.tz_localize("UTC")).timestamp() for each in moved]
        np.testing.assert_allclose(results[0], np.array(seconds) / 86_400, rtol=1e-12)
    else:
        assert np.isnan(results[0]).all()
