"""Turns errors that the user can mend into one paragraph."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from linreg_pl.errors import InputError


@contextmanager
def writing(place: Path, flag: str) -> Iterator[None]:
    """Raises a failure to write as an error of the place, and names the flag that chooses another.

    Raises:
        InputError: something could not be written.
    """
    try:
        yield
    except BrokenPipeError:  # of the terminal, not of the place
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{error.filename or place}: nothing can be written there ({reason})"
        raise InputError(f"{where}; make room, or give {flag} another place") from error


def message_for(error: BaseException) -> str | None:
    """Returns one paragraph for an error that the input explains, and None for one that is a bug."""
    chain: BaseException | None = error
    while chain is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(chain, OSError) and chain.filename:
            return f"{chain.filename}: {chain.strerror}"
        if isinstance(chain, InputError | MisconfigurationException | OSError):
            return " ".join(str(chain).split())
        chain = chain.__cause__
    return None
