"""`linreg tune`: predicted and measured losses, trials that are ordinary runs, studies that are killed and resumed."""

import json
import multiprocessing
import os
import random
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from dataclasses import astuple
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.api_pb2 import DATA_TYPE_FLOAT64
from tensorboard.plugins.hparams.backend_context import _sort_and_reduce_to_hparams_limit
from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG, SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import linreg_pl
from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.cli import trials
from linreg_pl.cli.trials import bar, run_trials
from linreg_pl.runs.folder import checkpoints, step_of
from linreg_pl.signals import SIGNALS
from linreg_pl.tuning.prediction import Prediction
from linreg_pl.tuning.study import Study
from tests.commands import Result, Running, linreg, start
from tests.runs import DIABETES, curves, equal, newest
from tests.sabotage import patch

DATA = (
    *("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression"),
    *("--data.val_fraction", "0.2", "--data.batch_size", "50", "--trainer.max_epochs", "8"),
)
STUDY = (
    *("tune", *DATA, "--tune.learning_rate", "[0.02, 0.1, 0.3, 9]", "--tune.l2", "[0.01]"),
    *("--tune.momentum", "[0, 0.5, 0.9]", "--tune.trials", "3"),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Returns the folder of a study that was never interrupted, and what it printed."""
    folder = tmp_path_factory.mktemp("study")
    result = linreg(*STUDY, cwd=folder)
    assert (result.code, result.stderr) == (0, "")
    return folder, result


def allow_children() -> None:
    """Lets a process of the tests start others, as a command of the user's can."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]


def fork_workers() -> None:
    """Lets a study fork its workers, instead of importing the program anew for them, which takes seconds."""
    allow_children()
    torch.set_num_threads(1)  # OpenMP's threads don't outlive a fork: a worker would wait for them forever
    fork = multiprocessing.get_context("fork")
    patch(fork, "set_forkserver_preload", lambda _: None)
    patch(multiprocessing, "get_context", lambda _: fork)
    patch(trials, "start_server", lambda: None)


def signal_the_server() -> None:
    """Sends signals to the process that forks the workers, as a terminal does, while it imports the program."""
    allow_children()
    start = trials.start_server

    def signal_it() -> None:
        for number in SIGNALS:
            os.kill(forkserver._forkserver._forkserver_pid, number)  # type: ignore[attr-defined]

    def signalled() -> None:
        start()
        threading.Timer(0.5, signal_it).start()  # once the first worker waits for it; the imports take seconds

    patch(trials, "start_server", signalled)


def signal_each_end() -> None:
    """Sends each worker a signal while it shuts down, after its trial."""
    fork_workers()
    run = trials.run_trial

    def signalled(study: Study, number: int, train: trials.Train) -> None:
        run(study, number, train)
        threading._register_atexit(os.kill, os.getpid(), signal.SIGINT)  # type: ignore[attr-defined]

    patch(trials, "run_trial", signalled)


def results(folder: Path) -> dict[str, Any]:
    """Returns the results of the first study in a folder."""
    contents: dict[str, Any] = json.loads((folder / "tune_0" / "results.json").read_text())
    return contents


def assert_same_study(one: Path, other: Path) -> None:
    """Compares choices, reports, checkpoints and curves of two studies, to the bit."""
    assert results(one) == results(other)
    assert (one / "tune_0/study.json").read_bytes() == (other / "tune_0/study.json").read_bytes()
    for number in range(3):
        ours, theirs = (folder / f"tune_0/lightning_logs/version_{number}" for folder in (one, other))
        assert (ours / "report.json").read_bytes() == (theirs / "report.json").read_bytes()
        assert curves(ours) == curves(theirs)
    assert len(list((one / "tune_0/lightning_logs").iterdir())) == 3


def test_predicted_beside_measured(study: tuple[Path, Result]) -> None:
    """The trials are those with the least predicted loss, and end within their bands."""
    folder, result = study
    contents = json.loads((folder / "tune_0/study.json").read_text())
    trials, others = contents["trials"], contents["others"]
    means = [each["mean"] for each in [*trials, *others] if not each["diverges"]]
    assert len(trials) == 3
    assert len(trials) + len(others) == 4 * 3
    assert means == sorted(means)
    assert all(trial["low"] <= trial["measured"] <= trial["high"] for trial in results(folder)["trials"])
    lines = result.stdout.splitlines()
    assert lines[0] == "predicting 12 combinations: mean squared error over the held-out rows at the end"
    assert lines[1].split() == ["learning_rate", "l2", "momentum", "predicted", "95%", "band"]
    assert "3 trials, by val/mse" in lines
    measured = [float(line.split()[-2]) for line in lines if line.endswith(tuple(f"version_{k}" for k in range(3)))]
    assert measured == sorted(measured)


def test_predictions_together(study: tuple[Path, Result]) -> None:
    """Each is what it would be alone."""
    data = linreg_pl.TableDataModule(DIABETES, "progression", val_fraction=0.2, batch_size=50)
    data.setup("fit")
    for each in Study.read(study[0] / "tune_0").combinations:
        prediction = Prediction(
            linreg_pl.LinearRegression(data.num_features, **each.settings), data, 8 * data.steps_per_epoch
        )
        assert prediction.diverges() == each.diverges
        assert astuple(prediction.loss()) == pytest.approx(astuple(each.predicted), rel=1e-9)


def test_diverging_combinations_are_not_run(study: tuple[Path, Result]) -> None:
    """The learning rate of 9 is above the bound with each momentum."""
    folder, result = study
    contents = json.loads((folder / "tune_0/study.json").read_text())
    assert not any(trial["diverges"] for trial in contents["trials"])
    rates = [each["settings"]["learning_rate"] for each in contents["others"] if each["diverges"]]
    assert rates == [9, 9, 9]
    assert re.search(r"^ +9 .* diverges$", result.stdout, re.MULTILINE)
    assert "3 of all diverge: their loss over the rows to fit would grow" in result.stdout


def test_best_trial_is_an_ordinary_run(study: tuple[Path, Result], tmp_path: Path) -> None:
    """The command that is printed repeats it to the bit."""
    folder, result = study
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    [command] = re.findall(r"^best +\S+ (.*)$", result.stdout, re.MULTILINE)
    assert linreg(*shlex.split(command), cwd=tmp_path).code == 0
    best = tmp_path / f"tune_0/lightning_logs/version_{results(folder)['best']}"
    assert (tmp_path / "lightning_logs/version_0/report.json").read_bytes() == (best / "report.json").read_bytes()
    assert equal(newest(tmp_path)["state_dict"], newest_of(best)["state_dict"])
    losses = [trial["measured"] for trial in results(folder)["trials"]]
    assert results(folder)["best"] == losses.index(min(losses))


def newest_of(run: Path) -> dict[str, Any]:
    """Loads the newest checkpoint of a run."""
    (folder := run.parent.parent / "as_others").mkdir()
    shutil.copytree(run, folder / "lightning_logs/version_0")
    return newest(folder)


def test_hparams_show_all_trials(study: tuple[Path, Result]) -> None:
    """Each run has every key and metric, the settings that vary as numbers; the tab shows five of them at first."""
    keys, varied = list[list[str]](), list[tuple[float, ...]]()
    numbers = ["learning_rate", "l2", "momentum", "max_epochs", "tail_averaging", "batch_size", "num_rows"]
    for number in range(3):
        events = EventAccumulator(str(study[0] / f"tune_0/lightning_logs/version_{number}")).Reload()
        start, whole = (
            HParamsPluginData.FromString(events.PluginTagToContent("hparams")[tag])
            for tag in (SESSION_START_INFO_TAG, EXPERIMENT_TAG)
        )
        hparams, experiment = start.session_start_info.hparams, whole.experiment
        _sort_and_reduce_to_hparams_limit(experiment)  # as TensorBoard does
        keys.append([info.name for info in experiment.hparam_infos])
        assert set(keys[-1]) == set(hparams)
        metrics = [info.name.tag for info in experiment.metric_infos]
        assert metrics == ["val/mse", "train/loss", "val/rmse", "val/r2", "val/loss", "train/mse"]
        types = {info.name: info.type for info in experiment.hparam_infos}
        assert all(types[name] == DATA_TYPE_FLOAT64 and hparams[name].HasField("number_value") for name in numbers)
        assert hparams["max_epochs"].number_value == 8
        varied.append(tuple(hparams[name].number_value for name in numbers[:3]))
    assert keys[0][:5] == ["l2", "learning_rate", "max_epochs", "momentum", "schedule"]
    assert keys[0] == keys[1] == keys[2]
    assert varied == [tuple(trial["settings"].values()) for trial in results(study[0])["trials"]]


def test_bar_of_half_done_trials(
    study: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One trial has ended, one is at its middle and goes on from there, one has not begun: half of the bar is full."""
    shutil.copytree(study[0] / "tune_0", tmp_path, dirs_exist_ok=True)
    half_done = Study.read(tmp_path)
    steps = half_done.trials[1].steps
    (half_done.run(1) / "report.json").unlink()
    for path in checkpoints(half_done.run(1)):
        path.rename(path.with_name(f"step={step_of(path) * (steps // 2) // steps}.ckpt"))
    shutil.rmtree(half_done.run(2))
    assert [half_done.steps_taken(number) for number in range(3)] == [steps, steps // 2, 0]
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    with bar(half_done, seconds_between_updates=0.01):
        time.sleep(0.2)
    [frame] = {line for line in re.split(r"[\r\n]+", capsys.readouterr().out) if "trial 1/3" in line}
    spans = re.findall(r"\x1b\[([\d;]+)m([━╸╺]+)", frame)
    lengths = [sum(len(text) for style, text in spans if (style == spans[0][0]) is full) for full in (True, False)]
    assert sum(lengths) > 40
    assert abs(lengths[0] - lengths[1]) <= 1
    trained = list[list[str]]()
    run_trials(half_done, lambda args, run: trained.append(args[:2]), workers=1, show_bar=True, stream=sys.stdout)
    assert trained == [["--resume", str(half_done.run(1))], ["--config", str(half_done.settings)]]


def test_two_workers(study: tuple[Path, Result], tmp_path: Path) -> None:
    """Signals do not end the process that forks them."""
    result = linreg(*STUDY, "--tune.workers", "2", cwd=tmp_path, before=signal_the_server)
    assert (result.code, result.stderr) == (0, "")
    ended = re.compile(r"trial \d of 3: ")
    ours, theirs = (ended.sub("trial: ", each.stdout).splitlines() for each in (result, study[1]))
    assert sorted(ours) == sorted(theirs), "trials may end in another order"
    assert ended.findall(result.stdout) == [f"trial {number} of 3: " for number in (1, 2, 3)]
    file = tmp_path / "tune_0/study.json"
    file.write_text(file.read_text().replace('"workers": 2', '"workers": 1'))
    assert_same_study(tmp_path, study[0])


@pytest.mark.parametrize("workers", [1, 2])
def test_kills(workers: int, study: tuple[Path, Result], tmp_path: Path, torture: bool) -> None:
    """A study that is killed five times, anywhere, goes on within the trials under way: same bits, same choice."""
    steps = sum(trial.steps for trial in Study.read(study[0] / "tune_0").trials)
    chance, kills, wanted = random.Random(workers), 0, 100 if torture else 5
    while kills < wanted:
        (folder := tmp_path / str(kills)).mkdir()
        most = min(kills + 5, wanted)
        while not (folder / "tune_0/results.json").exists():
            begun = (folder / "tune_0/study.json").exists()
            if not begun:
                shutil.rmtree(folder / "tune_0", ignore_errors=True)
            command = ("tune", "--resume", "tune_0") if begun else STUDY
            running = start(*command, "--tune.workers", str(workers), cwd=folder, before=fork_workers)
            if kills < most:
                kill_at(running, folder / "tune_0", chance.uniform(0, steps), chance.uniform(0, 0.3))
            result = running.wait()
            assert result.code in (0, -signal.SIGKILL), result.stderr
            kills += result.code != 0 and (folder / "tune_0/study.json").exists()  # else there is nothing to resume
        file = folder / "tune_0/study.json"
        file.write_text(file.read_text().replace(f'"workers": {workers}', '"workers": 1'))
        assert_same_study(folder, study[0])
        shutil.rmtree(folder)


def kill_at(running: Running, folder: Path, steps: float, seconds: float) -> None:
    """Kills a study some seconds after its trials have taken so many steps in all, as their checkpoints say."""
    while running.process.exitcode is None:
        if (folder / "study.json").exists():
            study = Study.read(folder)
            if sum(map(study.steps_taken, range(len(study.trials)))) >= steps:
                break
        time.sleep(0.02)
    running.process.join(seconds)
    running.process.kill()


def save_nothing_that_is_due() -> None:
    """Lets the trials mark their first epoch where they would save a checkpoint."""
    fork_workers()
    patch(EpochCheckpoints, "_save_at_interval", lambda _, trainer: Path(trainer.log_dir, "first_epoch").touch())


@pytest.mark.parametrize("workers", [1, 2])
def test_signal_saves_the_trials(workers: int, tmp_path: Path) -> None:
    """Each trial under way has a checkpoint, though none was due."""
    longer = ("--trainer.max_epochs", "3000", "--tune.trials", "2")
    running = start(*STUDY, "--tune.workers", str(workers), *longer, cwd=tmp_path, before=save_nothing_that_is_due)
    while len(begun := list(tmp_path.glob("tune_0/lightning_logs/version_*/first_epoch"))) < workers:
        assert running.process.exitcode is None
        time.sleep(0.02)
    running.process.terminate()
    stopped = running.wait()
    assert stopped.code == 128 + signal.SIGTERM
    assert re.fullmatch(r"interrupted; to go on: \S+ tune --resume tune_0\n", stopped.stderr)
    assert not list(tmp_path.glob("tune_0/lightning_logs/version_*/report.json"))
    assert [max(map(step_of, checkpoints(mark.parent)), default=0) > 0 for mark in begun] == [True] * workers


def test_signal_while_a_worker_shuts_down(study: tuple[Path, Result], tmp_path: Path) -> None:
    stopped = linreg(*STUDY, "--tune.workers", "2", cwd=tmp_path, before=signal_each_end)
    assert stopped.code == 128 + signal.SIGINT
    assert re.fullmatch(r"interrupted; to go on: \S+ tune --resume tune_0\n", stopped.stderr)
    assert linreg("tune", "--resume", "tune_0", "--tune.workers", "1", cwd=tmp_path).code == 0
    assert results(tmp_path) == results(study[0])


def test_trial_is_not_resumed_alone(study: tuple[Path, Result], tmp_path: Path) -> None:
    """It would change a finished study."""
    shutil.copytree(study[0] / "tune_0", tmp_path / "tune_0")
    run = Path("tune_0/lightning_logs/version_1")
    listed = linreg("runs", "tune_0", cwd=tmp_path).stdout.splitlines()[1:]
    assert all(re.fullmatch(r"predict --ckpt_path \S+ckpt.*", line.partition("linreg ")[2]) for line in listed), listed
    command = re.escape(Study.read(tmp_path / "tune_0").command(1, "").lstrip().replace(f"{tmp_path}/", ""))
    for named in (run, run / f"checkpoints/step={step_of(checkpoints(tmp_path / run)[-1])}.ckpt"):
        refused = linreg("fit", "--resume", str(named), "--trainer.max_epochs", "9", cwd=tmp_path)
        assert (refused.code, refused.stdout) == (2, "")
        pattern = rf"linreg: {run}: this run is a trial, .* \S+ tune --resume tune_0, .* by \S+ {command}\n"
        assert re.fullmatch(pattern, refused.stderr)
    assert_same_study(tmp_path, study[0])


def test_study_in_place_of_a_run(study: tuple[Path, Result], tmp_path: Path) -> None:
    """Both commands that the refusal names are accepted."""
    shutil.copytree(study[0] / "tune_0", tmp_path / "tune_0")
    run, resume = "tune_0/lightning_logs/version_0", "linreg tune --resume tune_0"
    expected = (
        f"tune_0: this is a study, not a run: name a trial's run, such as {run}, or go on with the study by {resume}"
    )
    for command in (
        ("compare",),
        ("report",),
        ("fit", "--resume"),
        ("solve", "--ckpt_path"),
        ("validate", "--ckpt_path"),
    ):
        refused = linreg(*command, "tune_0", cwd=tmp_path)
        assert (refused.code, refused.stdout, refused.stderr) == (2, "", f"linreg: {expected}\n")
    assert linreg("compare", run, cwd=tmp_path).code == 0
    assert linreg(*resume.split()[1:], cwd=tmp_path).stdout.startswith("3 trials, by val/mse\n")
    shutil.rmtree(tmp_path / "tune_0/lightning_logs")
    refused = linreg("compare", "tune_0", cwd=tmp_path)
    assert refused.stderr == f"linreg: tune_0: this is a study, not a run: go on with the study by {resume}\n"


@pytest.mark.parametrize("command", ["fit", "solve", "path"])
def test_study_in_a_config_of_another_command(command: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("tune: {momentum: [0, 0.9], trials: 1}\ntrainer: {max_epochs: 2}\n")
    refused = linreg(command, "--config", "study.yaml", cwd=tmp_path)
    hint = "linreg tune has it: leave it out here, or give that command"
    assert refused.stderr == f"linreg: study.yaml: there is no setting --tune.momentum; {hint}\n"
    if command == "fit":
        assert linreg("tune", *DATA[:6], "--config", "study.yaml", cwd=tmp_path).code == 0


def test_config_of_a_trial(study: tuple[Path, Result], tmp_path: Path) -> None:
    """`path` takes the data and the settings of the model that it uses; `tune` takes all that `fit` prints."""
    config = study[0] / "tune_0/lightning_logs/version_0/config.yaml"
    result = linreg("path", "--config", str(config), "--l2", "[0, 0.1, 1]", cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert "356 rows, 5 folds" in result.stdout
    (tmp_path / "mine.yaml").write_text(linreg("fit", *DATA, "--print_config", cwd=tmp_path).stdout)
    refused = linreg("tune", "--config=mine.yaml", cwd=tmp_path)
    assert (
        "there is nothing to vary: give a range or a list, such as --tune.learning_rate '[1e-10, 1]'" in refused.stderr
    )


def test_resumed_study_keeps_its_settings(study: tuple[Path, Result], tmp_path: Path) -> None:
    shutil.copytree(study[0] / "tune_0", tmp_path / "tune_0")
    result = linreg("tune", "--resume", "tune_0", "--tune.trials=9", cwd=tmp_path)
    assert (result.code, result.stdout) == (2, "")
    assert "--tune.trials=9: a study goes on with its own settings; leave it out, or start another" in result.stderr


@pytest.mark.parametrize("settings", ["model: [\n", "model: {l2: 0}\n", "data: 3\n", "", "data: {class_path: \xe9}\n"])
def test_damaged_settings_are_refused(study: tuple[Path, Result], settings: str, tmp_path: Path) -> None:
    shutil.copytree(study[0] / "tune_0", tmp_path / "tune_0")
    (tmp_path / "tune_0" / "settings.yaml").write_bytes(settings.encode("latin-1"))
    result = linreg("tune", "--resume", "tune_0", cwd=tmp_path)
    assert (result.code, result.stderr) == (2, "linreg: tune_0/settings.yaml: the settings are damaged\n")
