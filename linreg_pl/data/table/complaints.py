"""Words all that stands in the way of a fit in one message, with the flags that settle it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from linreg_pl.errors import InputError, flag_text


@dataclass(frozen=True)
class Complaint:
    """A column that can't be used as it is.

    Args:
        column: Its name.
        place: Where a value shows why, such as "t.csv: column 'x', row 3".
        reason: Why it can't be used.
        flags: The flags that settle it, one of which is enough: each a name, such as "numbers", and a value.
    """

    column: str
    place: str
    reason: str
    flags: Sequence[tuple[str, Any]]


def refusal(
    complaints: Sequence[Complaint],
    given: Mapping[str, Sequence[str]] = MappingProxyType({}),
    missing: str | None = "error",
) -> InputError:
    """Returns the error that lists all complaints, with the flags that settle them together.

    Args:
        complaints: At least one.
        given: The lists that the user has given so far, such as the excluded columns; they stay in force.
        missing: What the user does with missing values.
    """
    flags: dict[str, Any] = {}
    for complaint in complaints:
        for name, value in complaint.flags[:1]:
            known = flags.get(name, given.get(name, []))
            flags[name] = list(dict.fromkeys([*known, *value])) if isinstance(value, list) else value
    if "missing_values" in flags and missing in ("error", None):
        flags.setdefault("missing", "drop")  # the texts are missing values now
    lines = [_line(complaint) for complaint in complaints]
    return InputError("\n".join(lines), flags=flags)


def _line(complaint: Complaint) -> str:
    remedies = [f"--data.{name} {flag_text(value)}" for name, value in complaint.flags]
    advice = ""
    if remedies:
        advice = f"; give {', '.join(remedies[:-1])}{' or ' if remedies[1:] else ''}{remedies[-1]}"
    return f"{complaint.place}: {complaint.reason}{advice}"
