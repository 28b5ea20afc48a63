"""What is alike in all pages: their flags, what they say of the machine, and how they show several rounds."""

import argparse
import datetime
import logging
import os
import platform
import re
import statistics
import sys
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
    """Date, machine and versions."""
    versions = ", ".join(f"{name} {installed_version(name)}" for name in packages)
    cores = f"{os.cpu_count()} cores, {platform.system()}"
    return {
        "date": str(datetime.date.today()),
        "machine": f"{cpu_model()}, {cores}; load {LOAD:.2f} before the first run",
        "python": f"{platform.python_version()}, {versions}",
    }


def named(notes: dict[str, str]) -> list[str]:
    """A line each."""
    return [f"{name:9} {words}" for name, words in notes.items()]


def installed_version(name: str) -> str:
    """Of a package, which need not be there: scipy comes with the development tools only, and importing Lightning
    imports it then, which lengthens the whole process by about 0.7 s.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """The processor's name, as Linux gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def peak_memory() -> float:
    """MB that this process has had at most; getrusage has its parent's too."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return int(peak[1]) / 1024


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Median, and the least and largest value."""
    median, least, largest = statistics.median(values), min(values), max(values)
    return f"{median:.{decimals}f} ({least:.{decimals}f}-{largest:.{decimals}f})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each taken within a round."""
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def silent_trainer(**settings: Any) -> "Trainer":
    """Of Lightning, that shows and keeps nothing."""
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


def said(words: str) -> None:
    """How far a page is, for whoever waits for it."""
    print(words, file=sys.stderr, flush=True)


# ---- flags ----


def flags_of(name: str, rows: int, least: int, rounds: int = 5) -> argparse.ArgumentParser:
    """Of the page `benchmarks.name`, whose table has so many rows, and may not have fewer than `least`."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--rounds", type=at_least(1), default=rounds, help="how often each is measured")
    parser.add_argument("--rows", type=at_least(least), default=rows, help="a smaller table, to try this page out")
    parser.add_argument("--output", type=Path, help="file to write the page to, too")
    return parser


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that is a whole number from `least` on."""

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
