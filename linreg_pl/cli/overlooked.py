"""Refuses mistakes that jsonargparse passes over: keys that occur twice in a file, and variables of no setting."""

import os
from collections import Counter
from os import PathLike

import yaml
from jsonargparse import ArgumentParser

from linreg_pl.cli.commands import suggestion
from linreg_pl.errors import InputError


def require_distinct_keys(path: str | PathLike[str]) -> None:
    """Checks that no key occurs twice in a part of a YAML file, of which only the last would count.

    Raises:
        InputError: one does.
    """
    with open(path, encoding="utf-8") as file:
        nodes = [yaml.compose(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))]
    for node in nodes:
        if isinstance(node, yaml.MappingNode):
            keys = Counter(str(key.value) for key, _ in node.value)
            for key, _ in reversed(node.value):
                if keys[str(key.value)] > 1:
                    raise InputError(f"line {key.start_mark.line + 1}: {key.value} occurs a second time; join the two")
            nodes += [value for _, value in node.value]


def require_known_variables(parser: ArgumentParser, command: str) -> None:
    """Checks that each variable of a command, such as LINREG_FIT__MODEL__L2, is that of a setting.

    Raises:
        InputError: one is not.
    """
    prefix = f"LINREG_{command.upper()}__"
    settings = {action.dest for action in parser._actions}
    for name in sorted(each for each in os.environ if each.startswith(prefix)):
        setting = name.removeprefix(prefix).lower().replace("__", ".")
        if setting.startswith("data."):
            raise InputError(f"{name}: one variable, {prefix}DATA, has all settings of the data, as a file has them")
        if setting not in settings:
            likely = suggestion(setting, {each: f"--{each}" for each in settings}, f"linreg {command}")
            raise InputError(f"{name}: there is no setting --{setting}{likely}")
