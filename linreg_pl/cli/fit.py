"""Builds a run and trains it: `linreg fit`.

fit            folder and lock → loggers and callbacks → trainer → training → summary
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ProgressBar

from linreg_pl.callbacks.checkpoints import EpochCheckpoints
from linreg_pl.callbacks.curves import Curves
from linreg_pl.callbacks.epoch_lines import EpochLines
from linreg_pl.callbacks.exact_answer import ExactAnswer
from linreg_pl.callbacks.interruption import Interruption
from linreg_pl.callbacks.monitored_values import MonitoredValues, monitors
from linreg_pl.callbacks.report import Report
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.follow import follow, of_one_process, print_processes
from linreg_pl.cli.job import Job, as_list
from linreg_pl.cli.run_config import RunConfig
from linreg_pl.cli.run_length import PlannedRun, other_limits, planned_length, total_steps, validation_settings
from linreg_pl.cli.saved_settings import saved_choice
from linreg_pl.cli.trainer_settings import build_trainer, require_monitored
from linreg_pl.cli.typed import as_typed
from linreg_pl.errors import Diverged, InputError
from linreg_pl.exact.epochs_in_words import counted
from linreg_pl.runs.compatibility import require_same_length, require_same_settings, require_suitable
from linreg_pl.runs.folder import checkpoints, new_run, remove_unbegun
from linreg_pl.runs.listing import next_step
from linreg_pl.runs.lock import lock
from linreg_pl.runs.resume import Resumption
from linreg_pl.runs.tensorboard_logger import run_logger
from linreg_pl.signals import Interrupted
from linreg_pl.training.due import has_end
from linreg_pl.training.executions import Executions
from linreg_pl.training.module import LinearRegression
from linreg_pl.training.possible_settings import require_possible_callbacks
from linreg_pl.training.progress import Progress
from linreg_pl.training.shared_steps import SharedSteps
from linreg_pl.tuning.study import Study


def fit(job: Job) -> None:
    """Trains a new run, or resumes one, and prints how it ended.

    Raises:
        InputError: the settings can't be used, or don't suit the checkpoint; no new folder is left.
        Diverged: the numbers left float32.
        Interrupted: a signal ended the run; it is saved.
    """
    job.data.setup("fit")  # reads the data first: nothing is written for a run that can't begin
    if job.run is not None:
        Study.read(job.run.parent.parent).require_same_rows(job.data)
    require_resumable(job)
    require_monitored(as_list(job.config.trainer.callbacks), job.data.holds_out_rows, job.settings.exact)
    require_possible_callbacks(as_list(job.settings.trainer.callbacks), job.data)
    if job.settings.stop.limits and not job.settings.exact:
        raise InputError("--stop needs the exact answer, and --exact is false: leave one of them out")
    job.model.choose_l2(job.data)
    if job.start.run is not None and job.model.l2_choice is None:
        job.model.l2_choice = saved_choice(job.start.run, job.model.l2)
    planned = planned_length(job.model, job.data, job.settings.trainer)
    lengths = planned.settings if planned else {}
    settings = with_settings(job.settings.trainer, lengths)
    others = other_limits(settings, job.settings.stop)
    steps = total_steps(settings, job.data.steps_per_epoch, job.start.steps, job.start.run, others)
    if job.start.checkpoint is not None and not job.allow_changed_settings:
        require_same_length(job.start.checkpoint, job.model, steps)
    if job.world.size == 1:
        lead(job, settings, steps, others, planned)
        return
    settings = of_one_process(settings)
    job.model.shared_steps = SharedSteps(job.world, job.model, cuts_batches=not job.data.shares_rows)
    if job.world.rank:
        follow(job, settings, steps)
        return
    with job.model.shared_steps.led():
        lead(job, settings, steps, others, planned)


def lead(job: Job, settings: Namespace, steps: int, others: list[str], planned: PlannedRun | None) -> None:
    """Trains the run in its folder, in the first process of the command, and prints how it ended.

    Args:
        job: As in `fit`, like what it raises.
        settings: Of the trainer.
        steps: Length of the run; -1 for one without an end.
        others: The settings that may end it too.
        planned: Its length, if the program has chosen it.
    """
    keeps_files = settings.logger is not False and not settings.fast_dev_run
    root = Path(settings.default_root_dir)
    with claimed_folder(root, job.start.resumption, job.run) if keeps_files else nullcontext() as folder:
        exact = ExactAnswer(job.settings.stop) if job.settings.exact else None
        report = Report(exact)
        trainer = build_trainer(
            settings,
            job.parser,
            checkpoint=job.start.checkpoint,
            callbacks=[
                *run_callbacks(job, exact, report),
                *config_callback(job, planned, folder),
            ],
            logger=settings.logger if folder is None else run_loggers(settings.logger, folder, job.start.steps),
            max_epochs=-1,
            max_steps=steps,
            enable_progress_bar=job.bar is not None or has_own_bar(settings),
            **validation_settings(settings, job.data),
        )
        # --trainer.fast_dev_run shortens the run
        length = counted(trainer.max_steps, "step") if has_end(trainer) else f"steps until {' or '.join(others)}"
        print_heading(job, length, planned)
        if not has_end(trainer):
            print_left_out(job.model)
        train(job, trainer, report, folder)
        print_summary(report, folder, or_null=", or null" if has_end(trainer) else "")


def require_resumable(job: Job) -> None:
    """Checks that the run to resume, if any, goes on with the model, the data and the settings that it began with.

    Raises:
        InputError: something differs.
    """
    require_suitable(job.start.checkpoint, job.model, job.data)
    if job.start.checkpoint is not None and not job.allow_changed_settings:
        precision = job.config.trainer.precision
        require_same_settings(job.start.checkpoint, job.model, job.data, precision)


@contextmanager
def claimed_folder(root: Path, resumption: Resumption | None, new: Path | None = None) -> Iterator[Path]:
    """Makes the folder of a new run, or takes that of the run to resume, and locks it.

    A new folder is removed again if an error comes before the run's config is in it.

    Args:
        root: Folder that has the folder of all runs.
        resumption: The run to resume.
        new: Folder of a new run; by default the next free one.

    Raises:
        InputError: nothing can be written there, or another process trains in it.
    """
    folder = None
    try:
        with writing(root, "--trainer.default_root_dir"):
            if new is not None:
                new.mkdir(parents=True, exist_ok=True)
            folder = resumption.run if resumption else new or new_run(root)
            held = lock(folder)
        with held:
            if resumption and checkpoints(folder) != resumption.checkpoint_paths:
                raise InputError(f"{folder}: another process has just trained in this folder; see linreg runs")
            yield folder
    except BaseException:
        remove_unbegun(folder)
        raise


def run_loggers(logger: Any, folder: Path, steps: int) -> list[Any]:
    """Returns TensorBoard's logger for the folder, and the loggers of `--trainer.logger`; `steps` are already taken."""
    return [run_logger(folder, steps), *as_list(None if logger is True else logger)]


def run_callbacks(job: Job, exact: ExactAnswer | None, report: Report) -> list[Callback]:
    """Builds the callbacks, in the order in which Lightning calls them."""
    saving = EpochCheckpoints(job.settings.checkpoint_every_n_epochs)
    saving.saves_start = job.allow_changed_settings
    executions = Executions(job.settings.steps_per_execution)
    job.data.group_steps(executions)
    curves, added = Curves(exact), as_list(job.settings.trainer.callbacks)
    interruption = Interruption(saving, executions)
    if job.model.shared_steps is not None:
        job.model.shared_steps.on_signal = interruption.end
    return [
        *as_list(exact),
        EpochLines(job.settings.display_every_n_epochs),
        curves,
        *([MonitoredValues(curves)] if monitors(added, MonitoredValues.families) else []),
        saving,
        interruption,
        report,
        *([] if has_own_bar(job.settings.trainer) else as_list(job.bar)),
    ]


def has_own_bar(settings: Namespace) -> bool:
    """Returns whether the trainer's settings have a progress bar of the user's, which replaces the command's."""
    return any(isinstance(callback, ProgressBar) for callback in as_list(settings.callbacks))


def config_callback(job: Job, planned: PlannedRun | None, folder: Path | None) -> list[Callback]:
    """Builds the callback that writes config.yaml.

    It has the length that was planned, and the l2 that was chosen, which a resumed run takes from it.
    """
    if folder is None:
        return []
    config = job.config.clone()
    config.trainer = with_settings(config.trainer, planned.settings if planned else {})
    config.model.l2 = job.model.l2
    for callback in as_list(config.trainer.callbacks):
        arguments = callback.get("init_args", {})
        for name, value in vars(arguments).items() if arguments else ():
            arguments[name] = value.value if isinstance(value, Enum) else value  # such as the default of a text
    parser: Any = job.parser  # needs none of what Lightning's adds
    return [RunConfig(parser, config, save_to_log_dir=False)]


def with_settings(settings: Namespace, changes: dict[str, int]) -> Namespace:
    """Returns a copy of the settings with some changed."""
    copy = settings.clone()
    for name, value in changes.items():
        copy[name] = value
    return copy


def print_heading(job: Job, length: str, planned: PlannedRun | None) -> None:
    """Prints the size of the problem and the length of the run."""
    data, run = job.data, job.start.run
    resumed = f", from step {job.start.steps} of {run}" if run else ""
    size = ", ".join(
        counted(number, noun)
        for number, noun in (
            (data.num_rows_to_fit, "row"),
            (data.num_features, "feature"),
            (data.num_targets, "target"),
        )
    )
    print(f"fitting {size}: {length}, {data.steps_per_epoch} an epoch{resumed}")
    print_processes(job)
    if data.streams:
        print("note      the table is streamed from disk at every pass: it takes more memory than --data.memory_limit")
    print(*(f"note      {remark}" for remark in data.remarks), sep="\n", end="\n" if data.remarks else "")
    if job.model.l2_choice is not None:
        print(f"penalty   {job.model.l2_choice}")
    if planned:
        print(*planned.lines(), sep="\n")


def print_left_out(model: LinearRegression) -> None:
    """Prints which settings of the model have no effect in a run without an end."""
    if model.schedule != "constant":
        print(f"schedule  none, as {model.schedule} needs a run with an end: the learning rate keeps its full value")
    if model.tail_averaging:
        print("average   none, as tail_averaging needs a run with an end")


def train(job: Job, trainer: Trainer, report: Report, folder: Path | None) -> None:
    """Trains; after an interruption or a divergence, prints what to do.

    Raises:
        InputError: nothing can be written.
        Diverged: the numbers left float32.
        Interrupted: a signal ended the run.
    """
    try:
        with writing(folder or Path(job.config.trainer.default_root_dir), "--trainer.default_root_dir"):
            trainer.fit(job.model, datamodule=job.data, ckpt_path=job.start.path, weights_only=True)
    except Interrupted:
        if folder is not None and not report.contents:
            length = f" of {trainer.max_steps}" if has_end(trainer) else ""
            step = f"step {trainer.global_step}{length}"
            resume = f"{as_typed('linreg')} fit --resume {shlex.quote(str(folder))}"
            print(f"interrupted at {step}; to go on: {resume}", file=sys.stderr)
        raise
    except Diverged as error:
        saved = checkpoints(folder) if folder else []
        last = f"the last good checkpoint is {saved[-1]}" if saved else "no checkpoint was saved before"
        raise Diverged(f"{error}; {last}; give a smaller --model.learning_rate") from error


def print_summary(report: Report, folder: Path | None, or_null: str) -> None:
    """Prints the result, and the commands for the next step.

    `or_null` follows the advice to raise `--trainer.max_time`, where the run ends without it.

    Raises:
        InputError: no step was taken.
    """
    if not report.contents:
        raise InputError(f"no step was taken: --trainer.max_time is used up; give it more{or_null}")
    print(*report.lines(), sep="\n")
    if folder is not None:
        print(f"run      {folder}")
        print(f"curves   {as_typed('tensorboard')} --logdir {shlex.quote(str(folder.parent))} --host 127.0.0.1")
        progress = Progress.from_dict(report.contents)
        label, command = next_step(folder, report.contents["state"], progress, as_typed("linreg"))
        print(f"{label:8} {command}")
