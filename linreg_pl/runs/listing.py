"""What runs are there, how far did each get, and how does one go on with it?"""

import shlex
from pathlib import Path
from typing import Any

from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import checkpoints, report_of, runs, settings_of, state_of


def print_runs(root: Path, command: str) -> None:
    """A line for each run below `root`: folder, state, steps of how many, loss ("-" if not known), and what to type.

    Raises:
        InputError: there is none.
    """
    found = runs(root)
    if not found:
        raise InputError(f"{root / 'lightning_logs'}: there are no runs; start one with: {command} fit")
    lines: list[tuple[str, ...]] = [("run", "state", "step", "of", "loss", "to go on")]
    for run in found:
        state, progress = state_of(run), progress_of(run)
        steps = [str(progress.get(name, "-")) for name in ("global_step", "total_steps")]
        loss = f"{progress['loss']:.6g}" if "loss" in progress else "-"
        _, onward = what_next(run, state, progress, command)
        lines.append((str(run), state, *steps, loss, onward))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, state, step, total, loss, onward in lines:
        numbers = f"{step:>{widths[2]}}  {total:>{widths[3]}}  {loss:>{widths[4]}}"
        print(f"{name:{widths[0]}}  {state:{widths[1]}}  {numbers}  {onward}".rstrip())


def what_next(run: Path, state: str, progress: dict[str, Any], command: str) -> tuple[str, str]:
    """What to type to train a run on, or where its schedule has come to its end, to predict; before it, a word for it.

    Args:
        run: Its folder.
        state: Its own.
        progress: Its report, or what `progress_of` finds.
        command: How to type `linreg`.

    Returns:
        Empty texts for a run that is running, or whose settings or checkpoints are gone.
    """
    resume, longer = f"{command} fit --resume {shlex.quote(str(run))}", ""
    try:
        settings = settings_of(run)
        model, trainer, data = settings["model"], settings["trainer"], settings["data"]["init_args"]
        if state == "interrupted":
            longer = "" if trainer["max_time"] is None else " --trainer.max_time null"  # which may be used up
        elif state == "diverged":
            longer = " --allow_changed_settings true --model.learning_rate R"
        elif state != "finished":
            return "", ""
        elif "stopped_by" in progress:  # before its length was reached
            longer = "".join(f" --stop.{rule} null" for rule, limit in settings["stop"].items() if limit is not None)
        elif model["schedule"] == "constant" and not model["tail_averaging"]:
            limit = "max_steps" if trainer["max_steps"] == progress["total_steps"] else "max_epochs"
            longer = f" --trainer.{limit} {2 * trainer[limit]}"
        else:
            [newest], rows = checkpoints(run)[-1:], " --data.path FILE" if "path" in data else ""
            return "predict", f"{command} predict --ckpt_path {shlex.quote(str(newest))}{rows}"
    except (InputError, KeyError, TypeError, ValueError):
        return "", ""
    return "go on", resume + longer


def progress_of(run: Path) -> dict[str, Any]:
    """`global_step`, `total_steps` and `loss`, from the report or else from the newest good checkpoint."""
    report = report_of(run)
    if report is not None:
        return report
    for path in reversed(checkpoints(run)):
        try:
            checkpoint = read_checkpoint(path)
        except InputError:
            continue
        return {"global_step": checkpoint["global_step"], **checkpoint.get("progress", {})}
    return {"global_step": 0}
