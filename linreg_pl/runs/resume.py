"""What does `--resume` go on with?"""

import sys
from pathlib import Path
from typing import NamedTuple

from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import read_checkpoint
from linreg_pl.runs.folder import CONFIG, RUNS, checkpoints, run_of, runs, state_of, step_of


class Resumption(NamedTuple):
    """A run, its checkpoint to go on from (None where it was killed before its first), and all that it has."""

    run: Path
    checkpoint: Path | None
    found: list[Path]


def find_resumption(name: str, root: Path) -> Resumption:
    """What `--resume name` means: `auto` (the newest unfinished run below `root`), a run's folder, or a checkpoint.

    A damaged checkpoint is named on stderr, and the next older one is taken; a checkpoint that is asked for by its own
    name is taken or refused.

    Raises:
        InputError: there is nothing to resume, or no checkpoint of the run is good.
    """
    if name == "auto":
        unfinished = [run for run in runs(root) if state_of(run) == "interrupted"]
        if not unfinished:
            raise InputError(
                f"{root / RUNS}: there is no interrupted run to resume; linreg runs lists what is there, and"
                " --resume RUN_FOLDER --trainer.max_epochs N trains a finished run on"
            )
        return newest_good_checkpoint(unfinished[-1])
    path = Path(name)
    if path.is_dir():
        return newest_good_checkpoint(path)
    if not path.exists():
        raise InputError(f"{name}: there is no such run or checkpoint; linreg runs lists the runs")
    read_checkpoint(path)
    run = run_of(path)
    if step_of(path) < 0:
        raise InputError(f"{path}: --resume knows a checkpoint's step by its name; name it step=N.ckpt again")
    if run is None:
        raise InputError(f"{path}: no {CONFIG} lies in its run's folder; --resume needs the whole folder")
    return Resumption(run, path, checkpoints(run))


def newest_good_checkpoint(run: Path) -> Resumption:
    """The run's newest checkpoint that can be believed.

    Of an interrupted run not the one at its end: that it has no report says that the end is not whole.

    Raises:
        InputError: this is no run, it is running, or it has checkpoints, and none is good.
    """
    if not (run / CONFIG).is_file():
        raise InputError(f"{run}: this folder is no run, it has no {CONFIG}; linreg runs lists the runs")
    state = state_of(run)
    if state == "running":
        raise InputError(f"{run}: another process is training in this folder; wait for it, or stop it")
    found, damaged = checkpoints(run), 0
    for path in reversed(found):
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            damaged += 1
            print(f"linreg: {error}", file=sys.stderr)
            continue
        progress = checkpoint.get("progress", {})
        at_end = checkpoint["global_step"] == progress.get("total_steps") or "stopped_by" in progress
        if not (at_end and state == "interrupted"):
            return Resumption(run, path, found)
    if damaged:
        raise InputError(f"{run}: none of its checkpoints can be used ({damaged} damaged); start anew with --config")
    return Resumption(run, None, found)
