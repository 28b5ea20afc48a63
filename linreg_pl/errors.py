"""The errors that are no mistake of the program's, and how they quote what they found."""

from collections.abc import Sequence

MOST_NAMES = 8
"""Names that are quoted one by one."""

LONGEST = 40
"""Characters of a text that are quoted."""


class InputError(ValueError):
    """Raised for input that can't be used.

    The message is one short paragraph for the person at the keyboard: what is wrong, where, what was found, what to
    do. The command line prints it and exits with code 2.
    """


class Diverged(ArithmeticError):  # noqa: N818 (the field's word)
    """Raised when a step's numbers leave their range, before they reach the weights; the command line exits with 3."""


def quoted(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(shortened(name) for name in names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def shortened(text: str) -> str:
    """The text's beginning, in quotes."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
