"""Numbers of new rows in another notation than the fitted ones: read unless in doubt, else empty and counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linreg_pl import InputError, TableDataModule
from tests.commands import linreg
from tests.runs import RUN


def point(number: float) -> str:
    return f"{number:.2f}"


def comma(number: float) -> str:
    return f"{number:.2f}".replace(".", ",")


def grouped(number: float) -> str:
    return f"{number:,.2f}"


def german(number: float) -> str:
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


def swiss(number: float) -> str:
    return f"{number:,.2f}".replace(",", "'")


def french(number: float) -> str:
    return f"{number:,.2f}".replace(",", "\u202f").replace(".", ",")


WRITERS = [point, comma, grouped, german, swiss, french]


def state_of(texts: list[str], path: Path, **settings: Any) -> dict[str, Any]:
    """Returns the data's part of a checkpoint that was fitted on a column x of these texts."""
    pd.DataFrame({"x": texts, "y": np.arange(len(texts))}).to_csv(path, index=False, sep="\t")
    data = TableDataModule(str(path), "y", **settings)
    data.setup("fit")
    state: dict[str, Any] = json.loads(json.dumps(data.state_dict()))
    return state


def read(texts: list[str], state: dict[str, Any], path: Path, **settings: Any) -> tuple[list[float], list[str]]:
    """Returns x of new rows, NaN where the prediction is empty, and the remarks."""
    pd.DataFrame({"x": texts, "more": "text"}).to_csv(path, index=False, sep="\t")
    data = TableDataModule(str(path), "y", **settings)
    data.adopt(state)
    data.setup("predict")
    x = [value for batch in data.predict_dataloader() for value in batch[0][:, 0].tolist()]
    return x, data.remarks


FITTED = [1234.5, 70.11, 0.25, -3.75, 12345.67, 999.0]


@pytest.mark.parametrize("new", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("old", WRITERS, ids=lambda writer: writer.__name__)
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_any_notation_is_read(
    old: Callable[[float], str], new: Callable[[float], str], memory_limit: float | None, tmp_path: Path
) -> None:
    state = state_of(list(map(old, FITTED)), tmp_path / "fit.tsv")
    numbers = [70.11, 1234.56, 5.5, 7654321.25, -0.75, 12.0]
    assert read(list(map(new, numbers)), state, tmp_path / "new.tsv", memory_limit=memory_limit)[0] == numbers


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WRITERS),
    st.sampled_from(WRITERS),
    st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=8),
)
def test_never_wrong(
    tmp_path_factory: pytest.TempPathFactory,
    old: Callable[[float], str],
    new: Callable[[float], str],
    hundredths: list[int],
) -> None:
    """Numbers with two decimals show the decimal mark, so that others of the column are never misread."""
    folder = tmp_path_factory.mktemp("tables")
    state = state_of(list(map(old, FITTED)), folder / "fit.tsv")
    numbers = [each / 100 for each in hundredths]
    assert read(list(map(new, numbers)), state, folder / "new.tsv")[0] == numbers


EMPTY = float("nan")
CASES: dict[str, tuple[list[str], list[str], list[float]]] = {  # fitted texts, new texts, what is read
    "comma alone": (["70.11", "5.5"], ["1,234", "2,345", "7"], [EMPTY, EMPTY, 7]),
    "point alone": (["70,11", "5,5"], ["1.234", "5"], [EMPTY, 5]),
    "point of thousands": (["70,11", "5,5"], ["1.234", "1.234.567"], [1234, 1234567]),
    "mixed": (["70.11", "5.5"], ["1,234", "70.11", "70,11", "1.234", "3"], [EMPTY, 70.11, 70.11, EMPTY, 3]),
    "comma shown elsewhere": (["70.11", "5.5"], ["1,234", "70,5"], [1.234, 70.5]),
    "percent": (["57%", "0%", "12%"], ["57", "5 %", "0", "12%"], [57, 5, 0, 12]),
    "fractions": (["57%", "0%", "12%"], ["0.57", "0", "1"], [EMPTY, 0 * EMPTY, EMPTY]),
    "fractions beside percent": (["57%", "0%", "12%"], ["0.57", "57%"], [EMPTY, 57]),
    "percent of a plain number": (["57", "0", "12"], ["57%", "5"], [EMPTY, 5]),
    "currency": (["€ 57", "€ 3.5"], ["57", "3.5 €", "€4", "$ 5"], [57, 3.5, 4, EMPTY]),
    "new currency": (["57", "3.5"], ["€ 57", "€1,003.5"], [57, 1003.5]),
    "two currencies": (["57", "3.5"], ["€ 57", "$ 3", "4"], [EMPTY, EMPTY, 4]),
    "unit": (["57", "3.5"], ["57 kg", "4"], [EMPTY, 4]),
    "thousands": (["10K", "3.5K"], ["10000", "4K", "12 K", "3M", "5k"], [EMPTY, 4, 12, EMPTY, EMPTY]),
    "kilograms": (["57 kg", "3.5 kg"], ["57", "4kg", "4 g"], [EMPTY, 4, EMPTY]),
    "currency code": (["57 EUR", "3.5 EUR"], ["57", "4EUR"], [57, 4]),
    "parentheses": (["57", "3.5"], ["(57)", "4"], [EMPTY, 4]),
    "words": (["57", "3.5"], ["many", "-", "4"], [EMPTY, EMPTY, 4]),
}


@pytest.mark.parametrize("name", CASES)
def test_doubt_is_empty(name: str, tmp_path: Path) -> None:
    fitted, new, expected = CASES[name]
    state = state_of(fitted * 4, tmp_path / "fit.tsv", numbers=["x"])
    x, remarks = read(new, state, tmp_path / "new.tsv")
    np.testing.assert_array_equal(x, expected)
    unread = int(np.isnan(expected).sum()) - new.count("-")
    counts = [int(line.split(" in ")[1].split()[0]) for line in remarks if "not predicted" in line]
    assert sum(counts) == unread


def test_numbers_without_fitted_unit(tmp_path: Path) -> None:
    """A frame of numbers does not show their unit."""
    state = state_of(["10K", "3.5K"] * 9, tmp_path / "fit.tsv", numbers=["x"])
    data = TableDataModule(pd.DataFrame({"x": [10000.0, np.nan, 3.5]}), "y")
    data.adopt(state)
    data.setup("predict")
    assert all(batch[0].isnan().all() for batch in data.predict_dataloader())
    counted = "column 'x' in 2 rows: '10000.0' is not a number with 'K', as in the rows that were fitted"
    assert data.remarks == [f"{counted}; not predicted"]


def test_decimal_settles_it(tmp_path: Path) -> None:
    state = state_of(["70.11", "5.5"], tmp_path / "fit.tsv")
    for decimal, expected in {".": [1234.0, 7.0], ",": [1.234, 7.0]}.items():
        x, remarks = read(["1,234", "7"], state, tmp_path / "new.tsv", decimal=decimal)
        assert x == expected
        assert "'1,234' is read as" in remarks[0]


@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_other_column_shows_comma(memory_limit: float | None, tmp_path: Path) -> None:
    """1.234 is in doubt where another column begins to have decimal commas."""
    fitted = pd.DataFrame({"x": [70.11, 5.5, 3.25], "z": [1.234, 2.345, 9.875], "y": [1, 2, 3]})
    fitted.to_csv(tmp_path / "fit.csv", index=False)
    data = TableDataModule(str(tmp_path / "fit.csv"), "y")
    data.setup("fit")
    new = pd.DataFrame({"x": ["70,11", "5,5", "3"], "z": ["1.234", "2", "5"]})
    new.to_csv(tmp_path / "new.csv", index=False, sep=";")
    other = TableDataModule(str(tmp_path / "new.csv"), "y", memory_limit=memory_limit)
    other.adopt(data.state_dict())
    other.setup("predict")
    x = np.concatenate([batch[0].numpy() for batch in other.predict_dataloader()])
    assert np.isnan(x[0]).any()
    np.testing.assert_array_equal(x[1:], [[5.5, 2], [3, 5]])


def test_validation_reads_alike(tmp_path: Path) -> None:
    """Validation reads the same notations, and refuses what is in doubt."""
    state = state_of(["70,11", "5,5", "1234,5"], tmp_path / "fit.tsv")
    for texts, words in ((["70.11", "1.5"], None), (["1.234", "5"], "'1.234' may have a decimal comma")):
        pd.DataFrame({"x": texts, "y": [1, 2]}).to_csv(tmp_path / "new.tsv", index=False, sep="\t")
        data = TableDataModule(str(tmp_path / "new.tsv"), "y")
        data.adopt(state)
        if words is None:
            data.setup("validate")
            assert np.concatenate([batch[0] for batch in data.val_dataloader()])[:, 0].tolist() == [70.11, 1.5]
        else:
            with pytest.raises(InputError, match=words):
                data.setup("validate")


@pytest.mark.parametrize("missing", ["mean", "indicator"])
def test_unseen_is_not_imputed(missing: str, tmp_path: Path) -> None:
    """Only missing values are imputed, unless the user calls unseen ones missing, too."""
    rows = pd.DataFrame({"x": [1, 2, None, 5] * 5, "c": ["a", "b", "a", None] * 5, "y": range(20)})
    rows.to_csv(tmp_path / "fit.csv", index=False)
    flags = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", "y", "--data.missing", missing)
    result = linreg("fit", *flags, "--trainer.max_epochs", "2", cwd=tmp_path)
    assert result.code == 0, result.stderr
    new = pd.DataFrame({"x": ["1", "", "many", "1e999", "2", "2"], "c": ["a", "b", "a", "a", "new", ""]})
    new.to_csv(tmp_path / "new.csv", index=False)
    command = ("predict", "--ckpt_path", str(RUN / "checkpoints" / "step=2.ckpt"), "--data.path", "new.csv")
    empty = {(): [2, 3, 4], ("--data.unseen", "missing"): [3]}
    for more, rows_without in empty.items():
        result = linreg(*command, *more, cwd=tmp_path)
        assert (result.code, result.stderr) == (0, "")
        predictions = pd.read_csv(tmp_path / "predictions.csv", skip_blank_lines=False)["y_predicted"]
        assert predictions.isna().to_numpy().nonzero()[0].tolist() == rows_without
        consequence = "taken as missing" if more else "not predicted"
        lines = result.stdout.splitlines()
        assert f"NOTE  column 'c' in 1 row: 'new' is a category that the fit has not seen; {consequence}" in lines
        assert f"NOTE  column 'x' in 1 row: 'many' is not a number; {consequence}" in lines
        assert f"6 predictions in predictions.csv, {len(rows_without)} of them empty" in result.stdout
