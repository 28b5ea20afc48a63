"""How is a wrong flag, setting or config file answered? In one paragraph, with the name that was probably meant.

jsonargparse finds the mistake; its message is a tree of all types that did not fit. This module keeps what helps:
which setting, what was found, what is allowed.
"""

import difflib
import inspect
import os
import re
import textwrap
from collections.abc import Sequence
from os import PathLike
from typing import Any, NoReturn

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from linreg_pl.data.base import BatchDataModule
from linreg_pl.errors import InputError

OWN_COMMANDS = ("runs", "plot")
"""Those that Lightning's CLI does not know: they have no settings."""

ANSWERS = (
    (r"invalid choice: '(?P<name>.*?)' \(choose from (?P<all>.*)\)", "there is no command {name}, only {all}{nearest}"),
    (r'expected "subcommand" to be one of {(?P<all>.*?)}', "a command is missing: {all}; try linreg fit"),
    (r"Option '(?P<name>\S+)' is not accepted before", "{setting} belongs to a command: put --config FILE behind it"),
    (r"Option 'class_path' is not accepted", "{key}: the settings of its class go below init_args"),
    (r"Group '(?P<group>\S+)' .* '(?P<name>\S+)'", "there is no setting {setting}{nearest}"),
    (r"[Oo]ption '(?P<name>\S+)'", "there is no setting {setting}{nearest}"),
    (r"unrecognized arguments: --ckpt_path", "there is no setting --ckpt_path; to go on with a run, give --resume"),
    (r"unrecognized arguments: --(?P<name>[^\s=]+)", "there is no setting {setting}{nearest}"),
    (r"unrecognized arguments: (?P<name>\S+)", "{name}: a setting begins with two dashes; see {command} --help"),
    (r"arguments are required: (?:\w+\.(?=data$))?(?P<missing>.*)", "missing settings: give {missing}"),
    (r"argument (?P<name>\S+): expected one argument", "{name}: a value must follow"),
    (r'(?:Linked "|--> )(?P<name>model\.\w+)', "{setting} follows from the data: leave it out"),
    (r"Unable to load config '(?P<name>.*?)'", "{key}: expected a YAML file of its settings, found {name}"),
    (r"(?:File does not exist|Path is not a file): '(?P<name>.*)'", "{key}: there is no file {name}"),
    (r"Unexpected config: ", "there are no settings in it; linreg fit --print_config prints some"),
    (
        r"mport path|instantiatable|a valid subclass|class_path '\S+':\s+[mN]o",
        "{key}: expected a class that fits, found {found}{class}",
    ),
    (r"Expected an? ", "{key}: expected {kinds}, found {found}{origin}"),
)
"""Parts of jsonargparse's messages, and what is said instead; the first that is found counts."""

KINDS = {
    "float": "a finite number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "list": "a list, such as [a, b]",
}
"""What a type is called."""


class Parser(LightningArgumentParser):
    """Lightning's parser, raising `InputError` where that one prints the usage of a hundred flags and exits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse's takes -1e-3 for a flag

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message as one paragraph, with a suggestion."""
        if not self.exit_on_error:  # the parser of a part of a setting: the message comes again, with the setting's key
            super().error(message, ex)
        cause = ex.__cause__ if ex else None
        if isinstance(cause, InputError):
            raise cause
        if isinstance(cause, yaml.YAMLError):
            raise InputError(f"broken YAML: {yaml_mistake(cause)}") from ex
        raise InputError(answer(message, getattr(ex, "subcommand_parser", None) or self)) from ex

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parses a config file, and checks here, where its name is known, what else would be found later or never."""
        try:
            settings: Namespace = super().parse_path(path, *args, **kwargs)
            for name in ("model", "trainer"):
                if not isinstance(settings.get(name), Namespace | None):
                    raise InputError(f"--{name}: expected settings of its own, found {settings[name]!r}")
            self.validate(settings, skip_required=True)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: {answer(str(error), self)}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: this is no text in UTF-8; give --config a YAML file") from error
        return settings


def answer(message: str, parser: LightningArgumentParser) -> str:
    """jsonargparse's message as one sentence, without its lists of types that did not fit."""
    for pattern, wording in ANSWERS:
        match = re.search(pattern, message)
        if match:
            return wording.format_map(details(message, match.groupdict(""), parser))
    return " ".join(message.split())


def details(message: str, said: dict[str, str], parser: LightningArgumentParser) -> dict[str, str]:
    """What a wording may mention; `said` is what its pattern has found in the message."""
    key = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]*)"', message)))
    setting = ".".join(filter(None, (key, said.get("group"), said.get("name"))))
    missing = [f"--{key}.{name}".replace("--.", "--") for name in said.get("missing", "").split(", ")]
    value = re.search(r"(?:Got|Given) value: (?:\[?{'class_path': ')?([^'\n]*)", message)
    found = textwrap.shorten(value[1], 60, placeholder=" …") if value else ""
    command = parser.prog.replace(" [options]", "")
    variable = f"{command}.{key}".replace(" ", "_").replace(".", "__").upper()
    return said | {
        "command": command,
        "key": f"--{key}",
        "setting": f"--{setting}",
        "all": ", ".join([*re.findall(r"\w+", said.get("all", "")), *OWN_COMMANDS]),
        "missing": " and ".join(missing),
        "found": found or "nothing",
        "kinds": " or ".join(kinds(message)),
        "origin": f" in {variable}" if os.environ.get(variable) == found else "",
        "nearest": owner(setting) or nearest(setting, known_names(parser), command),
        "class": nearest(found, {data.__name__: data.__name__ for data in data_classes()}, command),
    }


def kinds(message: str) -> list[str]:
    """What could have stood there, in words; None is left out, which nobody types."""
    types = re.findall(r"Expected an? (?:<class '(?:[\w.]*\.)?(\w+)'>|typing\.Literal\[(.*?)\])", message)
    return list(dict.fromkeys(KINDS.get(name, name) or choices for name, choices in types if name != "NoneType"))


def owner(setting: str) -> str:
    """Says which other data class has a setting, if one has."""
    owners = (data.__name__ for data in data_classes() if setting in settings_of(data))
    return next((f" in the data chosen; {name} has it: put --data {name} before it" for name in owners), "")


def nearest(word: str, known: dict[str, str], command: str) -> str:
    """Asks whether `word` stands for the known name that is most like it; where none is, says where to look."""
    alike = {name: name.startswith(word) or difflib.SequenceMatcher(None, word, name).ratio() for name in known}
    best = max(known, key=lambda name: alike[name])
    if len(word) < 2 or alike[best] < 0.6:  # seldom a slip of the fingers
        return f"; see {command} --help"
    return f"; did you mean {known[best]}?"


def known_names(parser: LightningArgumentParser) -> dict[str, str]:
    """Commands, and flags, whole and by their last word, each with how it is typed."""
    flags = [option[2:] for action in parser._actions for option in action.option_strings if option[:2] == "--"]
    flags += [name for data in data_classes() for name in settings_of(data)]
    commands = (*parser._subcommands_action.choices, *OWN_COMMANDS) if parser._subcommands_action else ()
    known = {command: command for command in commands} | {flag: f"--{flag}" for flag in flags if ".help" not in flag}
    for flag in flags:
        known.setdefault(flag.rsplit(".")[-1], f"--{flag}")
    return known


def data_classes() -> list[type[BatchDataModule]]:
    """The classes that `--data` may name."""
    from linreg_pl.data import table  # noqa: F401 (here: it takes its time, and a fit may have no table)

    return BatchDataModule.__subclasses__()


def settings_of(data: type[BatchDataModule]) -> list[str]:
    """A data class's settings, as flags without their dashes."""
    return [f"data.{name}" for name in inspect.signature(data).parameters]


def yaml_mistake(error: yaml.YAMLError) -> str:
    """Where a file is no YAML, and why."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error).splitlines()[0]
    where = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    if "cannot start any token" in str(error.problem):
        return f"{where}; indent with spaces, not tabs"
    return f"{where} {error.context} from line {error.context_mark.line + 1} on" if error.context_mark else where


def require_possible(trainer: Namespace) -> None:
    """Refuses settings of the trainer on which Lightning fails once the run's folder is made.

    Raises:
        InputError: there is one.
    """
    mixed = "mixed" in str(trainer.precision) or trainer.precision in (16, "16", "bf16")
    cut = trainer.limit_train_batches is not None and str(trainer.limit_train_batches) != "1.0"  # 1 is one batch
    several = len(trainer.devices) != 1 if isinstance(trainer.devices, list) else str(trainer.devices).isdigit()
    several = (several and str(trainer.devices) not in ("0", "1")) or trainer.devices in ("auto", -1, "-1")
    for name, impossible, remedy in (
        ("devices", several, "give 1, or a list of one device: a run is one process"),
        ("num_nodes", trainer.num_nodes != 1, "give 1: a run is one process"),
        ("gradient_clip_val", trainer.gradient_clip_val, "leave it out; a lower --model.learning_rate shortens steps"),
        ("accumulate_grad_batches", trainer.accumulate_grad_batches != 1, "leave it out; raise --data.batch_size"),
        ("limit_train_batches", cut, "leave it out; --trainer.max_steps shortens a run"),
        ("overfit_batches", trainer.overfit_batches, "leave it out; use fewer rows"),
        ("min_epochs", trainer.min_epochs, "leave it out; a rule with more patience stops later"),
        ("min_steps", trainer.min_steps, "leave it out; a rule with more patience stops later"),
        (
            "num_sanity_val_steps",
            trainer.num_sanity_val_steps,
            "leave it out; --trainer.fast_dev_run true tries a step",
        ),
        ("precision", mixed or "16" in str(trainer.precision), "give 32-true or 64-true"),
        ("enable_checkpointing", trainer.enable_checkpointing is False, "--trainer.logger false leaves no files"),
        (
            "log_every_n_steps",
            trainer.log_every_n_steps is not None and trainer.log_every_n_steps < 1,
            "give 1 or more",
        ),
        ("check_val_every_n_epoch", trainer.check_val_every_n_epoch == 0, "give 1 or more"),
        ("val_check_interval", trainer.val_check_interval == 0, "give more than 0"),
    ):
        if impossible:
            raise InputError(f"--trainer.{name} {trainer[name]} is not possible here: {remedy}")


def require_monitored(callbacks: Sequence[Namespace], holds_out_rows: bool) -> None:
    """Refuses a callback that monitors what this run never has, or not at the validations, which a resumed run repeats.

    Raises:
        InputError: there is one.
    """
    for callback in callbacks:
        name, settings = callback.class_path.rpartition(".")[2], callback.get("init_args", {})
        monitor = settings.get("monitor")
        if monitor is not None and monitor not in ("val/loss", "val/mse", "val/r2"):
            raise InputError(f"--trainer.callbacks.monitor {monitor}: {name} can monitor val/loss, val/mse or val/r2")
        if monitor is not None and not holds_out_rows:
            raise InputError(
                f"--trainer.callbacks.monitor {monitor}: no rows are held out for {name} to monitor; TableDataModule"
                " holds some out with --data.val_fraction, or takes others with --data.val_path"
            )
        if settings.get("check_on_train_epoch_end"):
            raise InputError(
                f"--trainer.callbacks.check_on_train_epoch_end true is not possible here: leave it out; {name} checks"
                " after each validation"
            )


def refusal(error: Exception, trainer: Namespace, default: Namespace) -> str:
    """Lightning's complaint, with the trainer's settings that may have caused it: those it mentions, or all."""
    words = re.findall(r"[\w.-]+", str(error))
    changed = {name: value for name, value in vars(trainer).items() if value != default.get(name)}
    mentioned = {name: value for name, value in changed.items() if name in words or str(value) in words}
    flags = ", ".join(f"--trainer.{name} {value}" for name, value in (mentioned or changed).items())
    return f"Lightning refuses {flags} ({error}); change it, or leave it out"
