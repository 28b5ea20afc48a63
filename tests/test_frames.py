"""Frames of pandas and polars: names that are no texts, categories that are no texts, types that Arrow can't hold."""

from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FRAME.assign(b=["x", 1, 2.5] * 4), "'b' mixes types"),
        (lambda: FRAME.assign(b=1j * A), "'b' is of type complex128"),
        (lambda: FRAME.assign(b=pd.arrays.SparseArray(A)), "'b' is sparse"),
        (lambda: pd.concat([FRAME, FRAME], axis=1), "'a', 'y' names several"),
        (lambda: FRAME.set_axis([1, "1"], axis=1), "'1' names several"),
        (lambda: FRAME.assign(b=pd.Categorical([1, "1"] * 6)), "'b' has different categories with the same text"),
    ],
    ids=["mixed", "complex", "sparse", "doubled", "1 and '1'", "categories"],
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
