"""What runs are there, how far did each get, and how does one go on with it?"""

import re
from pathlib import Path
from typing import Any

from linreg_pl.errors import InputError
from linreg_pl.training.run import checkpoints, report_of, runs, state_of
from linreg_pl.training.storage import read_checkpoint

ONWARD = {
    "interrupted": "",
    "finished": " --trainer.max_epochs N",
    "diverged": " --allow_changed_settings true --model.learning_rate R",
}
"""What goes behind `--resume RUN`; a running run can't be resumed."""


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
        rules = re.findall(r"--stop\.\w+", progress.get("stopped_by", ""))  # each would stop it again
        more = "".join(f" {rule} null" for rule in rules) if "stopped_by" in progress else ONWARD.get(state, "")
        onward = f"{command} fit --resume {run}{more}" if state in ONWARD else ""
        lines.append((str(run), state, *steps, loss, onward))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, state, step, total, loss, onward in lines:
        numbers = f"{step:>{widths[2]}}  {total:>{widths[3]}}  {loss:>{widths[4]}}"
        print(f"{name:{widths[0]}}  {state:{widths[1]}}  {numbers}  {onward}".rstrip())


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
