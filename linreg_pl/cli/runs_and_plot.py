"""`linreg runs` and `linreg plot`, which have no settings, but a folder; and how a command is typed from here."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from linreg_pl.errors import InputError
from linreg_pl.runs.listing import print_runs


class FolderParser(argparse.ArgumentParser):
    """Of a command that has no settings, but a folder."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def runs(args: list[str]) -> None:
    """Lists the runs there are."""
    parser = FolderParser("linreg runs", description="List the runs there are, and their states.")
    parser.add_argument("folder", nargs="?", default=".", type=Path, help="where lightning_logs lies")
    print_runs(parser.parse_args(args).folder, as_typed("linreg"))


def plot(args: list[str]) -> None:
    """Draws a run, and says where."""
    parser = FolderParser("linreg plot", description="Draw a run: into its folder, and onto TensorBoard.")
    parser.add_argument("RUN", type=Path, help="its folder, such as lightning_logs/version_0")
    run = parser.parse_args(args).RUN
    from linreg_pl.plots import plot as plots  # with matplotlib, which no other command of ours needs

    names = [path.name for path in plots.plot(run)]
    print(f"{', '.join(names)} in {run / 'plots'}, and among TensorBoard's images")


def as_typed(name: str) -> str:
    """How to type a command of this environment, from here."""
    typed = Path(sys.argv[0])
    there = (typed if typed.name == "linreg" else Path(sys.executable)).with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).absolute() == there.absolute() else os.path.relpath(there)
