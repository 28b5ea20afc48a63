"""Where does a run lie, what is in its folder, and what state is it in?

lightning_logs/version_N/   config.yaml   every setting, as the command line understood it
                            hparams.yaml  hyper-parameters of model and data
                            events.out…   TensorBoard's curves
                            checkpoints/  step=….ckpt
                            report.json   how it ended
                            plots/        pictures, where linreg plot has drawn some
                            .lock         held by the process that writes here, as long as it lives
"""

import contextlib
import fcntl
import json
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tensorboard.compat.proto.summary_pb2 import Summary

from linreg_pl.errors import InputError

RUNS = "lightning_logs"
CONFIG = "config.yaml"
REPORT = "report.json"
LOCK = ".lock"
EVENTS = "events.out.tfevents"
LONGEST_WAIT = 5  # seconds; a clock that was set back further can't be waited for


def run_folder(trainer: Trainer) -> Path | None:
    """The folder that this trainer's run writes to; None where it keeps nothing."""
    trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it with setattr
    if trial or trainer.logger is None or trainer.log_dir is None:
        return None
    return Path(trainer.log_dir)


def runs(root: Path) -> list[Path]:
    """The folders of all runs below `root`, oldest first; a run begins with its config."""
    numbers = {path: re.fullmatch(r"version_(\d+)", path.name) for path in (root / RUNS).glob("version_*")}
    begun = [path for path, match in numbers.items() if match and (path / CONFIG).is_file()]
    return sorted(begun, key=lambda path: int(path.name.removeprefix("version_")))


def checkpoint_folder(run: Path) -> Path:
    """Where a run's checkpoints lie."""
    return run / "checkpoints"


def step_of(checkpoint: Path) -> int:
    """The optimizer step in a checkpoint's name; -1 where there is none."""
    match = re.fullmatch(r"step=(\d+)\.ckpt", checkpoint.name)
    return int(match[1]) if match else -1


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted((path for path in checkpoint_folder(run).glob("*.ckpt") if step_of(path) >= 0), key=step_of)


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint lies in; None for one that was moved elsewhere."""
    run = checkpoint.absolute().parent.parent
    with contextlib.suppress(ValueError):  # it lies elsewhere, and keeps its full name
        run = run.relative_to(Path.cwd())
    return run if (run / CONFIG).is_file() else None


def settings_of(run: Path) -> dict[str, Any]:
    """A run's config.

    Raises:
        InputError: it is damaged.
    """
    try:
        settings = yaml.safe_load((run / CONFIG).read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{run / CONFIG}: the run's settings are damaged") from error
    if not isinstance(settings, dict):
        raise InputError(f"{run / CONFIG}: the run's settings are damaged")
    return settings


def data_settings(run: Path) -> dict[str, Any]:
    """The data's part of a run's config: `class_path` and `init_args`.

    Raises:
        InputError: the config is damaged.
    """
    try:
        settings = settings_of(run)["data"]
        return {"class_path": settings["class_path"], "init_args": settings["init_args"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{run / CONFIG}: the run's settings are damaged") from error


def report_of(run: Path) -> dict[str, Any] | None:
    """The run's report, if it has ended and one can be read."""
    try:
        report = json.loads((run / REPORT).read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and {"state", "global_step"} <= set(report) else None


def state_of(run: Path) -> str:
    """`running`, `finished`, `diverged` or `interrupted`."""
    if is_locked(run):
        return "running"
    report = report_of(run)
    return "interrupted" if report is None else str(report["state"])


def lock(run: Path) -> IO[str]:
    """Takes the run's folder for this process; the kernel gives it back when the process ends, however it ends.

    Raises:
        InputError: another process has it.
    """
    file = (run / LOCK).open("w")
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        time.sleep(0.01)  # it may be `is_locked` in another process, which takes it for a moment
    file.close()
    raise InputError(f"{run}: another process is training in this folder; wait for it, or stop it")


def is_locked(run: Path) -> bool:
    """Whether a process is training in this folder."""
    try:
        with lock(run):
            return False
    except InputError:
        return True
    except OSError:  # a folder that may only be read
        return False


class RunLogger(TensorBoardLogger):
    """TensorBoard's logger, to which a point is one event, however many scalars it has: they are written as one."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Writes the scalars of one step."""
        if any(isinstance(value, dict) for value in metrics.values()):
            super().log_metrics(metrics, step)
            return
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self.experiment.file_writer.add_summary(Summary(value=values), step)


def run_logger(run: Path, first_step: int) -> TensorBoardLogger:
    """TensorBoard's logger for the folder `run`, whose points from `first_step` on are still to come, or come again.

    Those that a killed run has written there are purged. TensorBoard's readers agree only if a purge is written at
    every start, the first included. They read a folder's files by name, which begins with the second and goes on with
    the process's number: where a start before this one has the same second, this one waits for the next.
    """
    for _ in range(40 * LONGEST_WAIT):
        if int(time.time()) > max((int(path.name.split(".")[3]) for path in run.glob(f"{EVENTS}.*")), default=0):
            break
        time.sleep(1 / 40)
    return RunLogger(
        run.parent.parent, name=run.parent.name, version=run.name, default_hp_metric=False, purge_step=first_step
    )


def new_run(root: Path) -> Path:
    """Makes the folder of a new run below `root`: the next free number, whoever else starts one now."""
    folder = root / RUNS
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name[8:]) for path in folder.glob("version_*") if path.name[8:].isdigit()]
    number = max(numbers, default=-1) + 1
    while True:
        run = folder / f"version_{number}"
        try:
            run.mkdir()
        except FileExistsError:
            number += 1
        else:
            return run


def remove_unbegun(run: Path | None) -> None:
    """Removes the folder of a run that failed before it had its config, if it came so far."""
    if run is not None and not (run / CONFIG).exists():
        shutil.rmtree(run, ignore_errors=True)
        with contextlib.suppress(OSError):  # other runs lie there
            run.parent.rmdir()
