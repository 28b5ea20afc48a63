"""Reads names of columns from flags, config files and the environment: a name is a text, whatever it looks like.

jsonargparse reads a value as YAML first, in which `null`, `1980`, `a: b` and `- x` are no texts. These actions replace
its own for settings that hold names:

    null, 1980, a: b,  area      one name, as typed
    [a, 01, f(x)]                a list of names, as typed, without the blanks around them
    ["b, c", '[a]']              a list whose names are quoted

In a config file names may be YAML's numbers and truth values; null is no name, unless it is quoted or in a list.
"""

import json
import re
from types import NoneType
from typing import Any, get_args

import yaml
from jsonargparse import ArgumentParser, set_dumper
from jsonargparse._typehints import ActionTypeHint
from jsonargparse._util import NestedArg

from linreg_pl.cli.data_classes import shown_class, with_rows
from linreg_pl.data.base import Rows
from linreg_pl.data.columns import Column


class NamesAction(ActionTypeHint):
    """Sets names of columns, or the name of one, as its type asks."""

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        """Returns the names that a value stands for.

        Raises:
            TypeError: it stands for none.
        """
        if value is None:
            return None
        kinds, names = _kinds(self._typehint), names_in(value)
        if append:
            names = [*((cfg or {}).get(self.dest) or []), *([names] if isinstance(names, str) else names)]
        if names is None or (isinstance(names, list) and len(names) != 1 and list[str] not in kinds):
            expected = "<class 'list'>" if list[str] in kinds else "<class 'str'>"
            raise TypeError(f'Parser key "{self.dest}":\n  Expected a {expected}. Got value: {value}')
        if isinstance(names, list):
            return names if list[str] in kinds else names[0]
        return names if kinds & {str, Column} else [names]

    def serialize(self, value: Any, dump_kwargs: Any = None) -> Any:
        """Returns names as a config file holds them: a name that looks like a list becomes the only one of a list."""
        return [value] if isinstance(value, str) and isinstance(names_in(value), list) else value


class ClassAction(ActionTypeHint):
    """Sets arguments of a class, whose own parser reads each as typed: jsonargparse's action would load it before."""

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        """Returns the settings of the class with those in `value`."""
        if isinstance(value, NestedArg) and isinstance(value.val, str):
            value = value._replace(val=Typed(value.val))
        return super()._check_type(value, append, cfg, mode)  # type: ignore[no-untyped-call]


class RowsAction(ClassAction):
    """Sets the rows of a command that trains nothing, which are those of the data module that is named."""

    def _check_type(self, value: Any, append: bool = False, cfg: Any = None, mode: Any = None) -> Any:
        """Returns the settings of the rows with those in `value`."""
        return super()._check_type(with_rows(value), append, cfg, mode)

    def serialize(self, value: Any, dump_kwargs: Any = None) -> Any:
        """Returns the settings of the rows as a config file for any command holds them."""
        settings = super().serialize(value, dump_kwargs)  # type: ignore[no-untyped-call]
        name = shown_class(settings["class_path"])
        return settings if "." in name else {**settings, "class_path": f"linreg_pl.{name}"}


class Typed(str):
    """A text that jsonargparse does not load, as its type is not `str`."""


def names_in(value: Any) -> Any:
    """Returns the name or the list of names that a flag's text or a config file's value stands for; None for others."""
    if isinstance(value, str):
        is_list = value.strip().startswith("[") and value.strip().endswith("]")
        return names_in_list(value.strip()[1:-1]) if is_list else value
    if isinstance(value, list | tuple):
        return None if any(isinstance(each, list | dict) for each in value) else list(map(_as_typed, value))
    return _as_typed(value) if isinstance(value, bool | int | float) else None


def names_in_list(text: str) -> list[str]:
    """Returns the names in a list's text, without its brackets: separated by commas, quoted as in JSON or YAML."""
    item = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*")|'((?:[^']|'')*)'|([^,]*?))\s*(?:,|\Z)""", re.DOTALL)
    names, position = [], 0
    while position < len(text):
        match = item.match(text, position)
        assert match is not None  # the third form takes any text
        double, single, plain = match.groups()
        position = match.end()
        if double is not None:
            names.append(_unquoted(double))
        elif single is not None:
            names.append(single.replace("''", "'"))
        elif plain or position < len(text):  # a comma may end the list
            names.append(plain)
    return names


def read_names(parser: ArgumentParser) -> None:
    """Lets a parser, and those of the data classes, read the settings that hold names as names."""
    for action in parser._actions:
        if isinstance(action, ActionTypeHint) and _holds_names(action._typehint):
            action.__class__ = NamesAction
        elif isinstance(action, ActionTypeHint) and action.dest == "data":
            action.__class__ = RowsAction if Rows in get_args(action._typehint) else ClassAction


def dumped(settings: Any, **style: Any) -> str:
    """Returns settings as YAML that is read back alike, by jsonargparse, too."""
    style = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False, **style}
    return str(yaml.dump(settings, Dumper=QuotingDumper, **style))


class QuotingDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """PyYAML's dumper, which also quotes texts such as 1e3 that jsonargparse's loader takes for numbers."""


QuotingDumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.[\d_]+)([eE][-+]?\d+)?$", re.ASCII),
    list("-+.0123456789"),
)
set_dumper("yaml", dumped)


def _kinds(typehint: Any) -> set[Any]:
    is_whole = typehint in (str, list[str], Column)
    return {typehint} if is_whole else {kind for kind in get_args(typehint) if kind is not NoneType}


def _holds_names(typehint: Any) -> bool:
    kinds = _kinds(typehint)
    return bool(kinds & {list[str], Column}) and kinds <= {str, list[str], Column}


def _as_typed(value: Any) -> str:
    return value if isinstance(value, str) else "null" if value is None else json.dumps(value)


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:  # an escape that JSON does not know
        return text[1:-1]
