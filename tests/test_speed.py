"""How much work is a run? Counted in calls of Python functions, which no other work of the machine changes.

The calls are those of real runs, everything on, as two lengths differ and as a short run has them. How long they take
is no test's business: `make bench` measures it. Whoever makes a run do more has to raise a number here, and say why.
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
    """Counts the calls of Python functions in the process, from here to the end of the command."""

    counted: Path

    def __call__(self) -> None:
        from linreg_pl.cli import command as cli
        from linreg_pl.training.executions import Executions

        patch(Executions, "max_seconds", math.inf)  # counting is slow, and must not cut executions short
        calls, real = 0, cli.LinregCLI.after_fit

        def count(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event == "call"

        def note(command: Any) -> None:
            sys.setprofile(None)
            self.counted.write_text(str(calls))
            real(command)

        patch(cli.LinregCLI, "after_fit", note)
        sys.setprofile(count)


def calls(*flags: str, folder: Path) -> int:
    """Of a run."""
    result = linreg("fit", *flags, cwd=folder, before=CountCalls(folder / "calls"))
    assert (result.code, result.stderr) == (0, "")
    return int((folder / "calls").read_text())


@pytest.mark.parametrize(
    ("flags", "steps_per_epoch", "at_most"),
    [
        ((), 2, 83),  # found: 75; one step an execution 1341
        (("--trainer.log_every_n_steps", "1"), 2, 212),  # found: 192
        ((*TABLE, "--data.batch_size", "10", "--model.learning_rate", "0.01"), 44, 55),  # found: 49.5
    ],
    ids=["the tutorial's job", "each step drawn", "a shuffled table"],
)
def test_calls_a_step(flags: tuple[str, ...], steps_per_epoch: int, at_most: int, tmp_path: Path) -> None:
    """Of a run's further hundred epochs, a save and a printed line among them."""
    short, long = (calls(*flags, "--trainer.max_epochs", str(epochs), folder=tmp_path) for epochs in (150, 250))
    found = (long - short) / (100 * steps_per_epoch)
    print(f"{found:.1f} calls a step")
    assert found <= at_most


def test_calls_of_a_start(tmp_path: Path) -> None:
    """Flags, run's folder, exact answer, first point, last checkpoint, report."""
    found = calls("--trainer.max_epochs", "1", folder=tmp_path)
    print(f"{found} calls")
    assert found <= 275_000  # found: 252 000; with the flags of all commands 565 000
