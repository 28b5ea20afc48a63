"""The classes that `--data` may name. Lightning's are data modules; commands that train nothing take their rows alone.

Flags, config files and checkpoints have the names of the data modules. A command whose name is translated here needs no
Lightning, whose import takes seconds.
"""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import yaml
from jsonargparse import Namespace
from jsonargparse._util import NestedArg

import linreg_pl
from linreg_pl.data.base import Rows

ROWS = {
    "SyntheticDataModule": "linreg_pl.data.synthetic_rows.SyntheticRows",
    "TableDataModule": "linreg_pl.data.table.table_rows.TableRows",
}
"""The class of the rows of each data module."""


def data_classes() -> list[type[Rows]]:
    """Returns the rows that `--data` may name, each by its module's name."""
    return [getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in ROWS.values()]


def data_flags(data: type[Rows]) -> list[str]:
    """Returns the flags of a data class, without dashes."""
    return [f"data.{name}" for name in inspect.signature(data).parameters]


def default_of(data: type[Rows], name: str) -> Any:
    """Returns the default of a data class's setting; `inspect.Parameter.empty` if its signature does not tell."""
    known = inspect.signature(data).parameters
    return known[name].default if name in known else inspect.Parameter.empty


def shown_class(path: str) -> str:
    """Returns how a class is typed: by its name, or that of its data module, if it is ours; else by its whole path."""
    name = path.rpartition(".")[2]
    shown = {rows.rpartition(".")[2]: module for module, rows in ROWS.items()}.get(name, name)
    return shown if path.startswith("linreg_pl.") else path


def import_modules() -> None:
    """Loads the data modules, so that they may be named where names are not translated; takes seconds."""
    for name in ROWS:
        getattr(linreg_pl, name)


def rows_path(name: str) -> str:
    """Returns the class of the rows of a data module of ours; other names as they are."""
    is_ours = "." not in name or name.startswith("linreg_pl.")
    return ROWS.get(name.rpartition(".")[2], name) if is_ours else name


def with_rows(value: Any) -> Any:
    """Returns a setting that names a data module of ours with the class of its rows instead."""
    if isinstance(value, NestedArg):
        return value._replace(val=rows_path(value.val)) if value.key == "class_path" else value
    if isinstance(value, str) and value.startswith("{"):
        with suppress(yaml.YAMLError):  # the parser refuses it
            value = yaml.safe_load(value)
    if isinstance(value, str):
        if (path := rows_path(value)) == value and value[:1] != "{":  # such as a file, which may name a data module
            import_modules()
        return path
    if isinstance(value, Mapping | Namespace) and isinstance(value.get("class_path"), str):
        changed = {**(vars(value) if isinstance(value, Namespace) else value)}
        return {**changed, "class_path": rows_path(changed["class_path"])}
    return value
