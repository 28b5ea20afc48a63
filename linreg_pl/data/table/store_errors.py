"""Repeats requests to stores that fail, and turns their errors into messages."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from linreg_pl.data.table.url_secrets import access_settings, without_secrets
from linreg_pl.errors import InputError

SILENCE = 15.0
"""Seconds without a byte after which a request has failed; Arrow may take ten more to notice."""
ATTEMPTS = 4
REFUSED = "ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES_NOT_MATCH|EXPIRED_TOKEN|PERMISSION_DENIED|UNAUTHENTICATED"
"""The words of Arrow for a request that needs other credentials."""

Result = TypeVar("Result")


class Changed(OSError):  # noqa: N818 (what it says)
    """Raised if an object is not the one that was listed."""


def repeated(request: Callable[[], Result]) -> Result:
    """Makes a request, and again if it fails for a reason that may have gone; returns its result."""
    for attempt in range(1, ATTEMPTS):
        try:
            return request()
        except Exception as error:
            if not may_have_gone(error):
                raise
            time.sleep(0.25 * 2**attempt)
    return request()


def may_have_gone(error: BaseException) -> bool:
    """Says whether an error is one of the connection, or of a busy server."""
    status = status_of(error)
    if status:
        return status == 429 or status >= 500
    from aiohttp import ClientError

    return any(isinstance(each, ClientError | TimeoutError | ConnectionError | Changed) for each in causes(error))


@contextmanager
def as_listed() -> Iterator[None]:
    """Takes the lack of an object that was listed as a change.

    Raises:
        Changed: the object is gone.
    """
    try:
        yield
    except Exception as error:
        if (
            isinstance(error, FileNotFoundError)
            or status_of(error) == 404
            or re.search("NO_SUCH_KEY|NOT_FOUND", str(error))
        ):
            raise Changed from error
        raise


def status_of(error: BaseException) -> int:
    """Returns the status of the answer that an error is about, such as 403; 0 if there is none."""
    for each in causes(error):
        if status := getattr(each, "status", 0):
            return int(status)
        if match := re.search(r"\bHTTP status (\d{3})|\b(?:HTTP |code )(\d{3})\b", str(each)):
            return int(match[1] or match[2])
    return 0


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, and those before it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turns an error of a store in the body into one that says what to do."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        package = getattr(error.__cause__ or error, "name", None) or "fsspec"
        raise InputError(
            f"{url}: reading it needs the package {package}; type pip install {package}, or download the file"
        ) from error
    except Exception as error:  # each file system raises its own
        raise InputError(f"{url}: {_explained(url, error)}") from error


def _explained(url: str, error: Exception) -> str:
    """Returns what has happened, and what to do."""
    reason = _reason(error)
    if isinstance(error, Changed):
        return "the file has changed, or is gone, since it was listed; start again"
    if isinstance(error, PermissionError) or status_of(error) in (401, 403) or re.search(REFUSED, str(error)):
        public = (
            f", or for a public bucket {url.partition('://')[0]}://anonymous@BUCKET" if url[:2] in ("s3", "gs") else ""
        )
        return f"permission was refused; {access_settings(url)}{public}"
    if "NETWORK_CONNECTION" in str(error) or may_have_gone(error):
        return f"the connection failed {ATTEMPTS} times ({reason}); try again later, or download the file"
    return f"this can't be read ({reason}); check the address, or download the file"


def _reason(error: Exception) -> str:
    """Returns the first words of an error."""
    text = " ".join(str(error).split())
    if match := re.search(r"Protocol not known: (\S+)", text):
        return f"no program here knows {match[1]}://"
    if status := status_of(error):
        return f"HTTP status {status}"
    for each in causes(error):
        if type(each).__name__ == "ClientConnectorError":  # of aiohttp, which is slow to import
            return f"no server answers at {each.host}:{each.port}"  # type: ignore[attr-defined]
    if isinstance(error, TimeoutError):
        return f"no byte in {SILENCE:g} s"
    if match := re.search(r"received (\d+ of \d+ bytes)", text):
        return f"it sent {match[1]}"
    if isinstance(error, FileNotFoundError) and "://" in text:
        return "there is no such file"
    text = re.sub(r",? url='[^']*'", "", text.rpartition("; Details: ")[2])  # after a redirect, it may contain secrets
    return without_secrets(text)[:160] or type(error).__name__
