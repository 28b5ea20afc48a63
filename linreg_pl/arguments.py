"""Reads what `fit`, `solve`, `path` and `subsets` take from Python: rows of any kind, and settings by name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

from linreg_pl.data.argument_types import check_types
from linreg_pl.data.base import Rows
from linreg_pl.data.table.arrays import joined
from linreg_pl.data.table.matrix import as_matrix
from linreg_pl.data.table.sources import ArrowStream
from linreg_pl.data.table.table_rows import TableRows
from linreg_pl.errors import InputError, nearest, quoted, repeated
from linreg_pl.training.hyper_parameters import HyperParameters

Table = TypeVar("Table", bound=TableRows)


def table_of(
    table_class: type[Table],
    X: Any,
    y: Any,
    weights: Any,
    target: str | list[str] | None,
    settings: dict[str, Any],
    **groups: Any,
) -> tuple[Table, str | None]:
    """Returns the rows, and the name of the column of the groups, if there is one; arrays become columns of the table.

    Args:
        table_class: What to make of them.
        X: Features: an array, a frame, or the path of a file.
        y: Targets, or their column's name.
        weights: Weights, or their column's name.
        target: Name of the column to predict, or a list of names.
        settings: Further arguments of this class.
        groups: The argument with the rows' groups, by its name, cluster or by; or with their column's name.

    Raises:
        InputError: the target is missing or given twice, arrays come with a file, or the shapes do not fit.
    """
    if isinstance(X, Rows):
        raise InputError("X is a data module: give it to a lightning.Trainer, with LinearRegression")
    if isinstance(y, list) and is_name(y) and repeated(map(str, y)):
        raise InputError("y has texts: give numbers, or the names of columns, each once")
    if is_name(y):
        if target is not None:
            raise InputError(f"y is {y!r} and target is {target!r}: give one of them")
        target, y = y, None
    if (y is None) == (target is None):
        raise InputError(
            "give the targets as y, or the name of their column as target" + (", not both" if y is not None else "")
        )
    arrays = {
        "y": y,
        "weights": None if isinstance(weights, str) else weights,
        **{label: None if isinstance(values, str) else values for label, values in groups.items()},
    }
    is_file = is_path(X)
    if is_file and any(values is not None for values in arrays.values()):
        names = [label for label, values in arrays.items() if values is not None]
        raise InputError(f"X is a file, so {quoted(names)} must be the name of a column in it")
    if not is_file and not isinstance(X, ArrowStream) and target is not None:
        as_matrix(X, "X")  # names what is no array, such as a dictionary
        raise InputError(f"target is {target!r}, but X is an array without names: give the targets as y")
    if not is_file and (unused := sorted(settings.keys() & {"delimiter", "encoding", "column_names"})):
        raise InputError(f"{quoted(unused)}: this setting is for CSV files, and X is in memory; leave it out")
    table, columns = (X, dict[str, list[str]]()) if is_file else joined(X, **arrays)
    weight = weights if isinstance(weights, str) else next(iter(columns.get("weights", [])), None)
    data, column = table_class(table, target or columns["y"], weight=weight, **settings), None
    for label, values in groups.items():
        column = values if isinstance(values, str) else next(iter(columns.get(label, [])), None)
    if column is not None:
        data.set_aside([column])
    return data, column


def is_name(value: Any) -> bool:
    """Returns whether this is a column's name, or a list of names."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], str))


def is_path(value: Any) -> bool:
    """Returns whether this is the path of a file, or a list of paths."""
    return (
        isinstance(value, PathLike)
        or is_name(value)
        or (isinstance(value, list) and bool(value) and isinstance(value[0], PathLike))
    )


def separated(
    function: Callable[..., Any], given: Mapping[str, Any], used: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings of the model, and those of the data, among the arguments given to a function.

    `used` are the settings of the model that have an effect there, by default all.

    Raises:
        InputError: a setting is unknown or has no effect, follows from the data, or another argument has a wrong type.
    """
    check_types(function, given)
    settings = given["settings"]
    of_model = inspect.signature(HyperParameters).parameters.keys() - {"num_features", "num_targets"}
    of_data = inspect.signature(TableRows).parameters.keys() - {"path", "target", "weight"}
    known = sorted(
        (of_model if used is None else {*used}) | of_data | inspect.signature(function).parameters.keys() - {"settings"}
    )
    for name in settings:
        if name not in of_model | of_data:
            of_solve = ": give it to linreg_pl.solve" if name in ("robust", "cluster") else ""
            others = f": see {'LinearRegression' if used is None else ', '.join(used)} and TableDataModule"
            nearest = of_solve or suggestion(name, known) or others
            raise InputError(f"{name} is no setting of the model or of the data{nearest}")
    model = {name: value for name, value in settings.items() if name in of_model}
    if used is not None and (unused := sorted(model.keys() - used)):
        what = {"path": "a path"}.get(function.__name__, function.__name__)
        raise InputError(f"{quoted(unused)}: this setting has no effect on {what}; leave it out")
    return model, {name: value for name, value in settings.items() if name in of_data}


def suggestion(name: str, known: Sequence[str]) -> str:
    """Returns a question for the known name that is probably meant, nothing if none is like it."""
    meant = nearest(name, known)
    return "" if meant is None else f"; did you mean {meant}?"
