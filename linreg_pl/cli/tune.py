"""Chooses settings by trials: `linreg tune`.

Predicts the loss with which a run of each combination of settings ends, prints the predictions, runs the best of them,
and prints what was predicted beside what was measured.
"""

import math
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from linreg_pl.callbacks.interruption import Interrupted
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.fit import with_settings
from linreg_pl.cli.job import Job
from linreg_pl.cli.run_length import planned_length, total_steps
from linreg_pl.cli.trials import Train, run_trials
from linreg_pl.cli.typed import as_typed
from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import InputError
from linreg_pl.runs.lock import lock
from linreg_pl.tuning.prediction import Prediction
from linreg_pl.tuning.ranges import TuneSettings
from linreg_pl.tuning.study import Combination, Study, new_folder


def tune(job: Job, train: Train) -> None:
    """Predicts, runs the trials, and prints the table and the best trial's command; resumes a study if one is named.

    Raises:
        InputError: the settings can't be used.
        Interrupted: a signal ended the study; it can be resumed.
    """
    study = Study.read(Path(job.resume)) if job.resume else begun(job)
    with lock(study.folder):
        try:
            run_trials(study, train, show_bar=job.bar is not None)
        except Interrupted:
            resume = f"{as_typed('linreg')} tune --resume {shlex.quote(str(study.folder))}"
            print(f"interrupted; to go on: {resume}", file=sys.stderr)
            raise
        with writing(study.folder, "--trainer.default_root_dir"):
            study.write_results()
    print(*result_lines(study), sep="\n")


def begun(job: Job) -> Study:
    """Predicts all combinations, prints the predictions, and writes the study's files.

    Raises:
        InputError: the settings can't be used, or all combinations would diverge.
    """
    settings: TuneSettings = job.settings.tune
    combinations = settings.combinations()
    require_possible(job, settings)
    predicted = list(predictions(job, combinations))
    loss = "val/mse" if job.data.holds_out_rows else "loss"
    root = Path(job.settings.trainer.default_root_dir)
    study = Study.chosen(root, loss, settings, predicted)
    print(*predicted_lines(study), sep="\n")
    if not study.trials:
        raise InputError(
            "every combination is predicted to diverge: give smaller learning rates, or run them with"
            " --tune.diverging true"
        )
    config = job.config.clone()
    config.pop("tune")
    config.model.l2 = job.model.l2 if "l2" not in settings.values else config.model.l2  # chosen once, if it is auto
    with writing(root, "--trainer.default_root_dir"):
        study = replace(study, folder=new_folder(root))
        study.write(job.parser.dump(config, skip_unset=False))
    return study


def require_possible(job: Job, settings: TuneSettings) -> None:
    """Refuses settings with which trials could not be compared.

    Raises:
        InputError: there is one.
    """
    trainer = job.settings.trainer
    if trainer.max_time is not None:
        raise InputError("--trainer.max_time ends trials before their predicted end: leave it out, or vary max_epochs")
    if "l2" in settings.values and not job.data.holds_out_rows:
        raise InputError(
            "--tune.l2: without held-out rows, the least l2 always has the least loss; hold some out with"
            " --data.val_fraction 0.2"
        )
    if not job.settings.exact and not job.data.holds_out_rows:
        raise InputError("tune measures the exact solution's gap, and --exact is false: leave it out, or hold rows out")
    if trainer.logger is False or trainer.fast_dev_run:
        flag = "--trainer.logger false" if trainer.logger is False else "--trainer.fast_dev_run"
        raise InputError(f"{flag} keeps no files, and trials are compared by theirs: leave it out")


def predictions(job: Job, combinations: Sequence[dict[str, Any]]) -> Iterator[Combination]:
    """Yields the combinations with their predicted losses, batch size by batch size: one table is in memory at a time.

    Raises:
        InputError: the data or a setting can't be used.
    """
    for batch_size in dict.fromkeys(each.get("batch_size") for each in combinations):
        predictor = Predictor(job, data_of(job, batch_size))
        yield from (predictor.predicted(each) for each in combinations if each.get("batch_size") == batch_size)
        del predictor  # before the next table is read


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

    def predicted(self, settings: dict[str, Any]) -> Combination:
        """Returns the combination with its predicted loss.

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
        model.take_problem(twin.model if twin else model)
        length = {"max_epochs": settings["max_epochs"]} if "max_epochs" in settings else {}
        trainer = with_settings(job.settings.trainer, length)
        planned = planned_length(model, data, trainer)
        steps = total_steps(with_settings(trainer, planned.settings if planned else {}), data.steps_per_epoch, 0, None)
        prediction = Prediction(model, data, steps, twin)
        self._twins.setdefault(model.l2, prediction)
        loss = prediction.loss()
        mean, low, high = (value if math.isfinite(value) else None for value in (loss.mean, loss.low, loss.high))
        return Combination(settings, steps, mean, low, high, diverges=prediction.diverges())


def predicted_lines(study: Study, most: int = 20) -> list[str]:
    """Returns the table of the predictions, the best first; at most so many, and how many are left out."""
    combinations = [*study.trials, *study.others]
    shown = combinations[: max(most, len(study.trials))]
    rows = [[*values(each), *bounds(each), "diverges" if each.diverges else ""] for each in shown]
    lines = table([*combinations[0].settings, "predicted", "95% band", ""], rows)
    num_left, num_diverging = len(combinations) - len(shown), sum(each.diverges for each in combinations)
    titles = {"val/mse": "mean squared error over the held-out rows", "loss": "loss over the rows to fit"}
    heading = f"predicting {len(combinations)} combinations: {titles[study.loss]} at the end"
    if num_left:
        lines.append(f"  and {num_left} more")
    if num_diverging:
        lines.append(f"  {num_diverging} of all diverge: their loss over the rows to fit would grow")
    return [heading, *lines]


def result_lines(study: Study) -> list[str]:
    """Returns the table of the trials, the best first, with what was predicted and measured; and what to type."""
    numbers = sorted(range(len(study.trials)), key=study.measured)
    rows = [
        [*values(trial), *bounds(trial), f"{loss:.6g}" if math.isfinite(loss) else "diverges", str(study.run(number))]
        for number in numbers
        for trial, loss in [(study.trials[number], study.measured(number))]
    ]
    best = study.best()
    advice = "none: every trial has diverged; give smaller learning rates"
    lines = table([*study.trials[0].settings, "predicted", "95% band", "measured", "run"], rows)
    heading = f"{'trial' if len(rows) == 1 else 'trials'}, by {study.loss}"
    runs = shlex.quote(str(study.run(0).parent))
    return [
        f"{len(rows)} {heading}",
        *lines,
        f"best     {advice if best is None else study.command(best, as_typed('linreg'))}",
        f"curves   {as_typed('tensorboard')} --logdir {runs} --host 127.0.0.1",
    ]


def values(combination: Combination) -> list[str]:
    """Returns the settings of a combination as text."""
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in combination.settings.values()]


def bounds(combination: Combination) -> list[str]:
    """Returns the predicted loss and its bounds as text."""
    predicted = combination.predicted
    if not math.isfinite(predicted.high):
        return ["-", "-"]
    return [f"{predicted.mean:.6g}", f"{predicted.low:.6g} … {predicted.high:.6g}"]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table, with its columns aligned to the right, but for the last."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(["", *(f"{text:>{width}}" for text, width in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip()
        for row in (titles, *rows)
    ]
