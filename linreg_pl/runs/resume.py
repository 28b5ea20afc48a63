"""Finds the run and the checkpoint that `--resume` continues."""

import sys
from pathlib import Path
from typing import NamedTuple

from linreg_pl.errors import InputError
from linreg_pl.runs.checkpoint_file import CheckpointFile, read_checkpoint
from linreg_pl.runs.folder import CONFIG, RUNS, STUDY, all_runs, checkpoints, require_run, run_of, run_state, step_of
from linreg_pl.training.checkpoint_contents import NewerFormatError


class Resumption(NamedTuple):
    """A run to resume."""

    run: Path
    checkpoint: CheckpointFile | None  # None for a run that was killed before its first checkpoint
    checkpoint_paths: list[Path]  # all of the run's, when it was looked at

    @property
    def step(self) -> int:
        """Returns the step at which the run goes on."""
        return 0 if self.checkpoint is None else self.checkpoint.contents.global_step


def find_resumption(name: str, root: Path) -> Resumption:
    """Finds what `--resume name` continues.

    The name is `auto` (the newest interrupted run below `root`), a run's folder, or a checkpoint.
    Names a damaged checkpoint on stderr and takes the next older one. A checkpoint that the user names is taken or
    refused.

    Raises:
        InputError: there is nothing to resume, or no checkpoint of the run can be used.
    """
    if name == "auto":
        interrupted = [run for run in all_runs(root) if run_state(run) == "interrupted"]
        if not interrupted:
            raise InputError(
                f"{root / RUNS}: there is no interrupted run to resume; linreg runs lists the runs, and"
                " --resume RUN_FOLDER continues a finished run, with more --trainer.max_epochs or --trainer.max_time"
            )
        return newest_good_checkpoint(interrupted[-1])
    path = Path(name)
    if path.is_dir():
        return newest_good_checkpoint(path)
    if not path.exists():
        raise InputError(f"{name}: there is no such run or checkpoint; linreg runs lists the runs")
    checkpoint, run = read_checkpoint(path), run_of(path)
    if step_of(path) < 0:
        raise InputError(f"{path}: the name must be step=N.ckpt, where N is the checkpoint's step; rename the file")
    if run is None:
        raise InputError(f"{path}: its run's folder has no {CONFIG}; --resume needs the whole folder")
    return Resumption(run, checkpoint, checkpoints(run))


def newest_good_checkpoint(run: Path) -> Resumption:
    """Reads the run's newest checkpoint that is not damaged.

    Skips the checkpoint at the end of an interrupted run: a run without a report did not end properly.

    Raises:
        InputError: this is no run, it is running, or all of its checkpoints are damaged.
        NewerFormatError: a later version of this program wrote a checkpoint.
    """
    require_run(run)
    state = run_state(run)
    if state == "running":
        raise InputError(f"{run}: another process is training in this folder; wait for it, or stop it")
    paths, num_damaged = checkpoints(run), 0
    for path in reversed(paths):
        try:
            checkpoint = read_checkpoint(path)
        except NewerFormatError:  # an older checkpoint would be the start of another run, which removes this one
            raise
        except InputError as error:
            num_damaged += 1
            print(f"linreg: {error}", file=sys.stderr)
            continue
        is_end = checkpoint.contents.progress.is_complete(checkpoint.contents.global_step)
        if not (is_end and state == "interrupted"):
            return Resumption(run, checkpoint, paths)
    if num_damaged:
        raise InputError(
            f"{run}: none of its checkpoints can be used ({num_damaged} damaged); start a new run with"
            f" --config {run / CONFIG}"
        )
    return Resumption(run, None, paths)


def checkpoint_at(path: Path) -> CheckpointFile:
    """Reads a checkpoint, or the newest one of a folder that is not damaged.

    Args:
        path: A checkpoint, a run's folder, or a folder of another trainer, with checkpoints in it or in `checkpoints/`.

    Raises:
        InputError: there is no such file, no checkpoint in the folder, or none that can be used.
    """
    if not path.is_dir():
        return read_checkpoint(path)
    if (path / CONFIG).is_file() or (path / STUDY).is_file():
        checkpoint = newest_good_checkpoint(path).checkpoint
        if checkpoint is None:
            raise InputError(f"{path}: the run has no checkpoint yet; go on with it: linreg fit --resume {path}")
        return checkpoint
    paths = [*path.glob("*.ckpt"), *path.glob("checkpoints/*.ckpt")]
    if not paths:
        raise InputError(f"{path}: there is no checkpoint in this folder, and none in {path / 'checkpoints'}")
    return read_checkpoint(max(paths, key=lambda each: each.stat().st_mtime))
