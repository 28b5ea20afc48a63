"""The subcommands `linreg runs` and `linreg plot`, which take a folder and no settings."""

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from linreg_pl.cli.flags import COMMANDS
from linreg_pl.errors import InputError
from linreg_pl.runs.listing import print_runs


class FolderParser(argparse.ArgumentParser):
    """A parser of one folder."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def run_folder_command(name: str, args: list[str]) -> None:
    """Runs `linreg runs` or `linreg plot`.

    Raises:
        InputError: the arguments can't be used.
    """
    parser = FolderParser(f"linreg {name}", description=COMMANDS[name].summary, add_help=False)
    parser.add_argument("-h", "--help", action="help", help="Print this help, and exit.")
    if name == "runs":
        parser.add_argument(
            "folder", nargs="?", default=".", type=Path, help="The folder of lightning_logs (default: .)."
        )
        print_runs(parser.parse_args(args).folder, as_typed("linreg"))
    else:
        parser.add_argument("RUN", type=Path, help="The run's folder, such as lightning_logs/version_0.")
        draw_run(parser.parse_args(args).RUN)


def draw_run(run: Path) -> None:
    """Draws a run, and prints where."""
    from linreg_pl.plots.plot import plot  # imports matplotlib, which no other subcommand needs

    names = [path.name for path in plot(run)]
    print(f"{', '.join(names)} in {run / 'plots'}, and among TensorBoard's images")


def as_typed(name: str) -> str:
    """Returns how to type a command of this environment in the current folder."""
    program = Path(sys.argv[0])
    script = (program if program.name == "linreg" else Path(sys.executable)).with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).absolute() == script.absolute() else os.path.relpath(script)
