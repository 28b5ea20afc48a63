"""Lays out `--help`: the flags that have an effect, in few sections, the most used first."""

import argparse
import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import InspectLoader
from importlib.util import find_spec
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import docstring_parser
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from linreg_pl.cli.commands import COMMANDS
from linreg_pl.cli.data_classes import ROWS, data_classes, data_flags, shown_class
from linreg_pl.cli.flags import model_defaults
from linreg_pl.errors import InputError

TRAINER_TEXTS = {
    "max_epochs": "Epochs to train; null trains as long as the forecast says, -1 until max_time or a --stop rule.",
    "max_steps": "Optimizer steps to train, or -1 for no such limit.",
    "max_time": "Time after which training stops, as DD:HH:MM:SS; the run can be resumed.",
    "log_every_n_steps": "Steps from one point of the curves to the next; 50 if not given.",
    "check_val_every_n_epoch": "Epochs from one validation to the next, where rows are held out.",
    "callbacks": "Callbacks to add, such as EarlyStopping.",
    "accelerator": "Hardware to train on: cpu, gpu, mps or auto.",
    "precision": "32-true (if not given) or 64-true.",
    "default_root_dir": "Folder in which lightning_logs is made.",
    "enable_progress_bar": "Show a progress bar at a terminal.",
    "fast_dev_run": "Try one batch, or so many, and write no files.",
    "strategy": "Lightning's strategy; auto suits a single device.",
    "devices": "Processes that share the rows, for fit, solve and path; else 1, or a list of one index, such as [0].",
    "num_nodes": "Machines on which so many processes each share the rows.",
    "plugins": "Lightning's plugins to add.",
    "deterministic": "Let torch use deterministic algorithms only, or warn.",
    "inference_mode": "Use torch.inference_mode rather than torch.no_grad.",
    "profiler": "Profiler to run, such as simple.",
    "limit_val_batches": "Batches to validate on: a number, or a fraction of all.",
    "limit_test_batches": "Batches to test on: a number, or a fraction of all.",
    "limit_predict_batches": "Batches to predict: a number, or a fraction of all.",
}
"""Help of the trainer's flags in this command's terms; Lightning's own texts hold for any model and are long."""


@dataclass(frozen=True)
class Section:
    """A group of flags, with the attributes that argparse reads of one."""

    title: str
    _group_actions: Sequence[argparse.Action]
    description: str | None = None


@dataclass(frozen=True)
class HelpPage:
    """What `--help` prints."""

    usage: str
    description: str | None
    sections: list[Section]
    epilog: str | None = None


def help_page(parser: ArgumentParser, part: str | None = None) -> HelpPage:
    """Returns the help of a command, or of a class whose settings are flags.

    Args:
        parser: The parser of one of them.
        part: `trainer` for the flags of Lightning's trainer that `linreg fit --help` leaves out.
    """
    command = getattr(parser, "command", None)
    if command is None:
        return help_of_class(parser)
    if part == "trainer":
        return help_of_trainer(parser)
    return help_of_command(parser, command)


def help_of_command(parser: ArgumentParser, command: str) -> HelpPage:
    """Returns the help of a command."""
    flags = [action for action in parser._actions if has_effect(action, command)]
    trainer = [action for action in flags_of(flags, "trainer") if name_in(action, "trainer") in TRAINER_TEXTS]
    if command in ("fit", "tune"):
        trainer = [action for action in trainer if name_in(action, "trainer") in most_used_by_fit()]
    sections = [
        Section("model", flags_of(flags, "model"), defaults_on_tables(command)),
        Section("data", flags_of(flags, "data"), settings_by_data_class()),
        Section(command, own_flags(flags)),
        Section("trainer", trainer),
        Section("options", options(parser)),
    ]
    more = (
        "linreg fit --help=trainer lists the other flags of Lightning's trainer. " if command in ("fit", "tune") else ""
    )
    variable = f"LINREG_{command.upper()}__"
    return HelpPage(
        f"linreg {command} [flags]",
        parser.description,
        [section for section in sections if section._group_actions],  # an evaluation has no flags of the model
        f"{more}Each flag is also a setting of a YAML file for --config, and an environment variable:"
        f" {variable} and the flag's name in capitals, with __ for each dot.",
    )


def help_of_trainer(parser: ArgumentParser) -> HelpPage:
    """Returns the help of the trainer's flags that `linreg fit --help` leaves out."""
    impossible = {"gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches"}
    impossible |= {"limit_train_batches", "overfit_batches", "min_epochs", "min_steps", "num_sanity_val_steps"}
    left_out = [
        action
        for action in flags_of(parser._actions, "trainer")
        if name_in(action, "trainer") not in most_used_by_fit() | impossible
    ]
    return HelpPage(
        "linreg fit [flags]",
        "Flags of Lightning's trainer beside those of linreg fit --help.",
        [Section("trainer", left_out)],
    )


def help_of_class(parser: ArgumentParser) -> HelpPage:
    """Returns the help that `--data.help CLASS` prints, and other flags that take a class likewise."""
    match = re.fullmatch(r"Help for (?P<flag>--\S+)\.help=(?:.*\.)?(?P<name>\w+)", parser.description or "")
    usage = f"{match['flag']} {match['name']} [flags]" if match else "[flags]"
    sections = [Section(group.title or "", group._group_actions) for group in parser._action_groups]
    return HelpPage(f"linreg COMMAND {usage}", None, sections)


def most_used_by_fit() -> set[str]:
    """Returns the trainer's flags that are on the first page of `linreg fit --help`."""
    length = {"max_epochs", "max_steps", "max_time"}
    shown = {"log_every_n_steps", "check_val_every_n_epoch", "enable_progress_bar"}
    return {*length, *shown, "callbacks", "accelerator", "precision", "default_root_dir"}


def has_effect(action: argparse.Action, command: str) -> bool:
    """Tells whether an action stands for a flag that has an effect in a command."""
    return any(option.startswith("--") and COMMANDS[command].uses(option[2:]) for option in action.option_strings)


def name_in(action: argparse.Action, part: str) -> str:
    """Returns a flag's name within a part of the settings, such as `l2` for `--model.l2`; empty where it has none."""
    prefix = f"--{part}."
    return next((name.removeprefix(prefix) for name in action.option_strings if name.startswith(prefix)), "")


def flags_of(actions: Sequence[argparse.Action], part: str) -> list[argparse.Action]:
    """Returns the flags of a part of the settings: model, data or trainer."""
    if part == "data":
        return [action for action in actions if action.dest == "data" or name_in(action, "data")]
    return [action for action in actions if name_in(action, part)]


def own_flags(actions: Sequence[argparse.Action]) -> list[argparse.Action]:
    """Returns the flags that belong to the command itself; `--stop CONFIG` and the like are left out."""
    groups = {name.partition(".")[0] for action in actions for name in action.option_strings if "." in name}
    return [
        action
        for action in actions
        for name in action.option_strings[:1]
        if name.startswith("--") and name not in groups and not name.startswith(("--model.", "--data.", "--trainer."))
        if name not in ("--print_config", "--help")
    ]


def options(parser: ArgumentParser) -> list[argparse.Action]:
    """Returns the flags that every command has: help and config files."""
    names = ("--help", "--config", "--print_config")
    return [action for action in parser._actions if set(names) & set(action.option_strings)]


def defaults_on_tables(command: str) -> str:
    """Returns the defaults that differ where the data is not the tutorial's, in a sentence."""
    values = {name: value for name, value in model_defaults(False).items() if COMMANDS[command].uses(f"model.{name}")}
    settings = ", ".join(f"{name} {shown_default(value)}" for name, value in values.items())
    return f"The defaults below are those of the tutorial's data; those of tables are {settings}."


def settings_by_data_class() -> str:
    """Returns the flags of each data class in a sentence."""
    return "Each class has flags of its own. " + " ".join(
        f"{data.module_name()}: {', '.join(f'--{flag}' for flag in data_flags(data))}." for data in data_classes()
    )


class PartHelp(argparse._HelpAction):
    """`--help`, with an optional part of the settings, as in `--help=trainer`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.nargs, self.metavar = "?", "trainer"

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Prints the help, and exits.

        Raises:
            InputError: there is no such part.
        """
        if values not in (None, "trainer"):
            raise InputError(f"--help {values}: give --help, or --help=trainer")
        print(parser.format_help(part=values), end="")
        parser.exit()


class FlagFormatter(DefaultHelpFormatter):
    """Formats a flag as its name, the kind of its value, its help text and its default."""

    def __init__(self, prog: str, max_help_position: int = 36, **kwargs: Any) -> None:
        super().__init__(prog, max_help_position=max_help_position, **kwargs)  # type: ignore[no-untyped-call]

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Returns the flag's names and the kind of its value, without jsonargparse's ARG: and ENV:."""
        if not action.option_strings:
            return argparse.HelpFormatter._format_action_invocation(self, action)
        names = ", ".join(name for name in action.option_strings if not name.endswith("+"))
        if action.nargs == 0 or "--print_config" in action.option_strings:
            return names
        if action.dest in ("data", "data.help"):
            return f"{names} CLASS"
        return f"{names} {self._format_args(action, self._get_default_metavar_for_optional(action))}"

    def _get_help_string(self, action: argparse.Action) -> str:
        """Returns the help text and the default, without the type as Python writes it."""
        texts = {f"--trainer.{name}": text for name, text in TRAINER_TEXTS.items()} | {
            "--data": f"Class of the data: {' or '.join(ROWS)}.",
            "--data.help": "Print the flags of a class of the data, and exit.",
            "--config": "YAML file of settings; flags beside it win.",
            "--print_config": "Print all settings as YAML for --config, and exit.",
            "--help": "Print this help, and exit.",
        }
        if name_in(action, "model"):
            texts |= model_texts()
        text = next((plain(texts[name]) for name in action.option_strings if name in texts), plain(action.help or ""))
        default = shown_default(action.default)
        if action.required:
            return f"{text} (required)"
        return f"{text} (default: {default})" if default and action.nargs != 0 else text

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        """Returns the kind of a flag's value: NUMBER, N for a whole one, words to choose from, or the flag's name."""
        typehint = getattr(action, "_typehint", None)
        kinds = [kind for kind in get_args(typehint) or (typehint,) if kind is not NoneType]
        if any(get_origin(kind) is list for kind in kinds) and "tune." in action.dest:
            return "LIST"
        words = {float: "NUMBER", int: "N", bool: "true|false"}
        if not any(kind in words for kind in kinds) or not all(
            kind in words or get_origin(kind) is Literal for kind in kinds
        ):
            return str(super()._get_default_metavar_for_optional(action))
        return "|".join(words.get(kind) or "|".join(map(str, get_args(kind))) for kind in kinds)


@cache
def model_texts() -> dict[str, str]:
    """Returns what `LinearRegression` says of its arguments, by flag: the settings of `solve` and `path` too.

    They are read from the source, as importing the class takes seconds.
    """
    spec = find_spec("linreg_pl.training.module")
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    tree = ast.parse(spec.loader.get_source(spec.name) or "")
    [model] = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "LinearRegression")
    arguments = docstring_parser.parse(ast.get_docstring(model) or "").params
    return {f"--model.{argument.arg_name}": argument.description or "" for argument in arguments}


def shown_default(default: Any) -> str:
    """Returns a default as it is typed; empty where there is none."""
    if default is None or default in (argparse.SUPPRESS, []):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, Namespace):
        return shown_class(str(default.class_path)).rpartition(".")[2]
    return str(default)


def plain(text: str) -> str:
    """Returns a docstring's text without its markup, and without the default, which is appended."""
    text = re.sub(r":\w+:`~?(?:[^`]*\.)?\s*(\w+)`", r"\1", text)
    text = re.sub(r" ?Default: \S+", "", text)
    return re.sub(r"`+", "", text)
