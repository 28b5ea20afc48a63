"""Frames of pandas and polars: names that are no texts, categories that are no texts, types that Arrow can't hold."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from linreg_pl import TableDataModule
from linreg_pl.errors import InputError

A = np.linspace(0, 1, 12)
FRAME = pd.DataFrame({"a": A, "y": 2 * A})


def names(frame: Any, target: Any = "y") -> list[str]:
    data = TableDataModule(frame, target=target)
    data.setup("fit")
    return data.feature_names


def test_whole_numbers_as_names() -> None:
    assert names(FRAME.set_axis([0, 2], axis=1), target=2) == ["0"]
    data = TableDataModule(FRAME.set_axis([0, 2], axis=1), target=[2], features=[0], weight=0)  # type: ignore[list-item,arg-type]
    assert (data.target_names, data.feature_names) == (["2"], ["0"])


@pytest.mark.parametrize(
    ("band", "categories"),
    [
        (pd.cut(pd.Series(A), [-1, 0.5, 1]), ["(-1.0, 0.5]", "(0.5, 1.0]"]),
        (pd.Categorical([3, 10] * 6), ["10", "3"]),
        (pd.Categorical([True, False] * 6), ["False", "True"]),
    ],
    ids=["intervals", "numbers", "truth values"],
)
def test_categories(band: Any, categories: list[str]) -> None:
    frame = FRAME.assign(band=band)
    assert names(frame) == ["a", *[f"band={each}" for each in categories]]
    assert not isinstance(frame["band"].cat.categories[0], str)  # the user's frame is as before


def test_categories_that_parquet_loses(tmp_path: Path) -> None:
    frame = FRAME.assign(band=pd.Categorical([3, 10] * 6), color=pd.Categorical(["red", "blue"] * 6))
    frame.to_parquet(tmp_path / "t.parquet")
    data = TableDataModule(str(tmp_path / "t.parquet"), "y")
    data.setup("fit")
    [remark] = data.remarks
    assert remark.startswith("column 'band' is read as numbers, though pandas had categories; --data.categorical")
    chosen = TableDataModule(str(tmp_path / "t.parquet"), "y", categorical=["band"])
    chosen.setup("fit")
    assert (chosen.feature_names, chosen.remarks) == (names(frame), [])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FRAME.assign(b=["x", 1, 2.5] * 4), "'b' mixes types"),
        (lambda: FRAME.assign(b=1j * A), "'b' is of type complex128"),
        (lambda: pd.concat([FRAME, FRAME], axis=1), "'a', 'y' names several"),
        (lambda: FRAME.set_axis([1, "1"], axis=1), "'1' names several"),
        (lambda: FRAME.assign(b=pd.Categorical([1, "1"] * 6)), "'b' has different categories with the same text"),
    ],
    ids=["mixed", "complex", "doubled", "1 and '1'", "categories"],
)
def test_refused_frames(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        names(make())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nullable_types_and_indices() -> None:
    assert names(FRAME.convert_dtypes()) == ["a"]
    assert names(FRAME.set_axis(pd.date_range("2020", periods=12))) == ["a"]
    assert names(FRAME.set_axis(list("abcdefghijkl"))) == ["a"]


def test_polars_enums() -> None:
    texts = ["x", "z"] * 6
    for kind in (pl.Categorical, pl.Enum(["z", "x"])):
        assert names(pl.DataFrame({"b": pl.Series(texts, dtype=kind), "y": A})) == ["b=x", "b=z"]


def features_of(frame: Any, target: Any = "y") -> tuple[list[str], list[list[float]]]:
    data = TableDataModule(frame, target, shuffle=False)
    data.setup("predict")
    return data.feature_names, next(iter(data.predict_dataloader()))[0].tolist()


Y = [1.0, 2.0, 4.0]
MONTHS = pd.period_range("2020-01", periods=3, freq="M")
INTERVALS = pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2), (0, 1)])
TYPES: dict[str, tuple[Any, list[str], list[list[float]]]] = {
    "intervals": (INTERVALS, ["a=(0, 1]", "a=(1, 2]"], [[1, 0], [0, 1], [1, 0]]),
    "periods": (MONTHS, ["a"], [[18262], [18293], [18322]]),  # days from 1970-01-01 to the first of the month
    "sparse": (pd.arrays.SparseArray([0, 0, 5.5]), ["a"], [[0], [0], [5.5]]),
    "nullable whole numbers": (pd.array([1, 2, 3], "Int64"), ["a"], [[1], [2], [3]]),
    "nullable truth values": (pd.array([True, False, True], "boolean"), ["a"], [[1], [0], [1]]),
    "decimals": ([Decimal("1.10"), Decimal("2"), Decimal("0.5")], ["a"], [[1.1], [2], [0.5]]),
    "stamps with a zone": (pd.date_range("1970-01-02", periods=3, tz="Etc/GMT-12"), ["a"], [[0.5], [1.5], [2.5]]),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_of_pandas(name: str) -> None:
    values, names, rows = TYPES[name]
    assert features_of(pd.DataFrame({"a": values, "y": Y})) == (names, rows)


def test_names_of_two_levels() -> None:
    frame = pd.DataFrame({("x", "a"): [1.0, 2, 3], ("x", "b"): [3.0, 5, 8], ("t", "y"): Y})
    for target in (("t", "y"), [("t", "y")], "('t', 'y')"):
        assert features_of(frame, target) == (["('x', 'a')", "('x', 'b')"], [[1, 3], [2, 5], [3, 8]])


def test_series_is_refused() -> None:
    with pytest.raises(InputError, match=r"this is a Series; pass path\.to_frame\(\)"):
        TableDataModule(pd.Series(Y, name="y"), "y")
