"""The command `linreg export`, which writes a model for other programs."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from linreg_pl.cli.error_messages import writing
from linreg_pl.errors import InputError, quoted
from linreg_pl.runs.resume import checkpoint_at
from linreg_pl.training.module import LinearRegression


def export_command(parser: ArgumentParser, args: list[str]) -> None:
    """Runs `linreg export`, whose parser knows the run.

    Raises:
        InputError: there is no checkpoint or no such format, or nothing can be written there.
    """
    parser.add_argument(
        "--format",
        metavar="json|sql|onnx|pt2",
        help="What to write; by default what the name of the output ends in.",
    )
    parser.add_argument("--output", metavar="FILE", help="The file to write, or - to print (default: model.FORMAT).")
    given = parser.parse_args(args)
    if given.format is None and given.output is None:
        raise InputError("export needs a format: give --format json, sql, onnx or pt2")
    export_run(given.RUN, given.format, given.output or f"model.{given.format}")


def export_run(run: Path, format: str | None, output: str) -> None:
    """Writes a run's or a checkpoint's model, and prints what it predicts.

    Raises:
        InputError: there is no checkpoint or no such format, or nothing can be written there.
    """
    path = Path(output)
    if output != "-" and path.exists() and (not path.is_file() or path.samefile(checkpoint_at(run).path)):
        raise InputError(f"{output}: this is no file that can be replaced; give --output another name")
    model = LinearRegression.load(run)
    if output == "-":
        model.export(sys.stdout.buffer, format)
        return
    with writing(path, "--output"):
        model.export(path, format)
    print(f"{output} predicts {quoted(model.target_names)} from {len(model.feature_names)} features")
