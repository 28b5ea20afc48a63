"""Checks the types of arguments that come from Python, where the command's parser has checked those of flags."""

import operator
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from linreg_pl.errors import InputError


def check_types(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Checks arguments whose annotation is made of truth values, numbers, None and texts to choose from; no others.

    Args:
        function: What takes the arguments.
        given: Values by name; other names are left alone.

    Raises:
        InputError: a value has another type, or is not among the choices.
    """
    for name, annotation in get_type_hints(function).items():
        kinds = [annotation] if get_origin(annotation) is Literal else list(get_args(annotation)) or [annotation]
        words = [in_words(kind) for kind in kinds]
        if name in given and None not in words and not any(is_of(kind, given[name]) for kind in kinds):
            raise InputError(f"{name} is {given[name]!r}: give {' or '.join(filter(None, words))}")


def is_of(kind: Any, value: Any) -> bool:
    """Returns whether a value is of a kind that `in_words` knows; a whole number is also of `float`."""
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind in (NoneType, bool):
        return isinstance(value, NoneType if kind is NoneType else bool | np.bool_)
    if isinstance(value, str | bytes | bool | np.bool_) or getattr(value, "ndim", False):
        return False
    try:
        operator.index(value) if kind is int else float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def in_words(kind: Any) -> str | None:
    """Returns what to give for a kind of value, nothing for None; None if the kind is not checked."""
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return {bool: "True or False", int: "a whole number", float: "a number", NoneType: ""}.get(kind)
