"""Rows in a second data module are read as the fit has read its own, under any trainer: by names, categories, means."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import linreg_pl
from linreg_pl import ArrayDataModule, InputError, LinearRegression, TableDataModule
from tests.trainers import plain_trainer

RNG = np.random.default_rng(0)
CITY = RNG.choice(["Lima", "Oslo", "Rome"], 90)
HOMES = pd.DataFrame({"size": RNG.uniform(20, 200, 90), "rooms": RNG.integers(1, 6, 90).astype(float), "city": CITY})
HOMES["price"] = HOMES["size"] + 20 * HOMES["rooms"] + 50 * (HOMES["city"] == "Rome") + RNG.standard_normal(90)
HOMES.loc[[3, 50, 60, 80], "size"] = np.nan
FITTED, OTHER = HOMES[:50], HOMES[50:]


@pytest.fixture(scope="module")
def model() -> LinearRegression:
    return linreg_pl.fit(FITTED, target="price", missing="mean")


def rows(frame: pd.DataFrame, **settings: Any) -> TableDataModule:
    return TableDataModule(frame, "price", **{"missing": "mean", **settings})


@pytest.mark.parametrize("is_read_before", [False, True])
@pytest.mark.parametrize("columns", [["size", "rooms", "city", "price"], ["price", "city", "rooms", "size"]])
def test_columns_in_any_order(model: LinearRegression, columns: list[str], is_read_before: bool) -> None:
    """Compares with the residuals at the fit's own mean, from NumPy."""
    data = rows(OTHER[columns])
    if is_read_before:
        assert data.num_features == 5
    (metrics,) = plain_trainer(1).test(model, data, verbose=False)
    W, b = (part.numpy() for part in model.coefficients())
    x = np.column_stack(
        [
            OTHER["size"].fillna(FITTED["size"].mean()),
            OTHER["rooms"],
            *(OTHER["city"] == name for name in ("Lima", "Oslo", "Rome")),
        ]
    ).astype(float)
    assert metrics["test/mse"] == pytest.approx(np.mean((x @ W[:, 0] + b - OTHER["price"]) ** 2), rel=1e-5)


def test_some_categories(model: LinearRegression) -> None:
    few = OTHER[OTHER["city"] == "Oslo"]
    (metrics,) = plain_trainer(1).validate(model, rows(few), verbose=False)
    assert metrics["val/mse"] == pytest.approx(np.mean((model.predict(few) - few["price"]) ** 2), rel=1e-5)


@pytest.mark.parametrize("city", ["Zug", "Oslo"])
def test_data_is_as_before_after_a_test(model: LinearRegression, city: str) -> None:
    """A module that was tested, or refused, fits on its own categories and means."""
    frame = OTHER.assign(city=OTHER["city"].replace("Lima", city))
    data, untouched = rows(frame), rows(frame)
    try:
        plain_trainer(1).test(model, data, verbose=False)
    except InputError:
        assert city == "Zug"
    assert data.feature_names == untouched.feature_names != model.feature_names
    for each in (data, untouched):
        each.setup("solve")
    assert data.triangle.means.tolist() == untouched.triangle.means.tolist()


def test_predict_needs_no_target(model: LinearRegression) -> None:
    batches: Any = plain_trainer(1).predict(model, rows(OTHER[["rooms", "city", "size"]]))
    assert torch.cat(batches)[:, 0].numpy() == pytest.approx(model.predict(OTHER), rel=1e-12)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (rows(OTHER.assign(city=OTHER["city"].replace("Lima", "Zug"))), "'Zug' is none of the 3 categories"),
        (rows(OTHER.rename(columns={"size": "area"})), "there is no column 'size'"),
        (rows(OTHER, features=["rooms", "size", "city"]), "on 'size', 'rooms', .* rows have 'rooms', 'size'"),
        (rows(OTHER, drop_first=True), "the data has 4 features, and num_features is 5"),
    ],
    ids=["unseen category", "renamed column", "other order", "other encoding"],
)
def test_other_columns_are_refused(model: LinearRegression, data: TableDataModule, words: str) -> None:
    with pytest.raises(InputError, match=words):
        plain_trainer(1).test(model, data, verbose=False)


def test_arrays_by_name() -> None:
    X = pd.DataFrame(RNG.standard_normal((40, 2)), columns=["a", "b"])
    y = X["a"] - 3 * X["b"]
    model = linreg_pl.fit(X, y)
    (metrics,) = plain_trainer(1).test(model, ArrayDataModule(X[["b", "a"]], y), verbose=False)
    assert metrics["test/mse"] < 1e-9
    with pytest.raises(InputError, match="there are no columns 'a', 'b'"):
        plain_trainer(1).test(model, ArrayDataModule(X.to_numpy(), y.to_numpy()), verbose=False)


def test_model_can_be_exported_by_torch(model: LinearRegression) -> None:
    exported = torch.export.export(copy.deepcopy(model).eval(), (torch.ones(2, 5),))
    assert torch.equal(exported.module()(torch.ones(2, 5)), model(torch.ones(2, 5)))


def test_empty_path_is_no_empty_table(model: LinearRegression) -> None:
    """A forgotten path is refused, where no rows at all have no predictions."""
    assert len(model.predict([])) == 0
    with pytest.raises(InputError, match="no file is named"):
        model.predict("")


def test_untrained_model_is_refused() -> None:
    """A model that standardizes has no units before it has seen rows."""
    new = LinearRegression(2)
    data = ArrayDataModule(np.eye(4)[:, :2], np.arange(4.0))
    for use in (new.coefficients, lambda: new.predict(np.zeros((1, 2))), lambda: plain_trainer(1).test(new, data)):
        with pytest.raises(InputError, match="no coefficients yet: train it, or load a checkpoint"):
            use()
    assert LinearRegression.tutorial(2).predict(np.zeros((1, 2))).shape == (1,)


def test_other_order_of_an_index_is_refused() -> None:
    X, y = FITTED[["rooms"]], FITTED["price"]
    shuffled = X.sample(len(X), random_state=1)
    with pytest.raises(InputError, match="X and y have the same index in another order"):
        linreg_pl.solve(shuffled, y)
    aligned = linreg_pl.solve(shuffled, y.loc[shuffled.index])
    assert aligned.coefficients["rooms"] == pytest.approx(linreg_pl.solve(X, y).coefficients["rooms"], rel=1e-12)
    assert abs(linreg_pl.solve(shuffled, y.to_numpy()).coefficients["rooms"] - aligned.coefficients["rooms"]) > 1


@pytest.mark.parametrize("new", [[[1.0], [np.nan]], pd.DataFrame({"rooms": ["1", "many"]})], ids=["array", "text"])
def test_missing_predictions_are_counted(new: Any, caplog: pytest.LogCaptureFixture) -> None:
    solution = linreg_pl.solve(FITTED[["rooms"]], FITTED["price"])
    assert list(np.isnan(solution.predict(new))) == [False, True]
    assert "1 of 2 predictions are NaN" in caplog.text
