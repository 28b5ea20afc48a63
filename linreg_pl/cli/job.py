"""What a command works on: the model, the data and the settings that the flags ask for, and where it starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from linreg_pl.callbacks.pass_bar import PassBar
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.base import Rows
from linreg_pl.runs.checkpoint_file import CheckpointFile
from linreg_pl.runs.resume import Resumption
from linreg_pl.training.hyper_parameters import HyperParameters

if TYPE_CHECKING:
    from linreg_pl.data.module import BatchDataModule  # slow to import, like the next
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

    settings: Namespace  # classes are instantiated
    config: Namespace  # classes are named, as in config.yaml
    parser: ArgumentParser
    start: Start
    allow_changed_settings: bool
    bar: PassBar | None  # at a terminal
    run: Path | None = None  # folder of the run of a trial, which a study runs
    resume: str | None = None  # folder of a study to resume
    world: World = ALONE  # the processes of this command

    @property
    def model(self) -> "LinearRegression":
        """Returns the model of a command that trains or evaluates one."""
        model: LinearRegression = self.settings.model
        return model

    @property
    def posed(self) -> HyperParameters:
        """Returns the model's settings, for a command that trains nothing."""
        settings: HyperParameters = self.settings.model
        return settings

    @property
    def data(self) -> "BatchDataModule":
        """Returns the data of a command that trains or evaluates."""
        data: BatchDataModule = self.settings.data
        return data

    @property
    def rows(self) -> Rows:
        """Returns the data's rows, for any command."""
        rows: Rows = self.settings.data
        return rows

    @property
    def prints(self) -> bool:
        """Returns whether this process prints: of several, the first does."""
        return self.world.rank == 0


def as_list(setting: Any) -> list[Any]:
    """Returns a setting that may be one value, several or none as a list."""
    return [] if setting is None else list(setting) if isinstance(setting, list | tuple) else [setting]
