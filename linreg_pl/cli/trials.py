"""Runs the trials of a study: in this process, or several side by side, each in one of its own."""

import contextlib
import io
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from linreg_pl.cli.error_messages import WriteError, message_for
from linreg_pl.cli.quiet_libraries import silence_libraries
from linreg_pl.cli.study_tables import ended_line
from linreg_pl.cli.typed import as_typed
from linreg_pl.errors import Diverged, InputError
from linreg_pl.runs.folder import remove_unbegun, study_of
from linreg_pl.signals import SIGNALS, Interrupted, end_at_signals, leave_at_signals
from linreg_pl.tuning.study import Study

Train = Callable[[list[str], Path], None]
"""Runs `linreg fit` with some flags, as the trial whose run is in the folder given."""
REFUSED = 2
"""Exit code of a worker that has left a message."""


def require_no_trial(run: Path) -> None:
    """Refuses to resume the run of a trial by itself.

    Raises:
        InputError: the run is a trial's.
    """
    folder, typed = study_of(run), as_typed("linreg")
    study = Study.read(folder) if folder is not None else None
    if study is not None and (number := study.number_of(run)) is not None:
        raise InputError(
            f"{run}: this run is a trial, and its study needs it as it is: go on with the study by"
            f" {study.resume_command(typed)}, or repeat the trial as a run of its own by {study.command(number, typed)}"
        )


def run_trials(study: Study, train: Train, workers: int, show_bar: bool, stream: TextIO) -> None:
    """Runs the trials that have not ended; one under way goes on from its newest checkpoint.

    Args:
        study: The study.
        train: Runs one trial.
        workers: Trials to run at the same time.
        show_bar: Draw a progress bar, instead of a line for each trial that has ended.
        stream: Where these lines are printed.

    Raises:
        InputError: a trial can't be run.
        Interrupted: a signal ended the program; the trials under way are saved.
    """
    numbers = [number for number in range(len(study.trials)) if not study.has_ended(number)]
    counts = itertools.count(1 + len(study.trials) - len(numbers))

    def ended(number: int) -> None:
        if not show_bar:
            print(f"trial {next(counts)} of {len(study.trials)}: {ended_line(study, number)}", file=stream)

    with bar(study) if show_bar else contextlib.nullcontext():
        if workers == 1:
            for number in numbers:
                run_trial(study, number, train)
                ended(number)
        else:
            run_side_by_side(study, numbers, train, workers, ended)


def run_trial(study: Study, number: int, train: Train) -> None:
    """Runs a trial, or resumes it; prints nothing. A trial that diverges has ended, too.

    Raises:
        InputError: it can't be run.
        Interrupted: a signal ended the program; the run is saved.
    """
    run, flags = study.run(number), ["--config", str(study.settings), *study.trials[number].flags]
    if study.has_begun(number):
        flags = ["--resume", str(run)]
    else:
        remove_unbegun(run)
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), contextlib.suppress(Diverged):
            train([*flags, "--trainer.enable_progress_bar", "false"], run)
    except WriteError as error:  # a study's trials are where they are
        remedy = f"make room, then go on with the study by {study.resume_command(as_typed('linreg'))}"
        raise InputError(f"{error.cause}; {remedy}") from error


def run_side_by_side(
    study: Study, numbers: list[int], train: Train, workers: int, ended: Callable[[int], None]
) -> None:
    """Runs trials in processes of their own, `workers` at a time, and calls `ended` after each; see `run_trials`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["linreg_pl.cli.command", "linreg_pl.cli.fit", "linreg_pl.data.table.module"])
    start_server()
    messages = context.SimpleQueue()
    waiting, running = list(numbers), dict[int, BaseProcess]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                process: BaseProcess = context.Process(target=partial(in_process, study, number, train, messages))
                process.start()
                running[number] = process
            wait([process.sentinel for process in running.values()])
            for number, process in list(running.items()):
                if process.exitcode is not None:
                    del running[number]
                    if process.exitcode == REFUSED:
                        raise InputError(messages.get())
                    require_ended(study, number, process.exitcode)
                    ended(number)
    finally:
        for process in running.values():
            process.terminate()  # saves its run
        for process in running.values():
            process.join()


def start_server() -> None:
    """Starts the process that forks the workers, with signals blocked: it has none to answer, and it ends with ours."""
    resource_tracker.ensure_running()  # which unblocks them
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def require_ended(study: Study, number: int, code: int) -> None:
    """Checks how the process of a trial has ended.

    Raises:
        InputError: the trial could not be run.
        Interrupted: a signal ended it.
    """
    if code - 128 in SIGNALS:
        raise Interrupted(code - 128)
    if code:
        cause = f"was killed by signal {-code}" if code < 0 else "has failed, see the message above"
        raise InputError(
            f"{study.run(number)}: this trial {cause}; to go on with the study, give --resume {study.folder}"
        )


def in_process(study: Study, number: int, train: Train, messages: SimpleQueue[str]) -> None:
    """Runs a trial in a process of its own, which ends when the study's process does.

    The message of an error that the user can mend is for the study's process: trials side by side may have the same.
    """
    try:
        try:
            leave_at_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            silence_libraries()
            threading.Thread(target=leave_with_parent, daemon=True).start()
            run_trial(study, number, train)
        finally:
            end_at_signals()
    except Interrupted as interrupted:
        sys.exit(interrupted.exit_code)
    except Exception as error:
        message = message_for(error)
        if message is None:
            raise
        messages.put(message)
        sys.exit(REFUSED)


def leave_with_parent() -> None:
    """Ends this process, as a kill would, once its parent has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def bar(study: Study, seconds_between_updates: float = 0.5) -> Iterator[None]:
    """Draws one progress bar for all trials, from the steps of their newest checkpoints."""
    steps = [trial.steps for trial in study.trials]
    progress = Progress(
        TextColumn("trial {task.fields[ended]}/{task.fields[trials]}"),
        BarColumn(bar_width=None),
        TimeRemainingColumn(compact=True),
        console=Console(file=sys.stdout),  # as it is now: a trial's own output is redirected
        auto_refresh=False,
        transient=True,
    )
    task, is_over = progress.add_task("tune", total=sum(steps), ended=0, trials=len(steps)), threading.Event()

    def update() -> None:
        while not is_over.wait(seconds_between_updates):
            numbers = range(len(steps))
            ended = sum(map(study.has_ended, numbers))
            progress.update(task, completed=sum(map(study.steps_taken, numbers)), ended=ended, refresh=True)

    thread = threading.Thread(target=update, daemon=True)
    with progress:
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
