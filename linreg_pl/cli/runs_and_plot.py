"""The commands that take folders of runs and no settings: `linreg runs`, `plot`, `report`, `compare`, `export`."""

import argparse
from pathlib import Path
from typing import NoReturn

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.typed import as_typed
from linreg_pl.errors import InputError
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.folder import RUNS
from linreg_pl.runs.listing import listing, run_rows


class FolderParser(argparse.ArgumentParser):
    """A parser of one folder."""

    def error(self, message: str) -> NoReturn:
        """Raises the message."""
        raise InputError(f"{message}; see {self.prog} --help")


def run_folder_command(name: str, args: list[str]) -> None:
    """Runs `linreg runs`, `plot`, `report`, `compare` or `export`.

    Raises:
        InputError: the arguments can't be used.
    """
    parser = FolderParser(f"linreg {name}", description=COMMANDS[name].summary, add_help=False)
    parser.add_argument("-h", "--help", action="help", help="Print this help, and exit.")
    if name == "runs":
        parser.add_argument(
            "folder", nargs="?", default=".", type=Path, help="The folder of lightning_logs (default: .)."
        )
        list_runs(parser.parse_args(args).folder)
        return
    many, or_file = "+" if name == "compare" else None, ", or a checkpoint" if name == "export" else ""
    words = f"The run's folder, such as lightning_logs/version_0{or_file}."
    parser.add_argument("RUN", type=Path, nargs=many, help=words)
    if name == "plot":
        draw_run(parser.parse_args(args).RUN)
    elif name == "report":
        parser.add_argument("--output", type=Path, metavar="FILE", help="File to write (default: RUN/report.html).")
        parsed = parser.parse_args(args)
        report_run(parsed.RUN, parsed.output or parsed.RUN / "report.html")
    elif name == "compare":
        compare_runs(parser.parse_args(args).RUN)
    else:
        from linreg_pl.cli.export import export_command  # imports torch, as the model is read

        export_command(parser, args)


def list_runs(root: Path) -> None:
    """Prints a line for each run and each study below a folder.

    Raises:
        InputError: there is none.
    """
    typed = as_typed("linreg")
    root = root.parent if root.name == RUNS else root
    rows = run_rows(root, typed)
    if any(root.glob("tune_*")):
        from linreg_pl.tuning.listing import study_rows  # not at the top: predictions import torch

        rows += study_rows(root, typed)
    if not rows:
        raise InputError(f"{root / RUNS}: there are no runs; start one with: {typed} fit")
    print(*listing(rows), sep="\n")


def draw_run(run: Path) -> None:
    """Draws a run, and prints where."""
    from linreg_pl.plots.plot import plot  # imports matplotlib, which no other command needs

    names = [path.name for path in plot(run)]
    print(f"{', '.join(names)} in {run / 'plots'}, and among TensorBoard's images")


def report_run(run: Path, output: Path) -> None:
    """Writes the page of a run, and prints where."""
    from linreg_pl.report.page import page  # imports matplotlib

    if output.is_dir():
        raise InputError(f"{output}: this is a folder; give --output the name of a file, such as report.html")
    if output.suffix not in (".html", ".htm"):
        raise InputError(f"{output}: the name must end in .html; a browser prints the page to PDF")
    contents = page(run, as_typed("linreg")).encode()
    with writing(output, "--output"):
        output.absolute().parent.stat()  # a folder that is missing may be a typing mistake: it is not made
        write_durably(output, contents)
    print(output)


def compare_runs(runs: list[Path]) -> None:
    """Prints a table of the runs."""
    from linreg_pl.report.comparison import comparison_lines

    print(*comparison_lines(runs), sep="\n")
