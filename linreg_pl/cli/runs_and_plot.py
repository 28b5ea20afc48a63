"""The subcommands that take folders of runs and no settings: `linreg runs`, `plot`, `report` and `compare`."""

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
    """Runs `linreg runs`, `plot`, `report` or `compare`.

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
        return
    many = "+" if name == "compare" else None
    parser.add_argument("RUN", type=Path, nargs=many, help="The run's folder, such as lightning_logs/version_0.")
    if name == "plot":
        draw_run(parser.parse_args(args).RUN)
    elif name == "report":
        parser.add_argument("--output", type=Path, metavar="FILE", help="File to write (default: RUN/report.html).")
        parsed = parser.parse_args(args)
        report_run(parsed.RUN, parsed.output or parsed.RUN / "report.html")
    else:
        compare_runs(parser.parse_args(args).RUN)


def draw_run(run: Path) -> None:
    """Draws a run, and prints where."""
    from linreg_pl.plots.plot import plot  # imports matplotlib, which no other subcommand needs

    names = [path.name for path in plot(run)]
    print(f"{', '.join(names)} in {run / 'plots'}, and among TensorBoard's images")


def report_run(run: Path, output: Path) -> None:
    """Writes the page of a run, and prints where."""
    from linreg_pl.report.page import write_page  # imports matplotlib

    write_page(run, output, as_typed("linreg"))
    print(output)


def compare_runs(runs: list[Path]) -> None:
    """Prints a table of the runs."""
    from linreg_pl.report.comparison import comparison_lines

    print(*comparison_lines(runs), sep="\n")


def as_typed(name: str) -> str:
    """Returns how to type a command of this environment in the current folder."""
    program = Path(sys.argv[0])
    script = (program if program.name == "linreg" else Path(sys.executable)).with_name(name)
    on_path = shutil.which(name)
    return name if on_path and Path(on_path).absolute() == script.absolute() else os.path.relpath(script)
