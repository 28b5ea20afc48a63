"""Parses flags, config files and the environment, and answers a wrong setting in one paragraph.

Of jsonargparse's long message it keeps the setting, what was found and is allowed, and the name probably meant.
"""

import argparse
import os
import re
import shlex
import textwrap
from os import PathLike
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse._link_arguments import ActionLink

from linreg_pl.cli.commands import CHOOSING_L1, COMMANDS, other_command, suggestion, typed_names
from linreg_pl.cli.data_classes import ROWS, data_classes, data_flags, shown_class
from linreg_pl.cli.help import FlagFormatter, help_page
from linreg_pl.cli.names import Typed, read_names
from linreg_pl.cli.overlooked import require_distinct_keys
from linreg_pl.errors import InputError
from linreg_pl.tuning.ranges import VARIED

ANSWERS = (
    (r"Option 'class_path' is not accepted", "{key}: the settings of its class go below init_args"),
    (r"Group '(?P<group>\S+)' .* '(?P<name>\S+)'", "there is no setting {setting}{nearest}"),
    (r"[Oo]ption '(?P<name>\S+)'", "there is no setting {setting}{nearest}"),
    (r"unrecognized arguments: --ckpt_path", "there is no setting --ckpt_path; to go on with a run, give --resume"),
    (r"unrecognized arguments: --(?P<name>[^\s=]+)", "there is no setting {setting}{nearest}"),
    (r"unrecognized arguments: (?P<name>\S+)", "{name}: a setting begins with two dashes{path}; see {command} --help"),
    (r"arguments are required: (?:\w+\.(?=data$))?(?P<missing>.*)", "missing settings: give {missing}"),
    (r"argument --data: expected one argument", "--data, or the last of its flags --data.…: a value must follow"),
    (r"argument (?P<name>\S+): expected one argument", "{name}: a value must follow"),
    (r'(?:Linked "|--> )(?P<name>model\.\w+)', "{setting} follows from the data: leave it out"),
    (
        r"Unable to load config '(?P<name>.*?)'",
        "{key}: expected a YAML file of its settings, found {name}; they are {parts}",
    ),
    (r"(?:File does not exist|Path is not a file): '(?P<name>.*)'", "{key}: there is no file {name}"),
    (r"Unexpected config: ", "there are no settings in it; linreg fit --print_config prints some"),
    (
        r"mport path|instantiatable|a valid subclass|class_path '\S+':\s+[mN]o",
        "{key}: expected a class that fits, found {found}{class}",
    ),
    (r"Expected an? ", "{key}: expected {kinds}, found {found}{origin}{hint}"),
)
"""Patterns of jsonargparse's messages, and our wording of each; the first pattern that matches counts."""


class Parser(ArgumentParser):
    """jsonargparse's parser, with a short help, and raising `InputError` instead of printing the usage of all flags."""

    command: str | None = None
    """Name of the command; None for the parser of a class, whose settings are flags."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": FlagFormatter, **kwargs})
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse's takes -1e-3 for a flag

    def keep_defaults(self) -> None:
        """Keeps the defaults as they are now, for `restore_defaults`."""
        self._kept = [(action, action.default) for action in self._actions], dict(self._defaults)

    def restore_defaults(self) -> None:
        """Undoes each `set_defaults` since `keep_defaults`."""
        of_actions, self._defaults = self._kept[0], dict(self._kept[1])
        for action, default in of_actions:
            action.default = default

    def format_help(self, formatter: argparse.HelpFormatter | None = None, part: str | None = None) -> str:
        """Returns the help: the flags that have an effect, in few sections, or those of one `part`."""
        everything = self.usage, self.description, self._action_groups, self.epilog
        page = help_page(self, part)
        self.usage, self.description, self.epilog = page.usage, page.description, page.epilog
        self._action_groups = page.sections  # type: ignore[assignment]  # argparse reads these three attributes only
        try:
            return super().format_help()
        finally:
            self.usage, self.description, self._action_groups, self.epilog = everything

    def add_class_arguments(self, *args: Any, **kwargs: Any) -> Any:
        """Adds the arguments of a class, of which those that hold names of columns take them as typed."""
        added = super().add_class_arguments(*args, **kwargs)
        read_names(self)
        return added

    def _check_value_key(self, action: argparse.Action, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Checks a setting; a text that `ClassAction` has kept as typed is one like others from here on."""
        value = str(value) if isinstance(value, Typed) else value
        return super()._check_value_key(action, value, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raises the message as one paragraph, with a suggestion.

        Raises:
            InputError: always.
        """
        if not self.exit_on_error:  # parses a part of a setting: its caller repeats the message with the setting's key
            super().error(message, ex)
        cause = ex.__cause__ if ex else None
        if isinstance(cause, InputError):
            raise cause
        if isinstance(cause, yaml.YAMLError):
            raise InputError(f"broken YAML: {yaml_mistake(cause)}") from ex
        raise InputError(answer(message, self)) from ex

    def parse_path(self, path: str | PathLike[str], *args: Any, **kwargs: Any) -> Namespace:
        """Parses and checks a config file, while its name is known for the message.

        Raises:
            InputError: it can't be used.
        """
        try:
            settings: Namespace = super().parse_path(path, *args, **kwargs)
            for name in ("model", "trainer"):
                if not isinstance(settings.get(name), Namespace | None):
                    raise InputError(f"--{name}: expected settings of its own, found {settings[name]!r}")
            self.validate(settings, skip_required=True)
            require_distinct_keys(path)
        except InputError as error:
            before = str(error).replace(" before it", " before --config")
            raise InputError(f"{path}: {before}") from error
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: {answer(str(error), self)}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: this is not UTF-8 text; give --config a YAML file") from error
        return settings


def answer(message: str, parser: Parser) -> str:
    """Returns jsonargparse's message as one sentence, without its lists of types that did not fit."""
    for pattern, wording in ANSWERS:
        match = re.search(pattern, message)
        if match:
            return wording.format_map(details(message, match.groupdict(""), parser))
    return " ".join(message.split())


def details(message: str, matched: dict[str, str], parser: Parser) -> dict[str, str]:
    """Returns what a wording may mention; `matched` holds the groups of its pattern."""
    key = ".".join(dict.fromkeys(re.findall(r'Parser key "([^"]*)"', message)))
    setting = ".".join(filter(None, (key, matched.get("group"), matched.get("name"))))
    missing = [f"--{key}.{name}".replace("--.", "--") for name in matched.get("missing", "").split(", ")]
    match = re.search(r"(?:Got|Given) value: (?:\[?{'class_path': ')?([^'\n]*)", message)
    value = textwrap.shorten(match[1], 60, placeholder=" …") if match else ""
    command = parser.prog
    variable = f"{command}.{key}".replace(" ", "_").replace(".", "__").upper()
    return matched | {
        "command": command,
        "key": f"--{key}",
        "setting": f"--{setting}",
        "missing": " and ".join(missing),
        "found": value or "nothing",
        "kinds": " or ".join(accepted_kinds(message, key)),
        "origin": f" in {variable}" if os.environ.get(variable) == value else "",
        "hint": CHOOSING_L1 if (key, value) == ("model.l1", "auto") else "",
        "nearest": other_command(setting, parser.command)
        or other_data(setting)
        or suggestion(setting, known_names(parser), command),
        "parts": parts_of(key, parser),
        "path": f", as in --data.path {shlex.quote(name)}" if os.path.exists(name := matched.get("name", "")) else "",
        "class": suggestion(value, dict(zip(ROWS, ROWS, strict=True)), command),
    }


def refused_class(message: str) -> str | None:
    """Returns the name of a class that could not be built, and why, from jsonargparse's message; None for others."""
    match = re.search(r"Problem with given class_path '([\w.]+)':\s+(.+)", message)
    return f"{shown_class(match[1]).rpartition('.')[2]}: {match[2]}" if match else None


def accepted_kinds(message: str, key: str) -> list[str]:
    """Returns the kinds of values that would fit, in words; None is left out, as nobody types it."""
    kinds = {
        "float": "a finite number",
        "int": "a whole number",
        "bool": "true or false",
        "str": "text",
        "list": accepted_list(message, key),
        "Sequence": accepted_list(message, key),
    }
    types = re.findall(r"Expected an? (?:<class '(?:[\w.]*\.)?(\w+)'>|typing\.Literal\[(.*?)\])", message)
    return list(dict.fromkeys(kinds.get(name, name) or choices for name, choices in types if name != "NoneType"))


def accepted_list(message: str, key: str) -> str:
    """Returns the kind of list that would fit, with an example that a shell and the setting accept."""
    is_of_numbers = re.search(r"(?:list|Sequence)\[(?:int|float)\]", message)
    part, _, name = key.rpartition(".")
    example = VARIED[name].example if part == "tune" else "'[1, 10]'" if is_of_numbers else "'[a, b]'"
    return f"a list{' of numbers' if is_of_numbers else ''}, such as {example}"


def parts_of(key: str, parser: Parser, most: int = 10) -> str:
    """Returns the flags of the settings that one with parts has, as they are typed; a hint to the help if many."""
    options = [option for action in parser._actions for option in action.option_strings]
    parts = [option for option in options if re.fullmatch(rf"--{key}\.(?!help)\w+", option)]
    return ", ".join(parts) if 0 < len(parts) <= most else f"in {parser.prog} --help"


def other_data(setting: str) -> str:
    """Returns a hint to the data class that has a setting, if one has."""
    owners = (data.module_name() for data in data_classes() if setting in data_flags(data))
    return next((f" in the data chosen; {name} has it: put --data {name} before it" for name in owners), "")


def known_names(parser: Parser) -> dict[str, str]:
    """Returns the flags that have an effect, whole and by their last word, each with how it is typed."""
    return typed_names([flag for flag, has_effect in flags_of(parser).items() if has_effect], parser.command)


def flags_of(parser: Parser) -> dict[str, bool]:
    """Returns all flags of a parser, without dashes, and whether they have an effect."""
    command = None if parser.command is None else COMMANDS[parser.command]
    shown = {
        option[2:]: action.help != argparse.SUPPRESS
        for action in parser._actions
        for option in action.option_strings
        if option[:2] == "--" and not option.endswith("+")
    }
    shown |= {action.target[0]: False for action in parser._actions if isinstance(action, ActionLink)}
    shown |= {name: True for data in data_classes() for name in data_flags(data)}
    return {flag: is_shown and (command is None or command.uses(flag)) for flag, is_shown in shown.items()}


def yaml_mistake(error: yaml.YAMLError) -> str:
    """Returns the place where a file is not YAML, and the reason."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error).splitlines()[0]
    where = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    if "cannot start any token" in str(error.problem):
        return f"{where}; indent with spaces, not tabs"
    return f"{where} {error.context} from line {error.context_mark.line + 1} on" if error.context_mark else where
