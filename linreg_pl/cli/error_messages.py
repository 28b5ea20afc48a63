"""Turns errors that the user can mend into one paragraph."""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from linreg_pl.cli.typed import as_typed
from linreg_pl.errors import InputError, flag_text
from linreg_pl.signals import Interrupted


class WriteError(InputError):
    """Raised where nothing can be written.

    Args:
        cause: Where, and why.
        flag: The flag that chooses another place.
    """

    def __init__(self, cause: str, flag: str) -> None:
        super().__init__(f"{cause}; make room, or give {flag} another place")
        self.cause, self.flag = cause, flag

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (self.cause, self.flag)


@contextmanager
def writing(place: Path, flag: str) -> Iterator[None]:
    """Raises a failure to write as an error of the place, and names the flag that chooses another.

    Raises:
        WriteError: something could not be written.
        Interrupted: a signal was ending the program, and a file was closed twice.
        InputError: a file is in the way of a folder.
    """
    try:
        yield
    except BrokenPipeError:  # of the terminal, not of the place
        raise
    except OSError as error:
        # Lightning closes files again that a signal has found closing. Errors of the system, such as a full disk, have
        # a number.
        if error.errno is None and isinstance(error.__context__, Interrupted):
            raise error.__context__ from None
        where, reason = error.filename or place, error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise InputError(f"{where}: a file is in the way of a folder; give {flag} another place") from error
        raise WriteError(f"{where}: nothing can be written there ({reason})", flag) from error


def message_for(error: BaseException, args: Sequence[str] = ()) -> str | None:
    """Returns one paragraph for an error that the input explains, and None for one that is a bug.

    If flags settle it, the paragraph has a line for each thing that is wrong, and the command with these flags follows.
    """
    for each in chain(error):
        if isinstance(each, OSError) and each.filename:
            return f"{each.filename}: {each.strerror}"
        if isinstance(each, InputError) and each.flags:
            return f"{each}\nThis works:\n{with_flags(args, each.flags)}"
        if isinstance(each, (InputError, OSError, *errors_of_lightning())):
            return " ".join(str(each).split())
    return None


def flags_for(error: BaseException) -> Mapping[str, Any]:
    """Returns the data's flags that would settle an error; none for other errors."""
    return next((each.flags for each in chain(error) if isinstance(each, InputError)), {})


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and its causes: jsonargparse wraps what a constructor raises."""
    while error is not None:
        yield error
        error = error.__cause__


def errors_of_lightning() -> list[type[Exception]]:
    """Returns Lightning's error for settings that can't be used; nothing while Lightning has not been needed."""
    if "lightning" not in sys.modules:
        return []
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    return [MisconfigurationException]


def with_flags(args: Sequence[str], flags: Mapping[str, Any]) -> str:
    """Returns the command line `linreg args…` with some of the data's flags, which replace those of the same names.

    A resumed run takes other flags only with the one that allows it.
    """
    names = {f"--data.{name}" for name in flags}
    kept, skips = list[str](), False
    for arg in args:
        name, is_whole = arg.partition("=")[0], "=" in arg
        if not skips and name not in names:
            kept.append(shlex.quote(arg))
        skips = not skips and name in names and not is_whole
    more = [f"--data.{name} {flag_text(value)}" for name, value in flags.items()]
    given = {arg.partition("=")[0] for arg in args}
    if args[:1] == ["fit"] and "--resume" in given and "--allow_changed_settings" not in given:
        more.append("--allow_changed_settings true")
    return " ".join([as_typed("linreg"), *kept, *more])
