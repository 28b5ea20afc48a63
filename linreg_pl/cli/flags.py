"""Adds the flags that a command has beside those of model, data and trainer, and says their defaults."""

import inspect
import os
from dataclasses import dataclass, fields
from typing import Any

from jsonargparse import ArgumentParser

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.data_classes import ROWS, import_modules, rows_path, shown_class
from linreg_pl.cli.names import read_names
from linreg_pl.core.robust import Robust
from linreg_pl.core.subsets import CriterionName
from linreg_pl.data.base import Rows
from linreg_pl.data.columns import Column
from linreg_pl.data.folds import FoldPlan
from linreg_pl.exact.path import Given
from linreg_pl.exact.subsets import Search
from linreg_pl.training.hyper_parameters import HyperParameters
from linreg_pl.tuning.ranges import TuneSettings
from linreg_pl.tutorial import model_settings


@dataclass(frozen=True)
class Sharing:
    """The trainer's settings of a command that trains nothing.

    Args:
        devices: Processes that share the rows.
        num_nodes: Machines on which so many processes each share the rows.
        enable_progress_bar: Show a progress bar at a terminal.
        accelerator: Without effect: the exact solution is computed on the CPU.
    """

    devices: list[int] | str | int = 1
    num_nodes: int = 1
    enable_progress_bar: bool | None = None
    accelerator: str = "auto"


def default_settings(command: str, data: str) -> dict[str, Any]:
    """Returns the defaults of a command for a data class: the tutorial's, or else those of `HyperParameters`."""
    settings: dict[str, Any] = {"data": {"class_path": data if COMMANDS[command].trains else rows_path(data)}}
    if command not in ("fit", "solve", "path", "tune"):
        return settings
    is_tutorial = shown_class(data) == "SyntheticDataModule"
    settings |= {f"model.{name}": value for name, value in model_defaults(is_tutorial).items()}
    if command in ("fit", "tune") and not is_tutorial:  # as many epochs as are needed, and twenty lines and checkpoints
        lengths = ("trainer.max_epochs", "display_every_n_epochs", "checkpoint_every_n_epochs")
        settings |= dict.fromkeys(lengths)
    return settings


def model_defaults(is_tutorial: bool) -> dict[str, Any]:
    """Returns the defaults of the model's settings that differ between the tutorial and other data."""
    tutorial = model_settings()
    if is_tutorial:
        return tutorial
    parameters = inspect.signature(HyperParameters).parameters
    return {name: parameters[name].default for name in tutorial if parameters[name].default != tutorial[name]}


def mentions_data(flags: list[str]) -> bool:
    """Tells whether a call may have a table; without one, the readers of tables need not be imported."""
    mentioning = ("--data", "--config", "-c", "--resume", "--ckpt_path", "--print_config", "--help", "-h")
    settings = [name for name in os.environ if name.startswith("LINREG_") and ("__" in name or "CONFIG" in name)]
    return bool(settings) or any(flag.startswith(mentioning) for flag in flags)


def needs_trainer(command: str, flags: list[str]) -> bool:
    """Tells whether a call may have settings of Lightning's trainer; `solve` accepts them, but has no use for most."""
    if COMMANDS[command].trains:
        return True
    used = tuple(f"--trainer.{field.name}" for field in fields(Sharing) if COMMANDS[command].shares_rows)
    mentioning = ("--trainer", "--config", "-c", "--print_config")
    prefix = f"LINREG_{command.upper()}__"
    return any(flag.startswith(mentioning) and not flag.startswith(used) for flag in flags) or any(
        name.startswith((f"{prefix}TRAINER", f"{prefix}CONFIG")) for name in os.environ
    )


def import_data(command: str, flags: list[str]) -> None:
    """Loads what reads tables, so that `--data` may name it; a call without a table need not wait for it."""
    if COMMANDS[command].trains or any(flag.startswith("--data.help") for flag in flags):
        import_modules()


def named_data(flags: list[str]) -> str | None:
    """Returns a class that `--data` names on the command line, if it is one of ours."""
    behind = [*flags[1:], ""]
    named = [value for flag, value in zip(flags, behind, strict=False) if flag == "--data"]
    named += [flag.removeprefix("--data=") for flag in flags if flag.startswith("--data=")]
    return next((name for name in ROWS if name in named), None)


def add_parts(parser: ArgumentParser, command: str, has_trainer: bool) -> None:
    """Adds the flags of model, data and trainer, the few before the many, and links the model's size to the data."""
    if COMMANDS[command].trains:
        import linreg_pl.data.synthetic  # noqa: F401 (so that `--data` may name it)
        from linreg_pl.data.module import BatchDataModule
        from linreg_pl.training.module import LinearRegression

        parser.add_class_arguments(LinearRegression, "model", fail_untyped=False, sub_configs=True)
        parser.add_subclass_arguments(BatchDataModule, "data", fail_untyped=False, required=True)
        parser.set_defaults({"data": {"class_path": "SyntheticDataModule"}})
    else:
        parser.add_class_arguments(HyperParameters, "model")
        parser.add_subclass_arguments(Rows, "data", fail_untyped=False, required=True)
        parser.set_defaults({"data": {"class_path": rows_path("SyntheticDataModule")}})
    if has_trainer:
        import lightning.pytorch.cli  # noqa: F401 (tells jsonargparse how classes of torch are imported)
        from lightning.pytorch import Trainer

        from linreg_pl.cli.trainer_settings import TRAINER_DEFAULTS

        parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
        parser.set_defaults({f"trainer.{name}": value for name, value in TRAINER_DEFAULTS.items()})
    else:
        parser.add_class_arguments(Sharing, "trainer", instantiate=False)
    parser.set_defaults({f"model.{name}": value for name, value in model_settings().items()})
    is_read = command != "describe"  # a table to describe may not be one that a model can be built for
    parser.link_arguments("data", "model.num_features", num_features if is_read else one, apply_on="instantiate")
    parser.link_arguments("data", "model.num_targets", num_targets if is_read else one, apply_on="instantiate")


def num_features(data: Rows) -> int:
    """Returns D; a table is read for it, as far as its categories need."""
    return data.num_features


def num_targets(data: Rows) -> int:
    """Returns K; a table without a target is refused elsewhere once it is read."""
    return max(1, data.num_targets)


def one(data: Rows) -> int:
    """Returns the size of a model that is not used."""
    return 1


def add_own_flags(parser: ArgumentParser, command: str) -> None:
    """Adds the flags that only this command has."""
    if command == "fit":
        add_flags_of_fit(parser)
    elif command == "tune":
        add_flags_of_tune(parser)
    elif command == "describe":
        parser.set_defaults({"data": {"class_path": rows_path("TableDataModule"), "init_args": {"target": []}}})
    elif command == "solve":
        add_flags_of_solve(parser)
    elif command == "path":
        add_flags_of_path(parser)
        add_flags_of_subsets(parser)
    else:
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="Run or checkpoint to load (required), such as RUN or RUN/checkpoints/step=4000.ckpt.",
        )
    if command == "predict":
        add_flags_of_predict(parser)
    read_names(parser)


def add_flags_of_fit(parser: ArgumentParser) -> None:
    """Adds the flags of a run beside those of model, data and trainer."""
    parser.add_argument(
        "--resume", type=str | None, help="Continue a run: auto (the newest), its folder, or one of its checkpoints."
    )
    parser.add_argument(
        "--allow_changed_settings",
        type=bool,
        default=False,
        help="Resume with settings that change the mathematics; the new ones take effect.",
    )
    add_flags_of_runs(parser)


def add_flags_of_tune(parser: ArgumentParser) -> None:
    """Adds the flags of a study, and those of its runs."""
    parser.add_argument("--resume", type=str | None, help="Continue a study: auto (newest interrupted), or its folder.")
    parser.add_argument("--json", action="store_true", help="Print the trials as JSON.")
    parser.add_class_arguments(TuneSettings, "tune")
    add_flags_of_runs(parser)


def add_flags_of_runs(parser: ArgumentParser) -> None:
    """Adds the flags of a run that do not name another."""
    from linreg_pl.callbacks.checkpoints import EpochCheckpoints  # not at the top: Lightning is slow to import
    from linreg_pl.callbacks.epoch_lines import EpochLines
    from linreg_pl.callbacks.exact_answer import StopRule
    from linreg_pl.training.executions import Executions

    parser.add_class_arguments(EpochLines)
    parser.add_class_arguments(EpochCheckpoints)
    parser.add_class_arguments(Executions)
    parser.add_argument(
        "--exact", type=bool, default=True, help="Compute the exact solution first, and print the distance to it."
    )
    parser.add_class_arguments(StopRule, "stop")


def add_flags_of_solve(parser: ArgumentParser) -> None:
    """Adds the flags of the standard errors, and of what is printed."""
    parser.add_argument(
        "--ckpt_path", type=str | None, help="Run or checkpoint whose data and settings to take, such as RUN."
    )
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    parser.add_argument(
        "--robust",
        type=Robust | None,
        default=None,
        help="Standard errors for noise that differs between rows: HC0, HC1, HC2 or HC3.",
    )
    parser.add_argument(
        "--cluster",
        type=Column | None,
        default=None,
        help="Standard errors for noise that is correlated within groups: the column whose values are the groups.",
    )


def add_flags_of_path(parser: ArgumentParser) -> None:
    """Adds the flags of the folds, of the penalties' values, and of what is written."""
    parser.add_class_arguments(FoldPlan, "folds")
    parser.add_argument(
        "--l2",
        type=Given,
        default=None,
        help="Values of l2 to try; two numbers, such as '[1e-4, 10]', are a range with five values a power of ten.",
    )
    parser.add_argument(
        "--l1",
        type=Given,
        default=None,
        help="One value for all l2; or auto or several values to try, with one of l2, by default 0 (lasso).",
    )
    parser.add_argument("--json", action="store_true", help="Print everything as JSON.")
    parser.add_argument(
        "--output",
        type=str | None,
        default=None,
        help="Folder for a picture, JSON, and curves of the coefficients for TensorBoard.",
    )


def add_flags_of_subsets(parser: ArgumentParser) -> None:
    """Adds the flags of the search for a subset of the columns."""
    parser.add_argument(
        "--subsets",
        type=Search | None,
        default=None,
        help="Search the columns instead: add or leave out one at a time (forward, backward), or try all, up to 20.",
    )
    parser.add_argument(
        "--criterion",
        type=CriterionName,
        default="CV",
        help="What the chosen subset has least of: AIC, BIC, or CV, the error on rows held out.",
    )


def add_flags_of_predict(parser: ArgumentParser) -> None:
    """Adds the flags that say what is written, and where."""
    parser.add_argument("--output", type=str, default="predictions.csv", help="File to write: .csv or .parquet.")
    parser.add_argument(
        "--keep_columns",
        type=list[str] | str,
        default=[],
        help="Columns of the table to copy before the predictions: names, or all.",
    )
    parser.add_argument(
        "--interval",
        type=float | None,
        default=None,
        help="Probability of a prediction interval to write beside each prediction, such as 0.95.",
    )
