"""Stores a study: the predicted loss of each combination of settings, and the trials, which are ordinary runs.

tune_N/   settings.yaml                 the settings that all trials share, for `linreg fit --config`
          study.json                    what was predicted, and which trials are run
          lightning_logs/version_K/     the run of trial K
          results.json                  what was predicted and measured, once all trials have ended
"""

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from linreg_pl.core.expected_loss import ExpectedLoss
from linreg_pl.errors import InputError, flag_text
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import CONFIG, RUNS, checkpoints, read_report, step_of
from linreg_pl.tuning.ranges import TuneSettings


@dataclass(frozen=True)
class Combination:
    """A combination of settings, and its predicted loss."""

    settings: dict[str, Any]  # by name
    steps: int  # of its run
    mean: float | None  # predicted loss; None if it is not finite, like its bounds
    low: float | None
    high: float | None
    diverges: bool  # whether J over the rows to fit is expected to grow

    @property
    def flags(self) -> list[str]:
        """Returns the flags of `linreg fit` that set it."""
        return [text for name, value in self.settings.items() for text in (TuneSettings.flags[name], str(value))]

    @property
    def predicted(self) -> ExpectedLoss:
        """Returns the predicted loss."""
        return ExpectedLoss(*(math.inf if value is None else value for value in (self.mean, self.low, self.high)))

    @property
    def rank(self) -> tuple[bool, float]:
        """Returns what combinations are sorted by: those that diverge come last."""
        return self.diverges, self.predicted.mean


@dataclass(frozen=True)
class Study:
    """A study in its folder."""

    folder: Path
    loss: str  # name of the loss
    workers: int
    trials: list[Combination]  # trial K is run in version_K
    others: list[Combination] = field(default_factory=list)

    FILE = "study.json"

    @classmethod
    def chosen(cls, folder: Path, loss: str, settings: TuneSettings, combinations: Sequence[Combination]) -> Self:
        """Returns the study whose trials are the combinations with the least predicted loss."""
        ranked = sorted(combinations, key=lambda each: each.rank)
        possible = [each for each in ranked if settings.diverging or not each.diverges]
        trials = possible[: settings.trials]
        others = [each for each in ranked if not any(each is trial for trial in trials)]
        return cls(folder, loss, settings.workers, trials, others)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads a study.

        Raises:
            InputError: there is none, or its file is damaged.
        """
        try:
            contents = json.loads((folder / cls.FILE).read_text())
            trials, others = ([Combination(**each) for each in contents[name]] for name in ("trials", "others"))
            return cls(folder, contents["loss"], contents["workers"], trials, others)
        except FileNotFoundError as error:
            raise InputError(f"{folder}: this folder is no study, it has no {cls.FILE}; start one anew") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / cls.FILE}: the study's file is damaged; start the study anew") from error

    def write(self, settings: str) -> None:
        """Writes the study's files; `settings` are those that all trials share, as YAML."""
        write_durably(self.settings, settings.encode())
        contents = {
            "loss": self.loss,
            "workers": self.workers,
            "trials": [asdict(trial) for trial in self.trials],
            "others": [asdict(other) for other in self.others],
        }
        write_durably(self.folder / self.FILE, (json.dumps(contents, indent=2) + "\n").encode())

    @property
    def settings(self) -> Path:
        """Returns the file of the settings that all trials share."""
        return self.folder / "settings.yaml"

    def run(self, number: int) -> Path:
        """Returns the folder of a trial's run."""
        return self.folder / RUNS / f"version_{number}"

    def command(self, number: int, program: str) -> str:
        """Returns the command that repeats a trial, as it is typed."""
        flags = [flag_text(text) for text in self.trials[number].flags]
        return " ".join([program, "fit", "--config", shlex.quote(str(self.settings)), *flags])

    def steps_taken(self, number: int) -> int:
        """Returns how far a trial is, by its newest checkpoint."""
        if self.has_ended(number):
            return self.trials[number].steps
        return max(map(step_of, checkpoints(self.run(number))), default=0)

    def has_begun(self, number: int) -> bool:
        """Returns whether a trial has a run that can be resumed."""
        return (self.run(number) / CONFIG).is_file()

    def has_ended(self, number: int) -> bool:
        """Returns whether a trial's run has ended."""
        return read_report(self.run(number)) is not None

    def measured(self, number: int) -> float:
        """Returns the loss with which a trial ended; infinity if it diverged."""
        report = read_report(self.run(number)) or {}
        if report.get("state") != "finished":
            return math.inf
        loss = report["held_out"]["mse"] if "held_out" in report else report["exact"]["objective"] + report["gap"]
        return math.inf if loss is None else float(loss)

    def best(self) -> int | None:
        """Returns the trial that ended with the least loss, of equal ones the first; None if all have diverged."""
        number = min(range(len(self.trials)), key=self.measured)
        return number if math.isfinite(self.measured(number)) else None

    def write_results(self) -> None:
        """Writes what was predicted and measured."""
        results = [
            {**asdict(trial), "measured": loss if math.isfinite(loss) else None, "run": str(self.run(number).name)}
            for number, trial in enumerate(self.trials)
            for loss in [self.measured(number)]
        ]
        contents = {"loss": self.loss, "best": self.best(), "trials": results}
        write_durably(self.folder / "results.json", (json.dumps(contents, indent=2) + "\n").encode())


def new_folder(root: Path) -> Path:
    """Makes the folder of a new study below `root`, with the next free number."""
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        folder = root / f"tune_{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
