"""Lists the runs: how far each is, and the command that continues it."""

import shlex
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from linreg_pl.errors import InputError
from linreg_pl.runs.folder import all_runs, checkpoints, read_report, read_settings, run_state, study_of
from linreg_pl.training.progress import Progress

Row = tuple[str, str, str, str, str, str]


def run_rows(root: Path, command: str) -> list[Row]:
    """Returns a row for each run below `root`: folder, state, steps, length, loss ("-" if unknown) and next command."""
    rows = list[Row]()
    for run in all_runs(root):
        state, (step, progress) = run_state(run), read_progress(run)
        length = "-" if progress.total_steps in (None, -1) else str(progress.total_steps)
        loss = "-" if progress.loss is None else f"{progress.loss:.6g}"
        _, next_command = next_step(run, state, progress, command)
        rows.append((str(run), state, str(step), length, loss, next_command))
    return rows


def listing(rows: Sequence[Row]) -> list[str]:
    """Returns the lines of a table of runs, with its heading."""
    table = [("run", "state", "step", "of", "loss", "to go on"), *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for name, state, number, length, loss, next_command in table:
        numbers = f"{number:>{widths[2]}}  {length:>{widths[3]}}  {loss:>{widths[4]}}"
        lines.append(f"{name:{widths[0]}}  {state:{widths[1]}}  {numbers}  {next_command}".rstrip())
    return lines


def next_step(run: Path, state: str, progress: Progress, command: str) -> tuple[str, str]:
    """Returns (label, command) for the next step: to continue the run, or to predict if its schedule has ended.

    The run of a trial goes on with its study, and is not trained further. Both are empty for a run that is running, and
    for one without settings or checkpoints.

    Args:
        run: Folder of the run.
        state: State of the run.
        progress: How far it is.
        command: How to type `linreg`.
    """
    resume, flags = f"{command} fit --resume {shlex.quote(str(run))}", ""
    study = study_of(run)
    if study is not None and state != "finished":
        return ("go on", f"{command} tune --resume {shlex.quote(str(study))}") if state == "interrupted" else ("", "")
    try:
        settings = read_settings(run)
        model, trainer, data = settings["model"], settings["trainer"], settings["data"]["init_args"]
        has_end = (trainer["max_epochs"], trainer["max_steps"]) != (-1, -1)
        if state == "interrupted":  # before its end; and then max_time may be used up
            flags = " --trainer.max_time null" if has_end and trainer["max_time"] is not None else ""
        elif state == "diverged":
            flags = " --allow_changed_settings true --model.learning_rate R"
        elif state != "finished":
            return "", ""
        elif study is not None:
            return predicting(run, data, command)
        elif progress.stopped_by == Progress.out_of_time:
            from linreg_pl.runs.checkpoint_file import read_checkpoint  # not at the top: torch is slow to import

            spent = read_checkpoint(checkpoints(run)[-1]).contents.seconds_trained  # a slow step takes it past max_time
            flags = f" --trainer.max_time {twice(trainer['max_time'], spent)}"
        elif progress.stopped_by is not None:  # before its full length
            flags = "".join(f" --stop.{rule} null" for rule, limit in settings["stop"].items() if limit is not None)
            flags += "" if has_end or trainer["max_time"] is not None else " --trainer.max_time DD:HH:MM:SS"
        elif model["schedule"] == "constant" and not model["tail_averaging"] and not model.get("l1"):
            limit = "max_steps" if trainer["max_steps"] == progress.total_steps else "max_epochs"
            flags = f" --trainer.{limit} {2 * trainer[limit]}"
        else:
            return predicting(run, data, command)
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return "", ""
    return "go on", resume + flags


def predicting(run: Path, data: dict[str, Any], command: str) -> tuple[str, str]:
    """Returns (label, command) to predict by the newest checkpoint of a run, whose data has these settings."""
    [newest], rows = checkpoints(run)[-1:], " --data.path FILE" if "path" in data else ""
    return "predict", f"{command} predict --ckpt_path {shlex.quote(str(newest))}{rows}"


def twice(max_time: str, spent: float) -> str:
    """Returns twice the time that DD:HH:MM:SS stands for, or twice the seconds spent if they are more."""
    days, hours, minutes, seconds = map(int, max_time.split(":"))
    limit = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    time = 2 * max(limit, timedelta(seconds=round(spent)))
    minutes, seconds = divmod(time.seconds, 60)
    return f"{time.days:02}:{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def read_progress(run: Path) -> tuple[int, Progress]:
    """Reads the step and the progress from the report, or else from the newest checkpoint that is not damaged."""
    report = read_report(run)
    if report is not None:
        return report["global_step"], Progress.from_dict(report)
    from linreg_pl.runs.checkpoint_file import read_checkpoint  # not at the top: torch is slow to import

    for path in reversed(checkpoints(run)):
        try:
            contents = read_checkpoint(path).contents
        except InputError:
            continue
        return contents.global_step, contents.progress
    return 0, Progress()
