"""Where does a run lie, which is the newest, and what is in its folder?

lightning_logs/version_N/   config.yaml   every setting, as the command line understood it
                            hparams.yaml  hyper-parameters of model and data
                            events.out…   TensorBoard's curves
                            checkpoints/  step=….ckpt
                            report.json   the result
"""

import re
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from linreg_pl.errors import InputError

RUNS = "lightning_logs"
CONFIG = "config.yaml"


def run_folder(trainer: Trainer) -> Path | None:
    """The folder that this trainer's run writes to; None where it keeps nothing."""
    trial: bool = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it with setattr
    if trial or trainer.logger is None or trainer.log_dir is None:
        return None
    return Path(trainer.log_dir)


def runs(root: Path) -> list[Path]:
    """The run folders below `root`, oldest first."""
    numbers = {path: re.fullmatch(r"version_(\d+)", path.name) for path in (root / RUNS).glob("version_*")}
    return sorted((path for path, match in numbers.items() if match), key=lambda path: int(path.name[8:]))


def checkpoint_folder(run: Path) -> Path:
    """Where a run's checkpoints lie."""
    return run / "checkpoints"


def step_of(checkpoint: Path) -> int | None:
    """The optimizer step in a checkpoint's name."""
    match = re.fullmatch(r"step=(\d+)\.ckpt", checkpoint.name)
    return int(match[1]) if match else None


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, oldest first."""
    steps = {path: step_of(path) for path in checkpoint_folder(run).glob("step=*.ckpt")}
    return sorted((path for path, step in steps.items() if step is not None), key=lambda path: steps[path] or 0)


def checkpoint_to_resume(name: str, root: Path) -> Path:
    """The checkpoint that `--resume name` means: `auto`, a run's folder, or a checkpoint in one.

    Raises:
        InputError: there is none.
    """
    if name == "auto":
        found = [path for run in runs(root) for path in checkpoints(run)]
        if not found:
            raise InputError(f"{root / RUNS}: no run there has a checkpoint; start one with: linreg fit")
        return found[-1]
    path = Path(name)
    if path.is_dir():
        if not checkpoints(path):
            raise InputError(f"{path}: no checkpoint lies in this folder; give --resume a run that saved one")
        return checkpoints(path)[-1]
    return path


def run_of(checkpoint: Path) -> Path | None:
    """The run's folder that a checkpoint lies in; None for one that was moved elsewhere."""
    run = checkpoint.parent.parent
    return run if (run / CONFIG).is_file() else None


def run_logger(root: Path, resumed: Path | None = None) -> TensorBoardLogger:
    """TensorBoard's logger for a new run below `root`, or for the run that `resumed`, a checkpoint, lies in.

    Points past the checkpoint's step are purged: what a killed run wrote after its last checkpoint is drawn once, by
    the run that goes on. TensorBoard's readers agree only if a purge is written at every start, the first included.
    """
    if resumed is None:
        return TensorBoardLogger(root, name=RUNS, default_hp_metric=False, purge_step=0)
    folder = resumed.parent.parent
    return TensorBoardLogger(
        folder.parent.parent,
        name=folder.parent.name,
        version=folder.name,
        default_hp_metric=False,
        purge_step=(step_of(resumed) or 0) + 1,
    )
