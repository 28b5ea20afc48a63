"""What a command works on: the model, the data and the settings that the flags ask for, and where it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from linreg_pl.callbacks.progress_bar import RunBar
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.module import BatchDataModule
from linreg_pl.runs.checkpoint_file import CheckpointFile
from linreg_pl.runs.compatibility import require_same_columns, require_same_shape, require_same_units
from linreg_pl.runs.resume import Resumption
from linreg_pl.training.module import LinearRegression


@dataclass(frozen=True)
class Start:
    """The checkpoint that a command starts from, if any, and the run that it resumes."""

    checkpoint: CheckpointFile | None = None
    resumption: Resumption | None = None

    @property
    def steps(self) -> int:
        """Returns the number of optimizer steps already taken."""
        return self.checkpoint.contents.global_step if self.checkpoint else 0

    @property
    def path(self) -> Path | None:
        """Returns the checkpoint's file."""
        return self.checkpoint.path if self.checkpoint else None

    @property
    def run(self) -> Path | None:
        """Returns the folder of the run to resume."""
        return self.resumption.run if self.resumption else None


@dataclass(frozen=True)
class Job:
    """A command's model, data and settings."""

    model: LinearRegression
    data: BatchDataModule
    settings: Namespace  # classes are instantiated
    config: Namespace  # classes are named, as in config.yaml
    parser: LightningArgumentParser
    start: Start
    allow_changed_settings: bool
    bar: RunBar | None  # at a terminal
    run: Path | None = None  # folder of the run of a trial, which a study runs
    resume: str | None = None  # folder of a study to resume
    world: World = ALONE  # the processes of this command

    @property
    def prints(self) -> bool:
        """Returns whether this process prints: of several, the first does."""
        return self.world.rank == 0


def require_suitable(start: Start, model: LinearRegression, data: BatchDataModule) -> None:
    """Checks that the checkpoint, if there is one, was fitted on the data's columns and in the model's units.

    Raises:
        InputError: it was not.
    """
    if start.checkpoint is not None:
        require_same_shape(start.checkpoint, model)
        require_same_columns(start.checkpoint, data)
        require_same_units(start.checkpoint, model)


def as_list(setting: Any) -> list[Any]:
    """Returns a setting that may be one value, several or none as a list."""
    return [] if setting is None else list(setting) if isinstance(setting, list | tuple) else [setting]
