"""The errors that the user can mend, and how their messages quote names and texts."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from typing import Any


class InputError(ValueError):
    """Raised for input that can't be used.

    The message is one short paragraph for the user: what is wrong, where, what was found, what to do. The command line
    prints it and exits with code 2.

    Args:
        message: The paragraph; or a line for each thing that is wrong.
        flags: Names and values of the data's flags that would settle everything.

    Example:
        >>> linreg_pl.solve([1, 2, 3], [1, 2])
        Traceback (most recent call last):
        linreg_pl.errors.InputError: X has shape (3, 1), and y has shape (2,)...
    """

    def __init__(self, message: str, flags: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.flags = dict(flags or {})


class ToldElsewhere(Exception):  # noqa: N818 (another process tells the user)
    """Raised instead of an error that all processes of a command have, in those that are not to print it."""


class Diverged(ArithmeticError):  # noqa: N818 (the field's word)
    """Raised when a step's numbers leave their range, before they reach the weights; the command line exits with 3."""


@contextmanager
def named_arguments() -> Iterator[None]:
    """Gives the errors of a call from Python the names of arguments in place of flags."""
    try:
        yield
    except InputError as error:
        raise InputError(without_flags(str(error)), error.flags) from None


def without_flags(message: str) -> str:
    """Returns a message with arguments in place of flags: `missing='mean'` for `--data.missing mean`.

    A list that a shell needs quoted, as in `--data.exclude '[a]'`, becomes Python's.
    """

    def argument(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        name = {"path": "X", "weight": "weights", "folds.count": "folds"}.get(name, name.removeprefix("folds."))
        if value is None or match["trainer"]:  # "devices 2 is not possible here"
            return match[0].replace(f"--{match['trainer']}.", "") if match["trainer"] else name
        if value[0] == "'":
            import yaml  # not at the top: it takes as long as all that linreg --help imports

            [text] = shlex.split(value)
            return f"{name}={yaml.safe_load(text) if text[:1] == '[' else repr(text)}"
        return f"{name}={value.title() if value in ('true', 'false') else value if value[0].isdigit() else repr(value)}"

    words = r"true|false|auto|mean|drop|missing|other|\d+(?:\.\d+)?(?:e[+-]?\d+)?"
    value = rf"(?: (?P<value>'[^']*'(?:\"'\"'[^']*')*|(?:{words})\b))?"
    prefix = r"(?<![\w-])--(?:(?:data|model|(?P<trainer>trainer))\.)?(?=\w)|\b(?=folds\.)"
    flag = rf"(?:{prefix})(?P<name>(?:folds\.)?\w+){value}"
    message = re.sub(r"'(\[[\d.,e+ -]*\])'", r"\1", message)  # a list that a shell needs quoted
    return re.sub(flag, argument, re.sub(r"; see --data\.\w+$", "", message))


OTHER_NAMES = {"alpha": "l2", "lambda_": "l2", "lr": "learning_rate", "sample_weight": "weights"}
"""Names of settings in other libraries, with ours."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known name that is probably meant by a word; None where none is like it.

    Where names have parts, as in `model.l2`, another library's name may stand for the last part.
    """
    part, dot, name = word.rpartition(".")
    word = (part + dot + OTHER_NAMES.get(name, name)).lower()
    likeness = {
        each: 1.0 if each.lower().startswith(word) else SequenceMatcher(None, word, each.lower()).ratio()
        for each in known
    }
    best = max(likeness, key=lambda each: likeness[each], default="")
    return best if len(word) > 1 and likeness.get(best, 0) >= 0.6 else None


def quoted(names: Sequence[str], most: int = 8) -> str:
    """Returns the first names, in quotes, and how many more there are."""
    shown = ", ".join(shortened(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def shortened(text: str, most: int = 40) -> str:
    """Returns a text's first characters, in quotes."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def printable(text: str) -> str:
    """Returns a text on one line: line breaks, tabs and the like as Python's repr writes them."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def repeated(names: Iterable[str]) -> list[str]:
    """Returns the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def flag_text(value: Any) -> str:
    """Returns a flag's value as it is typed in a shell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return shlex.quote(f"[{', '.join(map(_name_text, value))}]")
    return f"'{value}'" if value in (".", ",") else shlex.quote(str(value))  # they would end a sentence


def _name_text(name: str) -> str:
    """Returns a name as an element of a list: in quotes, unless no reader of YAML takes it for something else."""
    is_plain = re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in (
        "null",
        "true",
        "false",
        "yes",
        "no",
        "on",
        "off",
    )
    return name if is_plain else json.dumps(name, ensure_ascii=False)
