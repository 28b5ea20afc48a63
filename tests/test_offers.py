"""What a refusal of `linreg tune` or `linreg path` offers is accepted, and is refused before the rows are read."""

import inspect
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import linreg_pl
from linreg_pl.data.table.module import TableDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.module import LinearRegression
from linreg_pl.tuning.ranges import VARIED
from tests.commands import Result, linreg
from tests.runs import DIABETES
from tests.sabotage import patch

TABLE = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
SHORT = ("--data.val_fraction", "0.2", "--trainer.max_epochs", "2", "--tune.trials", "1")


def no_rows() -> None:
    """Lets a command fail that builds its data."""

    def built(*args: Any, **settings: Any) -> None:
        raise AssertionError("built")

    patch(TableDataModule, "__init__", built)


@pytest.fixture(scope="module")
def accepts(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """Returns a function that runs a command, once however often it is offered."""

    @cache
    def run(*command: str) -> Result:
        return linreg(*command, cwd=tmp_path_factory.mktemp("offered"))

    return run


@pytest.mark.parametrize(
    "command",
    [
        "tune",
        "tune --tune.learning_rate 1",
        "tune --tune.learning_rate auto",
        "tune --tune.learning_rate [-1,0.1,1]",
        "tune --tune.l2 auto",
        "tune --tune.l2 [0.1,-1,0]",
        "tune --tune.momentum 0.9",
        "tune --tune.momentum [1]",
        "tune --tune.schedule linear",
        "tune --tune.tail_averaging 0.5",
        "tune --tune.tail_averaging [2]",
        "tune --tune.batch_size auto",
        "tune --tune.batch_size [0]",
        "tune --tune.max_epochs 5",
        "tune --tune.max_epochs [-1]",
        "tune --tune.l1 [0.1]",
        "tune --tune.momentum [0] --model.l1 0.1",
        "tune --tune.lr [0.1]",
        "tune --momentum [0.5]",
        "path --folds 10",
        "path --seed 10",
        "path --alpha 0.1",
        "path --l2 -1",
        "path --l1 all",
        "path --model.l2 1",
    ],
)
def test_offers_are_accepted(command: str, accepts: Callable[..., Result], tmp_path: Path) -> None:
    name, *flags = command.split()
    common = [*TABLE, *(SHORT if name == "tune" else ())]
    refused = linreg(name, *common, *flags, cwd=tmp_path, before=no_rows)
    assert (refused.code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1), refused.stderr
    flag = re.search(r"(?:did you mean|they are|give|such as) (--[\w.]+)", refused.stderr)
    value = re.search(r"'(\[.*?\])'", refused.stderr)
    if other := re.search(r"linreg (path --l1 auto)", refused.stderr):
        offered = [*other[1].split(), *TABLE]
    else:
        assert flag or value, refused.stderr
        offered = [name, *common, *flags[:-2], flag[1] if flag else flags[-2], value[1] if value else flags[-1]]
    accepted = accepts(*offered)
    assert accepted.code == 0, accepted.stderr


@pytest.mark.parametrize("function", [linreg_pl.path, linreg_pl.subsets])
@pytest.mark.parametrize("name", ["lr", "learningrate", "momentums", "fitintercept", "standardise"])
def test_arguments_offered_in_python(function: Callable[..., Any], name: str) -> None:
    """None that has no effect."""
    with pytest.raises(InputError, match=rf"^{name} is no setting") as refused:
        function(str(DIABETES), "progression", **{name: 1})
    words = re.findall(r"\w+", str(refused.value).partition(":")[2] + str(refused.value).partition(";")[2])
    used = {"fit_intercept", *(("fold_bias", "standardize") if function is linreg_pl.path else ())}
    known = inspect.signature(LinearRegression).parameters.keys()
    assert known & set(words) <= used


@pytest.mark.parametrize(
    "wrong", [{"l2": -1}, {"folds": 1}, {"seed": -1}, {"l1": "auto", "fold_bias": True}, {"l1": [1, 2], "l2": [1, 2]}]
)
def test_no_note_before_a_refusal(wrong: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """A row is left out, which is not said before the argument is refused."""
    table = pd.DataFrame({"a": [1.0, None, *range(40)], "y": range(42)})
    with pytest.raises(InputError):
        linreg_pl.path(table, "y", **wrong)
    assert caplog.text == ""
    linreg_pl.path(table, "y")
    assert "dropped 1 of 42 rows" in caplog.text


@pytest.mark.parametrize("name", [name for name in VARIED if name in inspect.signature(LinearRegression).parameters])
def test_values_of_a_study_are_those_of_a_run(name: str) -> None:
    values = ["constant", "cosine", "one_cycle"] if name == "schedule" else [-1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf]
    for value in values:
        settings: dict[str, Any] = {name: value}
        with nullcontext() if VARIED[name].is_possible(value) else pytest.raises(InputError):
            LinearRegression(1, **settings)
