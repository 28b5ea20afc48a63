"""Chooses settings by trials: `linreg tune`.

Predicts the loss with which a run of each combination of settings ends, prints the predictions, runs the best of them,
and prints what was predicted beside what was measured.
"""

import gc
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from linreg_pl.cli.data_classes import data_flags, default_of
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.fit import with_settings
from linreg_pl.cli.job import Job
from linreg_pl.cli.notes import print_notes
from linreg_pl.cli.run_length import planned_length, total_steps
from linreg_pl.cli.study_tables import predicted_lines, result_lines
from linreg_pl.cli.trials import Train, run_trials
from linreg_pl.cli.typed import as_typed
from linreg_pl.core.parallel import on_one_thread
from linreg_pl.core.statistics import statistics
from linreg_pl.data.module import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.runs.folder import STUDY
from linreg_pl.runs.lock import lock
from linreg_pl.signals import Interrupted
from linreg_pl.training.data_warnings import data_warnings
from linreg_pl.tuning.listing import new_folder
from linreg_pl.tuning.prediction import Prediction
from linreg_pl.tuning.ranges import VARIED, TuneSettings
from linreg_pl.tuning.study import Combination, Study


def tune(job: Job, train: Train) -> None:
    """Predicts, runs the trials, and prints the table and the best trial's command; resumes a study if one is named.

    Raises:
        InputError: the settings can't be used.
        Interrupted: a signal ended the study; it can be resumed.
    """
    study, settings = (Study.read(Path(job.resume)), None) if job.resume else begun(job)
    is_json: bool = job.settings.json
    try:
        with writing(study.folder, "--trainer.default_root_dir"):
            if settings is not None:
                study.write(settings)
        with lock(study.folder):
            run_trials(
                study,
                train,
                workers=job.settings.tune.workers,
                show_bar=job.bar is not None,
                stream=sys.stderr if is_json else sys.stdout,
            )
            with writing(study.folder, "--trainer.default_root_dir"):
                study.write_results()
    except Interrupted:
        if (study.folder / STUDY).is_file():
            print(f"interrupted; to go on: {study.resume_command(as_typed('linreg'))}", file=sys.stderr)
        raise
    if is_json:
        best = study.best()
        command = None if best is None else study.command(best, as_typed("linreg"))
        print(json.dumps({"study": str(study.folder), **study.results(), "command": command}, indent=2))
    else:
        print(*result_lines(study), sep="\n")


def begun(job: Job) -> tuple[Study, str]:
    """Predicts all combinations, prints the predictions, and returns the new study and its trials' settings, as YAML.

    Raises:
        InputError: the settings can't be used, or all combinations would diverge.
    """
    settings: TuneSettings = job.settings.tune
    combinations = settings.combinations()
    require_comparable(job)
    print_notes(without_effect(job))
    with flags_of_study(settings):
        predicted, fingerprint = predictions(job, combinations)
    loss = "val/mse" if job.data.holds_out_rows else "loss"
    root = Path(job.settings.trainer.default_root_dir)
    study = Study.chosen(root, loss, fingerprint, settings, predicted)
    if not job.settings.json:
        print(*predicted_lines(study), sep="\n")
    if not study.trials:
        raise InputError(
            "every combination is predicted to diverge: give smaller learning rates, or run them with"
            " --tune.diverging true"
        )
    config = job.config.clone()
    for name in ("tune", "json"):
        config.pop(name)
    config.model.l2 = job.model.l2 if "l2" not in settings.values else config.model.l2  # chosen once, if it is auto
    with writing(root, "--trainer.default_root_dir"):
        return replace(study, folder=new_folder(root)), job.parser.dump(config, skip_unset=False)


def require_possible(config: Namespace) -> None:
    """Refuses settings of a new study before the rows are read.

    Raises:
        InputError: a value is out of range, there is nothing to vary, or trials could not be compared.
    """
    TuneSettings(**vars(config.tune)).combinations()
    trainer = config.trainer
    if trainer.max_time is not None:
        raise InputError("--trainer.max_time ends trials before their predicted end: leave it out, or vary max_epochs")
    if trainer.logger is False or trainer.fast_dev_run:
        flag = "--trainer.logger false" if trainer.logger is False else "--trainer.fast_dev_run"
        raise InputError(f"{flag} keeps no files, and trials are compared by theirs: leave it out")
    if config.model.l1:
        raise InputError(
            "--model.l1: a trial's loss is predicted only without l1: leave it out; linreg path --l1 auto chooses l1"
        )


def require_comparable(job: Job) -> None:
    """Refuses data with which trials could not be compared.

    Raises:
        InputError: it holds no rows out.
    """
    if job.data.holds_out_rows:
        return
    if "l2" in job.settings.tune.values:
        can_hold_out = "data.val_fraction" in data_flags(type(job.data))
        remedy = "hold some out with --data.val_fraction 0.2" if can_hold_out else "only tables can hold some out"
        raise InputError(f"--tune.l2: without held-out rows, the least l2 always has the least loss; {remedy}")
    if not job.settings.exact:
        raise InputError("tune measures the exact solution's gap, and --exact is false: leave it out, or hold rows out")


def without_effect(job: Job) -> Iterator[str]:
    """Yields a note for each setting that the study varies, and that is also given as one value."""
    for name in job.settings.tune.values:
        flag = VARIED[name].flag
        part, _, key = flag.removeprefix("--").partition(".")
        settings = job.config[part].init_args if part == "data" else job.config[part]
        default = default_of(type(job.data), key) if part == "data" else job.parser.get_default(f"{part}.{key}")
        if settings[key] != default:
            yield f"{flag} {settings[key]} has no effect: --tune.{name} has the values to try"


@contextmanager
def flags_of_study(settings: TuneSettings) -> Iterator[None]:
    """Names the flags of the study in messages on values that these flags give."""
    try:
        yield
    except InputError as error:
        message = str(error)
        for name in settings.values:
            message = message.replace(VARIED[name].flag, f"--tune.{name}")
        raise InputError(message, error.flags) from error


def predictions(job: Job, combinations: Sequence[dict[str, Any]]) -> tuple[list[Combination], str]:
    """Returns the combinations with their predicted losses, and the checksum of the rows; prints notes on the rows.

    Raises:
        InputError: the data or a setting can't be used.
    """
    predicted, fingerprint = list[Combination](), ""
    for batch_size in dict.fromkeys(each.get("batch_size") for each in combinations):
        predictor = Predictor(job, data_of(job, batch_size))
        settings = [each for each in combinations if each.get("batch_size") == batch_size]
        predictions = [predictor.prediction(each) for each in settings]
        if not predicted:
            predictor.print_notes()
        Prediction.conclude(predictions)
        predicted += map(combination, settings, predictions)
        fingerprint = predictor.fingerprint
        del predictor, predictions  # before the next table is read: one is in memory at a time
        gc.collect()  # Lightning's `save_hyperparameters` leaves each data module in a cycle of references
    return predicted, fingerprint


def data_of(job: Job, batch_size: int | None) -> BatchDataModule:
    """Returns the data with a batch size, set up for fit; with None, the data as it is."""
    data = job.data
    if batch_size is not None:
        data = type(data)(**{**vars(job.config.data.init_args), "batch_size": batch_size})
        data.watch = job.data.watch
    data.setup("fit")
    return data


class Predictor:
    """Predicts combinations of equal batches; those with an equal J share their problem."""

    def __init__(self, job: Job, data: BatchDataModule) -> None:
        self._job, self._data = job, data
        self._twins: dict[float, Prediction] = {}  # by l2

    @property
    def fingerprint(self) -> str:
        """Returns the checksum of the rows."""
        return self._data.fingerprint

    def print_notes(self) -> None:
        """Prints notes on the rows; known after a prediction."""
        data, model = self._data, next(iter(self._twins.values())).model
        problem = model.problem(data)
        warnings = data_warnings(problem, statistics(problem.optimum), data.target_names)
        print_notes(filter(None, [*data.remarks, self._job.model.l2_choice]), warnings)

    def prediction(self, settings: dict[str, Any]) -> Prediction:
        """Returns the prediction for a combination.

        Raises:
            InputError: the data or a setting can't be used.
        """
        job, data = self._job, self._data
        if "l2" not in settings:
            job.model.choose_l2(data)
        of_model = {name: value for name, value in settings.items() if name in job.model.hparams}
        given = {name: value for name, value in job.model.hparams.items() if name[:1] != "_"}
        model = type(job.model)(**{**given, **of_model})
        if str(job.settings.trainer.precision) in ("64", "64-true"):
            model.double()
        twin = self._twins.get(model.l2)
        with on_one_thread() if twin else nullcontext():  # the first one takes passes over the rows
            model.take_problem(twin.model if twin else model)
            length = {"max_epochs": settings["max_epochs"]} if "max_epochs" in settings else {}
            trainer = with_settings(job.settings.trainer, length)
            planned = planned_length(model, data, trainer)
            whole = with_settings(trainer, planned.settings if planned else {})
            prediction = Prediction(model, data, total_steps(whole, data.steps_per_epoch, 0, None), twin)
        return self._twins.setdefault(model.l2, prediction) if twin is None else prediction


def combination(settings: dict[str, Any], prediction: Prediction) -> Combination:
    """Returns a combination of settings with its predicted loss."""
    loss = prediction.loss()
    mean, low, high = (value if math.isfinite(value) else None for value in (loss.mean, loss.low, loss.high))
    return Combination(settings, prediction.steps, prediction.epochs, mean, low, high, diverges=prediction.diverges())
