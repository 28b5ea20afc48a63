"""Prints what the user should know beside the results, which go to the standard output alone."""

import sys
from collections.abc import Iterable


def print_notes(notes: Iterable[str], warnings: Iterable[str] = ()) -> None:
    """Prints notes and warnings on the standard error."""
    for line in (*(f"NOTE     {note}" for note in notes), *(f"WARNING  {warning}" for warning in warnings)):
        print(line, file=sys.stderr)
