"""Finds the folders of runs, reads what is in them, and makes new ones.

lightning_logs/version_N/   config.yaml   every setting, as the command line understood it
                            hparams.yaml  hyper-parameters of model and data
                            events.out…   TensorBoard's curves
                            checkpoints/  step=….ckpt
                            report.json   how the run ended
                            plots/        pictures, once linreg plot has drawn them
                            report.html   a page for others, once linreg report has written it
                            .lock         held by the process that trains in this folder
"""

import contextlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from linreg_pl.errors import InputError
from linreg_pl.runs.lock import is_locked

if TYPE_CHECKING:  # Lightning takes seconds to import
    from lightning.pytorch import Trainer

RUNS = "lightning_logs"
CONFIG = "config.yaml"
REPORT = "report.json"
STUDY = "study.json"


def run_folder(trainer: "Trainer") -> Path | None:
    """Returns the folder that this trainer's run writes to; None if it keeps nothing."""
    is_trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it with setattr
    if is_trial or trainer.logger is None or trainer.log_dir is None:
        return None
    return Path(trainer.log_dir)


def all_runs(root: Path) -> list[Path]:
    """Returns the folders of all runs below `root`, oldest first. A folder without a config is not a run yet."""
    names = {path: re.fullmatch(r"version_(\d+)", path.name) for path in (root / RUNS).glob("version_*")}
    runs = [path for path, match in names.items() if match and (path / CONFIG).is_file()]
    return sorted(runs, key=lambda path: int(path.name.removeprefix("version_")))


def checkpoint_folder(run: Path) -> Path:
    """Returns the folder of a run's checkpoints."""
    return run / "checkpoints"


def step_of(checkpoint: Path) -> int:
    """Returns the optimizer step in a checkpoint's name; -1 if the name has none."""
    match = re.fullmatch(r"step=(\d+)\.ckpt", checkpoint.name)
    return int(match[1]) if match else -1


def checkpoints(run: Path) -> list[Path]:
    """Returns the paths of the run's checkpoints, oldest first."""
    return sorted((path for path in checkpoint_folder(run).glob("*.ckpt") if step_of(path) >= 0), key=step_of)


def run_of(checkpoint: Path) -> Path | None:
    """Returns the folder of the run that a checkpoint is in; None if it was moved out of its run."""
    run = checkpoint.absolute().parent.parent
    with contextlib.suppress(ValueError):  # a run outside the working directory keeps its full name
        run = run.relative_to(Path.cwd())
    return run if (run / CONFIG).is_file() else None


def study_of(run: Path) -> Path | None:
    """Returns the folder of the study that a run is a trial of; None for other runs, made in its folder or not."""
    run = run.resolve()
    study, number = run.parent.parent, run.name.removeprefix("version_")
    try:
        num_trials = len(json.loads((study / STUDY).read_text())["trials"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):  # damaged: any run may be a trial
        num_trials = sys.maxsize
    if run.parent.name != RUNS or not number.isdecimal() or int(number) >= num_trials:
        return None
    with contextlib.suppress(ValueError):  # a study outside the working directory keeps its full name
        study = study.relative_to(Path.cwd())
    return study


def require_folder(run: Path) -> None:
    """Checks that a folder exists which should be a run's, or a study's.

    Raises:
        InputError: it does not.
    """
    if not run.is_dir():
        raise InputError(f"{run}: there is no such folder; linreg runs lists the runs")


def require_run(folder: Path) -> None:
    """Checks that a folder is a run's.

    Raises:
        InputError: it has no config, or it is a study's.
    """
    if (folder / CONFIG).is_file():
        return
    if (folder / STUDY).is_file():
        trial = "".join(f"name a trial's run, such as {run}, or " for run in all_runs(folder)[:1])
        resume = f"linreg tune --resume {shlex.quote(str(folder))}"
        raise InputError(f"{folder}: this is a study, not a run: {trial}go on with the study by {resume}")
    raise InputError(f"{folder}: this folder is no run, it has no {CONFIG}; linreg runs lists the runs")


def read_settings(run: Path, name: str = CONFIG) -> dict[str, Any]:
    """Reads a run's config, or a file of settings of another name in a folder.

    Raises:
        InputError: it is damaged.
    """
    try:
        settings = yaml.load((run / name).read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{run / name}: the settings are damaged") from error
    if not isinstance(settings, dict):
        raise InputError(f"{run / name}: the settings are damaged")
    return settings


def read_data_settings(run: Path, name: str = CONFIG) -> dict[str, Any]:
    """Reads the data's part of the same settings: `class_path` and `init_args`.

    Raises:
        InputError: the config is damaged.
    """
    try:
        settings = read_settings(run, name)["data"]
        return {"class_path": settings["class_path"], "init_args": settings["init_args"]}
    except (KeyError, TypeError) as error:
        raise InputError(f"{run / name}: the settings are damaged") from error


def read_report(run: Path) -> dict[str, Any] | None:
    """Reads the run's report; None if the run has not ended, or the report can't be read."""
    try:
        report = json.loads((run / REPORT).read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and {"state", "global_step"} <= set(report) else None


def run_state(run: Path) -> str:
    """Returns `running`, `finished`, `diverged` or `interrupted`."""
    if is_locked(run):
        return "running"
    report = read_report(run)
    return "interrupted" if report is None else str(report["state"])


def new_run(root: Path) -> Path:
    """Makes the folder of a new run below `root`, with the next free number, even if others start runs meanwhile."""
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
    """Removes the folder of a run that failed before it had a config."""
    if run is not None and not (run / CONFIG).exists():
        shutil.rmtree(run, ignore_errors=True)
        with contextlib.suppress(OSError):  # other runs are there
            run.parent.rmdir()
