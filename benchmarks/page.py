"""Holds what all pages share: flags, the description of the machine, and the format of several rounds."""

import argparse
import datetime
import logging
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer  # which processes whose memory is measured do not import

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers"
LOAD = os.getloadavg()[0]
"""Of the machine, before anything is measured."""


@dataclass(frozen=True)
class Page:
    """What was measured, on what, and what came of it.

    Args:
        title: The job, in a line.
        packages: Whose versions matter.
        notes: What else there is to say before the figures, by a word of at most nine letters.
        lines: The figures.
        drawn: Those of a picture, in plain types.
    """

    title: str
    packages: Sequence[str]
    notes: dict[str, str]
    lines: list[str]
    drawn: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [self.title, "", *named({**environment(self.packages), **self.notes}), "", *self.lines]
        return "\n".join(line.rstrip() for line in lines) + "\n"


def environment(packages: Sequence[str]) -> dict[str, str]:
    """Returns the date, the machine and the versions."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in packages)
    cores = f"{os.cpu_count()} cores, {platform.system()}"
    return {
        "date": str(datetime.date.today()),
        "machine": f"{cpu_model()}, {cores}; load {LOAD:.2f} before the first run",
        "python": f"{platform.python_version()}, {versions}",
    }


def named(notes: dict[str, str]) -> list[str]:
    """Returns a line for each note."""
    return [f"{name:9} {words}" for name, words in notes.items()]


def installed_version(name: str) -> str:
    """Returns a package's version, or "not installed".

    scipy is one that may be missing: it comes with the development tools only. Lightning imports it where it is, and
    that takes about 0.7 s.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """Returns the processor's name, as Linux gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def peak_memory() -> float:
    """Returns the peak memory of this process in MB; getrusage would include its parent's."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Returns the median, and the least and largest value."""
    median, least, largest = (rounded(each, decimals) for each in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least}-{largest})"


def rounded(value: float, decimals: int = 2) -> str:
    """Returns a number with `decimals` decimals, or more where these are fewer than two significant digits."""
    if value:
        decimals = max(decimals, 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Returns the ratios of two programs, each taken within a round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def silent_trainer(**settings: Any) -> "Trainer":
    """Returns a Lightning trainer that shows and writes nothing."""
    from lightning.pytorch import Trainer

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # of GPUs that are not there
    warnings.simplefilter("ignore")  # of loaders without workers
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def run_program(command: Sequence[str], folder: Path) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Runs a program to its end, without settings of linreg in its environment; returns the seconds, and its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINREG")}
    start = time.perf_counter()
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return time.perf_counter() - start, ended


def report_progress(words: str) -> None:
    """Prints the progress of a page to stderr."""
    print(words, file=sys.stderr, flush=True)


# ---- flags ----


def flags_of(name: str, rows: int, least: int, rounds: int = 5) -> argparse.ArgumentParser:
    """Returns the flags of the page `benchmarks.name`; its table has `rows` rows by default, and at least `least`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--rounds", type=at_least(1), default=rounds, help="how often each is measured")
    parser.add_argument("--rows", type=at_least(least), default=rows, help="a smaller table, to try this page out")
    parser.add_argument("--output", type=Path, help="file to write the page to, too")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """Returns the type of a flag that is a whole number from `least` on."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: give a whole number from {least} on")
        return int(text)

    return number


def show(page: Callable[[argparse.Namespace], Page], flags: argparse.Namespace) -> None:
    """Measures a page, prints it, and writes it where the flags say so."""
    text = str(page(flags))
    print(text, end="")
    if flags.output:
        flags.output.write_text(text)
