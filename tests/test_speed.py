"""Limits the work of a run, counted in calls of Python functions: other work on the machine does not change it.

Runs of two lengths give the calls a step, and a short run those of a start, with every feature on. `make bench`
measures the time. A change that makes a run do more has to raise a number here, with the reason.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.commands import linreg
from tests.runs import DIABETES, PLAIN
from tests.sabotage import patch

TABLE = ("--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression", *PLAIN)


@dataclass
class CountCalls:
    """Counts the calls of Python functions in the process, from now to the end of the command."""

    counted: Path

    def __call__(self) -> None:
        from linreg_pl.cli import fit
        from linreg_pl.cli.command import LinregCLI
        from linreg_pl.training.executions import Executions

        LinregCLI.parsers.clear()  # which tests/preload.py has built
        patch(Executions, "max_seconds", math.inf)  # counting is slow, and would cut executions short
        calls, real = 0, fit.print_summary

        def count(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        def note(*args: Any, **kwargs: Any) -> None:
            sys.setprofile(None)
            self.counted.write_text(str(calls))
            real(*args, **kwargs)

        patch(fit, "print_summary", note)
        sys.setprofile(count)


def calls(*flags: str, folder: Path) -> int:
    """Returns the number of calls in a run."""
    result = linreg("fit", *flags, cwd=folder, before=CountCalls(folder / "calls"))
    assert (result.code, result.stderr) == (0, "")
    return int((folder / "calls").read_text())


@pytest.mark.parametrize(
    ("flags", "epochs", "steps_per_epoch", "at_most"),
    [
        ((), (150, 250), 2, 83),  # measured: 75; with one step an execution 1341
        (("--trainer.log_every_n_steps", "1"), (150, 250), 2, 216),  # measured: 210; six draw log10 of loss and gap
        ((*TABLE, "--data.batch_size", "10", "--model.learning_rate", "0.01"), (90, 130), 44, 55),  # measured: 46
    ],
    ids=["the tutorial's job", "a point every step", "a shuffled table"],
)
def test_calls_a_step(
    flags: tuple[str, ...], epochs: tuple[int, int], steps_per_epoch: int, at_most: int, tmp_path: Path
) -> None:
    """Measures the epochs that a longer run has more, with one save and one printed line."""
    short, long = (calls(*flags, "--trainer.max_epochs", str(length), folder=tmp_path) for length in epochs)
    calls_a_step = (long - short) / ((epochs[1] - epochs[0]) * steps_per_epoch)
    print(f"{calls_a_step:.1f} calls a step")
    assert calls_a_step <= at_most


def test_calls_of_a_start(tmp_path: Path) -> None:
    """Counts flags, the run's folder, exact solution, first point, last checkpoint, and report."""
    num_calls = calls("--trainer.max_epochs", "1", folder=tmp_path)
    print(f"{num_calls} calls")
    assert num_calls <= 205_000  # measured: 186 000, with the caches that tests/preload.py fills
