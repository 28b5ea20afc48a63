"""Cross-validates l2 or l1 on a table: `linreg path`."""

import json
import sys
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.data_classes import default_of, shown_class
from linreg_pl.cli.error_messages import writing
from linreg_pl.cli.job import Job
from linreg_pl.cli.notes import print_notes
from linreg_pl.cli.typed import as_typed
from linreg_pl.data.folds import FoldPlan
from linreg_pl.errors import InputError, flag_text
from linreg_pl.exact.path import PathResult, axis_of, cross_validated_path
from linreg_pl.exact.subsets import SubsetsResult, searched_subsets
from linreg_pl.runs.folder import CONFIG


def path(job: Job) -> None:
    """Prints the error of each l2, l1 or subset of columns on rows held out, and the choice.

    Raises:
        InputError: the rows can't be divided into these folds, or nothing can be written.
    """
    settings, data = job.settings, job.rows
    data.setup("path")
    result: PathResult | SubsetsResult
    if settings.subsets is None:
        result = cross_validated_path(data, job.posed, settings.folds, settings.l2, settings.l1)
    else:
        result = searched_subsets(data, job.posed, settings.folds, settings.subsets, settings.criterion)
    if not job.prints:
        return
    print_notes(data.remarks)
    if settings.json:
        print(json.dumps(result.to_dict(), indent=2))
    else:
        print(*result.lines(), sep="\n")
        if isinstance(result, PathResult) or result.chosen:
            print(f"fit      {fit_command(job, result)}")
    if settings.output is not None and isinstance(result, PathResult):
        from linreg_pl.plots.path_pictures import write_path  # imports matplotlib

        folder = Path(settings.output)
        with writing(folder, "--output"):
            files = write_path(result, folder)
        print(f"{', '.join(str(file) for file in files)}, and curves for TensorBoard", file=sys.stderr)


def fit_command(job: Job, result: PathResult | SubsetsResult) -> str:
    """Returns the command that fits the choice on the same rows."""
    config = job.config.data
    data = {name: value for name, value in config.init_args.items() if value != default_of(type(job.rows), name)}
    model = {
        name: value
        for name, value in job.config.model.items()
        if name in (COMMANDS["path"].model or ()) and value != job.parser.get_default(f"model.{name}")
    }
    if isinstance(result, SubsetsResult):
        data["features"] = result.chosen
    else:
        model |= {name: f"{value:.6g}" for name, value in result.choice.items()}
    by = job.settings.folds.by
    if by is not None and data.get("features") is None:
        data["exclude"] = [*(data.get("exclude") or []), by]
    flags = {f"data.{name}": value for name, value in data.items()} | {f"model.{name}": v for name, v in model.items()}
    typed = [f"--{name} {flag_text(value)}" for name, value in flags.items()]
    return " ".join([as_typed("linreg"), "fit", "--data", shown_class(config.class_path), *typed])


def require_possible(config: Namespace, parser: ArgumentParser) -> None:
    """Refuses settings before the rows are read.

    Raises:
        InputError: a value is out of range, flags exclude each other or have no effect, or nothing can be written.
    """
    require_effects(config, parser)
    FoldPlan(**vars(config.folds))
    axis_of(config.l2, config.l1, config.model.fold_bias)
    if config.output is not None and (Path(config.output) / CONFIG).exists():
        raise InputError(f"{config.output}: this is the folder of a run; give --output one of its own")
    if config.output is not None and Path(config.output).is_file():
        with writing(Path(config.output), "--output"):
            raise FileExistsError


def require_effects(config: Namespace, parser: ArgumentParser) -> None:
    """Checks that settings without effect have their default values, wherever they come from.

    Raises:
        InputError: one has another value.
    """
    of_subsets = config.subsets is not None
    for name in ("l2", "l1", "output") if of_subsets else ():
        if config[name] is not None:
            raise InputError(f"--{name} has no effect on subsets: leave out --{name} or --subsets")
    if not of_subsets and config.criterion != parser.get_default("criterion"):
        raise InputError("--criterion has no effect without --subsets: leave it out, or give both")
    used = {"fit_intercept"} if of_subsets else COMMANDS["path"].model or ()
    for name, value in config.trainer.items():
        if not COMMANDS["path"].uses(f"trainer.{name}") and value != parser.get_default(f"trainer.{name}"):
            raise InputError(f"--trainer.{name} has no effect on a path, which trains nothing: leave it out")
    for name, value in config.model.items():
        if name not in used and value != parser.get_default(f"model.{name}"):
            instead = f"give --{name}" if name in ("l2", "l1") and not of_subsets else "leave it out"
            raise InputError(f"--model.{name} has no effect on {'subsets' if of_subsets else 'a path'}: {instead}")
