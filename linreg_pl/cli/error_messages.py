"""What is said of an error that is no mistake of the program's?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from linreg_pl.errors import InputError


@contextmanager
def writing(place: Path, flag: str) -> Iterator[None]:
    """Tells a failure to write as a matter of the place, and of the flag that names it."""
    try:
        yield
    except BrokenPipeError:  # of the terminal, not of the place
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        where = f"{error.filename or place}: nothing can be written there ({reason})"
        raise InputError(f"{where}; make room, or give {flag} another place") from error


def what_to_say_of(error: BaseException) -> str | None:
    """One paragraph for an error that its input explains; None for one that is a mistake of ours."""
    chain: BaseException | None = error
    while chain is not None:  # jsonargparse wraps what a constructor raises
        if isinstance(chain, OSError) and chain.filename:
            return f"{chain.filename}: {chain.strerror}"
        if isinstance(chain, InputError | MisconfigurationException | OSError):
            return " ".join(str(chain).split())
        chain = chain.__cause__
    return None
