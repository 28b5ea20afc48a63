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
from typing import TYPE_CHECKING, Any, Self

from linreg_pl.core.expected_loss import ExpectedLoss
from linreg_pl.errors import InputError, flag_text
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import CONFIG, RUNS, STUDY, checkpoints, read_report, require_folder, step_of
from linreg_pl.runs.lock import is_locked
from linreg_pl.tuning.ranges import VARIED, TuneSettings

if TYPE_CHECKING:  # Lightning takes seconds to import
    from linreg_pl.data.module import BatchDataModule

RESULTS = "results.json"


@dataclass(frozen=True)
class Combination:
    """A combination of settings, and its predicted loss."""

    settings: dict[str, Any]  # by name
    steps: int  # of its run
    epochs: float
    mean: float | None  # predicted loss; None if it is not finite, like its bounds
    low: float | None
    high: float | None
    diverges: bool  # whether J over the rows to fit is expected to grow

    @property
    def flags(self) -> list[str]:
        """Returns the flags of `linreg fit` that set it."""
        return [text for name, value in self.settings.items() for text in (VARIED[name].flag, str(value))]

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
    fingerprint: str  # checksum of the rows; empty if the settings determine them
    workers: int
    trials: list[Combination]  # trial K is run in version_K
    others: list[Combination] = field(default_factory=list)

    @classmethod
    def chosen(
        cls, folder: Path, loss: str, fingerprint: str, settings: TuneSettings, combinations: Sequence[Combination]
    ) -> Self:
        """Returns the study whose trials are the combinations with the least predicted loss."""
        ranked = sorted(combinations, key=lambda each: each.rank)
        possible = [each for each in ranked if settings.diverging or not each.diverges]
        trials = possible[: settings.trials]
        others = [each for each in ranked if not any(each is trial for trial in trials)]
        return cls(folder, loss, fingerprint, settings.workers, trials, others)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads a study.

        Raises:
            InputError: there is none, or its file is damaged.
        """
        require_folder(folder)
        try:
            contents = json.loads((folder / STUDY).read_text())
            trials, others = ([Combination(**each) for each in contents[name]] for name in ("trials", "others"))
            return cls(folder, contents["loss"], contents["fingerprint"], contents["workers"], trials, others)
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: this folder is no study, it has no {STUDY}; linreg runs lists the studies"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder / STUDY}: the study's file is damaged; start the study anew") from error

    def require_same_rows(self, data: "BatchDataModule") -> None:
        """Checks that a trial's rows are those of the other trials.

        Raises:
            InputError: they have changed since the study began.
        """
        if data.fingerprint != self.fingerprint:
            raise self.changed_rows()

    def changed_rows(self) -> InputError:
        """Returns the error that the rows have changed since the study began."""
        return InputError(
            f"{self.folder}: the rows have changed since this study began, and its trials can't be compared on others:"
            " restore them, or start another study"
        )

    def write(self, settings: str) -> None:
        """Writes the study's files; `settings` are those that all trials share, as YAML."""
        write_durably(self.settings, settings.encode())
        contents = {
            "loss": self.loss,
            "fingerprint": self.fingerprint,
            "workers": self.workers,
            "trials": [asdict(trial) for trial in self.trials],
            "others": [asdict(other) for other in self.others],
        }
        write_durably(self.folder / STUDY, (json.dumps(contents, indent=2) + "\n").encode())

    @property
    def combinations(self) -> list[Combination]:
        """Returns all combinations, the trials first."""
        return [*self.trials, *self.others]

    @property
    def state(self) -> str:
        """Returns `running`, `finished` or `interrupted`."""
        if is_locked(self.folder):
            return "running"
        return "finished" if (self.folder / RESULTS).is_file() else "interrupted"

    @property
    def settings(self) -> Path:
        """Returns the file of the settings that all trials share."""
        return self.folder / "settings.yaml"

    def run(self, number: int) -> Path:
        """Returns the folder of a trial's run."""
        return self.folder / RUNS / f"version_{number}"

    def number_of(self, run: Path) -> int | None:
        """Returns the number of the trial whose run is in a folder; None if there is none."""
        return next((k for k in range(len(self.trials)) if self.run(k).resolve() == run.resolve()), None)

    def command(self, number: int, program: str) -> str:
        """Returns the command that repeats a trial, as it is typed."""
        flags = [flag_text(text) for text in self.trials[number].flags]
        return " ".join([program, "fit", "--config", shlex.quote(str(self.settings)), *flags])

    def resume_command(self, program: str) -> str:
        """Returns the command that goes on with the study, as it is typed."""
        return f"{program} tune --resume {shlex.quote(str(self.folder))}"

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

    def results(self) -> dict[str, Any]:
        """Returns what was predicted and measured, with None for what is not finite."""
        trials = [
            {**asdict(trial), "measured": loss if math.isfinite(loss) else None, "run": str(self.run(number).name)}
            for number, trial in enumerate(self.trials)
            for loss in [self.measured(number)]
        ]
        return {"loss": self.loss, "best": self.best(), "trials": trials}

    def write_results(self) -> None:
        """Writes what was predicted and measured."""
        write_durably(self.folder / RESULTS, (json.dumps(self.results(), indent=2) + "\n").encode())
