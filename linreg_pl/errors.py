"""The errors that the user can mend, and how their messages quote names and texts."""

from collections import Counter
from collections.abc import Iterable, Sequence


class InputError(ValueError):
    """Raised for input that can't be used.

    The message is one short paragraph for the user: what is wrong, where, what was found, what to do. The command line
    prints it and exits with code 2.
    """


class Diverged(ArithmeticError):  # noqa: N818 (the field's word)
    """Raised when a step's numbers leave their range, before they reach the weights; the command line exits with 3."""


def quoted(names: Sequence[str], most: int = 8) -> str:
    """Returns the first names, in quotes, and how many more there are."""
    shown = ", ".join(shortened(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def shortened(text: str, most: int = 40) -> str:
    """Returns a text's first characters, in quotes."""
    return repr(text if len(text) <= most else f"{text[:most]}…")


def repeated(names: Iterable[str]) -> list[str]:
    """Returns the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
