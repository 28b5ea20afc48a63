"""`linreg tune` before its trials: which combinations are predicted, called divergent, or refused."""

import errno
import json
import math
import re
import shlex
import shutil
import signal
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import linreg_pl
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.study_tables import ended_line, predicted_lines, result_lines
from linreg_pl.cli.trials import run_trial
from linreg_pl.data.synthetic import SyntheticDataModule
from linreg_pl.data.table.module import TableDataModule
from linreg_pl.errors import InputError
from linreg_pl.runs.folder import study_of
from linreg_pl.signals import Interrupted
from linreg_pl.training.module import LinearRegression
from linreg_pl.tuning.prediction import Prediction
from linreg_pl.tuning.ranges import TuneSettings
from linreg_pl.tuning.study import Combination, Study
from linreg_pl.tutorial import NUM_EPOCHS
from tests.commands import linreg
from tests.pages import ROOT
from tests.printed import assert_same_print
from tests.runs import DIABETES
from tests.sabotage import patch
from tests.test_tune import DATA, fork_workers, results


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
    assert result.stdout.splitlines()[1].split()[:4] == ["learning_rate", "batch_size", "epochs", "steps"]
    lengths = {tuple(line.split()[1:4]) for line in result.stdout.splitlines() if " … " in line}
    assert lengths == {("40", "2", "8"), ("20", "2", "16")}
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
    assert "the least l2 always has the least loss; only tables can hold some out" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "there is nothing to vary: give a range or a list, such as --tune.learning_rate '[1e-10, 1]'"),
        (
            ("--tune.learning_rate", "[1, 0]"),
            "two numbers are the ends of a range by powers of ten, finite and above 0",
        ),
        (
            ("--tune.learning_rate", "1"),
            "--tune.learning_rate: expected a list of numbers, such as '[1e-10, 1]', found 1",
        ),
        (("--tune.schedule", "fast"), "--tune.schedule: expected a list, such as '[constant, cosine]', found fast"),
        (
            ("--tune.l2", "[0]", "--data.val_fraction", "0"),
            "the least loss; hold some out with --data.val_fraction 0.2",
        ),
        (("--tune.trials", "0", "--tune.momentum", "[0]"), "trials is 0: give --tune.trials a whole number from 1 on"),
        (("--tune.learning_rate", "[100, 200, 300]"), "every combination is predicted to diverge: give smaller"),
        (
            ("--tune.momentum", "[0, 2]"),
            "--tune.momentum: 2.0 is not possible: give numbers from 0 up to below 1, such as '[0, 0.9]'",
        ),
        (("--tune.momentum", "[0]", "--trainer.logger", "false"), "--trainer.logger false keeps no files"),
        (
            ("--tune.momentum", "[0]", "--model.l1", "0.1"),
            "a trial's loss is predicted only without l1: leave it out; linreg path --l1 auto chooses l1",
        ),
        (("--tune.momentum", "[0]", "--trainer.max_time", "00:00:01:00"), "--trainer.max_time ends trials before"),
        (("--tune.momentum", "[0]", "--trainer.default_root_dir", str(DIABETES)), ".csv: a file is in the way"),
        (("--tune.batch_size", "[999]"), "give --tune.batch_size a whole number from 1 to 356"),
    ],
)
def test_refused_studies(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = linreg("tune", *DATA, *flags, cwd=tmp_path)
    assert result.code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_no_study_to_resume(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for name, message in {
        "tune_7": "tune_7: there is no such folder; linreg runs lists the runs",
        "runs": "runs: this folder is no study, it has no study.json; linreg runs lists the studies",
        "auto": "tune_*: there is no interrupted study to resume; linreg runs lists the studies",
    }.items():
        refused = linreg("tune", "--resume", name, cwd=tmp_path)
        assert (refused.code, refused.stdout, refused.stderr) == (2, "", f"linreg: {message}\n")


def test_study_of_changed_rows(tmp_path: Path) -> None:
    """Trials on other rows are refused; on the same rows, the newest study ends as if it had not stopped."""
    table, study = tmp_path / "small.csv", tmp_path / "tune_0"
    rows = [f"{x},7,{x * x % 11}" for x in range(40)]
    table.write_text("\n".join(["x,seven,y", "1,7,", *rows]) + "\n")
    data = ("--data", "TableDataModule", "--data.path", "small.csv", "--data.target", "y", "--trainer.max_epochs", "2")
    varied = ("--tune.momentum", "[0, 0.5, 0.9]", "--model.momentum", "0.3", "--tune.trials", "2")
    whole = linreg("tune", *data, *varied, cwd=tmp_path)
    assert (whole.code, len(whole.stderr.splitlines())) == (0, 3)
    for words in ("--model.momentum 0.3 has no effect", "dropped 1 of 41 rows", "'seven' is constant"):
        assert whole.stderr.count(words) == 1
    expected = results(tmp_path)

    (study / "results.json").unlink()
    shutil.rmtree(study / "lightning_logs/version_1")
    text = table.read_text()
    shutil.copytree(study, tmp_path / "kept")
    shutil.rmtree(study / "lightning_logs")
    for workers, changed in (("1", "abc,7,9"), ("2", "3,7,8"), ("2", "abc,7,9")):
        table.write_text(text.replace("3,7,9", changed))
        refused = linreg("tune", "--resume", "tune_0", "--tune.workers", workers, cwd=tmp_path, before=fork_workers)
        assert (refused.code, refused.stdout) == (2, "")
        assert re.fullmatch("linreg: tune_0: the rows have changed since this study began, .*\n", refused.stderr)
    shutil.rmtree(study)
    (tmp_path / "kept").rename(study)
    assert "\ntune_0" in (listed := linreg("runs", cwd=tmp_path).stdout)
    assert re.search(r"^tune_0 +interrupted .* \S+ tune --resume tune_0$", listed, re.MULTILINE)

    table.write_text(text)
    (tmp_path / "elsewhere").mkdir()
    refused = linreg("tune", "--resume", "../tune_0", cwd=tmp_path / "elsewhere")
    assert (refused.code, refused.stdout) == (2, "")
    message = "../tune_0: small.csv, a file of this study, is not there: resume it where it was begun"
    assert refused.stderr == f"linreg: {message}\n"

    (tmp_path / "tune_1").mkdir()
    (tmp_path / "tune_1/study.json").write_text("{")
    resumed = linreg("tune", "--resume", "auto", "--json", "--tune.workers", "1", cwd=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert [line.partition(":")[0] for line in resumed.stderr.splitlines()] == ["trial 2 of 2"]
    printed = json.loads(resumed.stdout)
    assert printed.pop("study") == "tune_0"
    assert shlex.split(printed.pop("command"))[1:4] == ["fit", "--config", "tune_0/settings.yaml"]
    assert printed == expected == results(tmp_path)
    listed_rows = [line.split()[:5] for line in linreg("runs", cwd=tmp_path).stdout.splitlines()[1:]]
    least = min(trial["measured"] for trial in expected["trials"])
    assert listed_rows == [["tune_0", "finished", "4", "4", f"{least:.6g}"], ["tune_1", "damaged", "-", "-", "-"]]


def test_trials_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """A line counts those that end within the band of the best."""
    settings = TuneSettings(momentum=[0.0, 0.5, 0.9])
    predicted = [Combination({"momentum": m}, 8, 2.0, 5.0 + m, 4.9 + m, 5.1 + m, diverges=False) for m in (0, 0.5, 0.9)]
    study = Study.chosen(tmp_path, "loss", "", settings, predicted)
    assert predicted_lines(replace(study, trials=predicted[:1], others=[]))[0].startswith("predicting 1 combination: ")

    def write(number: int, **report: Any) -> None:
        study.run(number).mkdir(parents=True, exist_ok=True)
        (study.run(number) / "report.json").write_text(json.dumps({"global_step": 8, **report}))

    for number, loss in enumerate([5.0, 5.08, 5.9]):
        write(number, state="finished", exact={"objective": 4.0}, gap=loss - 4.0)
    order = "another order of the rows may rank them otherwise"
    [line] = [line for line in result_lines(study) if line.startswith("close")]
    assert line == f"close    1 other trial within the 95% band of the best: {order}"
    of_whole_batches = replace(study, trials=[replace(each, epochs=8.0) for each in study.trials])
    assert line.partition(":")[0] in result_lines(of_whole_batches), "there is no order of the rows"
    assert ended_line(study, 2) == "momentum 0.9: loss 5.9"
    apart = replace(study, trials=[replace(each, low=4.95, high=5.05) for each in study.trials])
    assert not any(line.startswith("close") for line in result_lines(apart))
    for number in (1, 2):
        write(number, state="diverged")
    unknown = [replace(each, mean=None, low=None, high=None) for each in predicted]
    lines = result_lines(replace(study, trials=unknown))
    assert not [line for line in lines if line.startswith("close")], "trials that have diverged are close to none"


def test_page_shows_the_predictions() -> None:
    """Some rows of the table in docs/choosing.md."""
    page = (ROOT / "docs/choosing.md").read_text()
    shown = dict(re.findall(r"^\| (1e-\d+) \| (.*) \| \S+ \|$", page, re.MULTILINE))
    assert len(shown) == 10
    data = SyntheticDataModule()
    data.setup("fit")
    for rate in ("1e-11", "1e-9", "1e-7"):
        model = LinearRegression.tutorial(learning_rate=float(rate))
        prediction = Prediction(model, data, NUM_EPOCHS * data.steps_per_epoch)
        loss = prediction.loss()
        band = f"{loss.mean:.6g} | {loss.low:.6g} … {loss.high:.6g}"
        assert_same_print("diverges | –" if prediction.diverges() else band, shown[rate])


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
    assert TuneSettings(learning_rate=[1e-8, 1e-10]).values["learning_rate"] == settings.values["learning_rate"]
    assert TuneSettings(l2=[0.5, 0.5]).values["l2"] == [0.5]
    assert settings.values["l2"] == [1, 0]
    assert len(settings.combinations()) == 22
    assert settings.combinations()[1] == {"learning_rate": 1e-10, "l2": 0, "momentum": 0}
    with pytest.raises(InputError, match="at most 2000 are possible"):
        TuneSettings(learning_rate=[1e-200, 1e200]).combinations()
    with pytest.raises(InputError, match="two numbers are the ends of a range by powers of ten"):
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


def interrupted_once_begun() -> None:
    """Lets a signal arrive between the study's files and its first trial."""
    write = Study.write

    def interrupted(self: Study, settings: str) -> None:
        write(self, settings)
        raise Interrupted(signal.SIGTERM)

    patch(Study, "write", interrupted)


def test_signal_before_the_first_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study can be resumed. A run that is made by hand in its folder is no trial; a full disk names no flag."""
    stopped = linreg("tune", *DATA, "--tune.momentum", "[0]", cwd=tmp_path, before=interrupted_once_begun)
    assert stopped.code == 128 + signal.SIGTERM
    assert re.fullmatch(r"interrupted; to go on: \S+ tune --resume tune_0\n", stopped.stderr)
    study = Study.read(tmp_path / "tune_0")
    assert study_of(study.run(0)) == study.folder
    assert study_of(study.run(1)) is None
    study.run(0).mkdir(parents=True)
    with monkeypatch.context() as inside:
        inside.chdir(study.run(0))
        assert study_of(Path()) == study.folder

    def full(args: list[str], run: Path) -> None:
        with writing(run, "--trainer.default_root_dir"):
            raise OSError(errno.ENOSPC, "no space")

    expected = r"version_0: nothing .* \(no space\); make room, then go on .* tune --resume \S+tune_0$"
    with pytest.raises(InputError, match=expected):
        run_trial(study, 0, full)
