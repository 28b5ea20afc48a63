"""`linreg tune` before its trials: which combinations are predicted, called divergent, or refused."""

import math
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import linreg_pl
from linreg_pl.data.table import TableDataModule
from linreg_pl.errors import InputError
from linreg_pl.training.module import LinearRegression
from linreg_pl.tuning.prediction import Prediction
from linreg_pl.tuning.ranges import TuneSettings
from tests.commands import linreg
from tests.sabotage import patch
from tests.test_tune import DATA, results


def one_table_at_a_time() -> None:
    """Lets a command fail that reads a table while it keeps another."""
    setup, kept = TableDataModule.setup, weakref.WeakSet[TableDataModule]()

    def watched(self: TableDataModule, stage: str) -> None:
        assert kept <= {self}, "the last table is still kept"
        kept.add(self)
        setup(self, stage)

    patch(TableDataModule, "setup", watched)


def test_overfitting_is_no_divergence(tmp_path: Path) -> None:
    """Of noise, the loss over the held-out rows grows; each batch size has its table only while it is predicted."""
    random = np.random.default_rng(0)
    noise = pd.DataFrame(random.normal(size=(200, 11)), columns=[*"abcdefghij", "y"])
    noise.to_csv(tmp_path / "noise.csv", index=False)
    data = ("--data", "TableDataModule", "--data.path", "noise.csv", "--data.target", "y", "--data.val_fraction", "0.2")
    varied = ("--tune.learning_rate", "[0.001, 0.03]", "--tune.batch_size", "[40, 20]", "--trainer.max_epochs", "2")
    result = linreg("tune", *data, *varied, "--tune.trials", "1", cwd=tmp_path, before=one_table_at_a_time)
    assert (result.code, result.stderr) == (0, "")
    assert "diverge" not in result.stdout
    [trial] = results(tmp_path)["trials"]
    assert trial["low"] <= trial["measured"] <= trial["high"]


def test_no_best_trial_if_all_diverge(tmp_path: Path) -> None:
    rates = ("--tune.learning_rate", "[1e9, 1e10, 1e11]", "--tune.trials", "1", "--tune.diverging", "true")
    result = linreg("tune", *DATA, *rates, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "\nbest     none: every trial has diverged; give smaller learning rates\n" in result.stdout
    assert results(tmp_path)["best"] is None


def test_without_held_out_rows(tmp_path: Path) -> None:
    """The tutorial's data: the loss is J over all rows, and new noise is part of it."""
    rates = ("--data.num_rows", "100", "--data.batch_size", "50", "--tune.learning_rate", "[1e-7, 1e-4]")
    result = linreg("tune", *rates, "--trainer.max_epochs", "50", "--tune.trials", "2", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    trials = results(tmp_path)["trials"]
    assert [trial["low"] <= trial["measured"] <= trial["high"] for trial in trials] == [True, True]
    assert trials[0]["settings"]["learning_rate"] > 1e-6
    refused = linreg("tune", "--tune.l2", "[0.1, 1]", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    assert "the least l2 always has the least loss; hold some out with --data.val_fraction 0.2" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "there is nothing to vary: give a range or a list, such as --tune.learning_rate"),
        (("--tune.learning_rate", "[1, 0.1]"), "two numbers are a range, whose first is above 0 and below the second"),
        (("--tune.trials", "0", "--tune.momentum", "[0]"), "trials is 0: give --tune.trials a whole number from 1 on"),
        (("--tune.learning_rate", "[100, 200, 300]"), "every combination is predicted to diverge: give smaller"),
        (("--tune.momentum", "[0, 2]"), "momentum is 2.0: give --model.momentum a number from 0 up to below 1"),
        (("--tune.momentum", "[0]", "--trainer.logger", "false"), "--trainer.logger false keeps no files"),
        (
            ("--tune.momentum", "[0]", "--model.l1", "0.1"),
            "the final loss is predicted only without l1",
        ),
        (("--tune.momentum", "[0]", "--trainer.max_time", "00:00:01:00"), "--trainer.max_time ends trials before"),
        (("--resume", "tune_7"), "tune_7: this folder is no study, it has no study.json; start one anew"),
    ],
)
def test_refused_studies(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = linreg("tune", *DATA, *flags, cwd=tmp_path)
    assert result.code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_ranges() -> None:
    settings = TuneSettings(learning_rate=[1e-10, 1e-8], l2=[1.0, 0.0, 1.0], momentum=[0.0])
    assert settings.values["learning_rate"] == [
        1e-10,
        1.58e-10,
        2.51e-10,
        3.98e-10,
        6.31e-10,
        1e-9,
        1.58e-9,
        2.51e-9,
        3.98e-9,
        6.31e-9,
        1e-8,
    ]
    assert settings.values["l2"] == [1, 0]
    assert len(settings.combinations()) == 22
    assert settings.combinations()[1] == {"learning_rate": 1e-10, "l2": 0, "momentum": 0}
    with pytest.raises(InputError, match="at most 2000 are possible"):
        TuneSettings(learning_rate=[1e-200, 1e200]).combinations()
    with pytest.raises(InputError, match="two numbers are a range"):
        TuneSettings(l2=[0.0, math.inf])


@pytest.mark.parametrize("rate", [0.03, 1.5])
def test_growth_of_the_training_error_is_foretold(rate: float) -> None:
    """Runs of noise, by numpy over the rows to fit: those at small rates overfit, those at large ones diverge."""
    noise = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 11)), columns=[*"abcdefghij", "y"])
    settings: dict[str, Any] = {"learning_rate": rate, "precondition": False}
    data = TableDataModule(noise, "y", val_fraction=0.2, batch_size=20)
    data.setup("fit")
    x, y = (torch.cat(parts).double().numpy() for parts in zip(*data.rows(), strict=True))
    foretold = Prediction(LinearRegression(10, **settings), data, 3 * data.steps_per_epoch).diverges()
    model = linreg_pl.fit(noise, target="y", val_fraction=0.2, batch_size=20, max_epochs=3, **settings)
    prediction = np.asarray(model.predict(pd.DataFrame(x, columns=[*"abcdefghij"]))).reshape(-1, 1)
    grows = float(np.square(prediction - y).mean()) > float(np.square(y).mean())
    assert foretold == grows == (rate > 0.1)
