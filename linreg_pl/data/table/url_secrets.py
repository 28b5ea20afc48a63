"""Refuses URLs with credentials: a run's config.yaml, checkpoints, report and messages all contain the URL."""

import re
from collections.abc import Iterable

from linreg_pl.errors import InputError

LOGIN = re.compile(r"(?<=://)[^/@?:\[\s]*:(?!\d*(?:/|$))[^@?&\s]*@|(?<=http://)[^/@?\s]+@|(?<=https://)[^/@?\s]+@")
"""A name and a password before the host; over HTTP, a name alone may be a token. A port is no password."""
PARAMETER = re.compile(
    r"(?i)[?&](?:[\w.-]*(?:secret|token(?![a-z])|passw|pwd|signature|credential|(?:api|access|account|private)[_-]?key)"
    r"[\w.-]*|sig|authorization)=[\w%+/-]"
)
"""A setting after the question mark that is a secret, as in the presigned URLs of S3, Google and Azure."""


def refuse_secrets(texts: Iterable[str]) -> None:
    """Refuses texts that are or contain a URL with credentials, without showing them.

    Raises:
        InputError: there is one.
    """
    for text in texts:
        for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\",]+", text):
            if without_secrets(url) != url:
                raise InputError(
                    f"{without_secrets(url)}: this address contains credentials, which the run's files and messages"
                    f" would show; leave them out, and {_remedy(url)}"
                )


def without_secrets(text: str) -> str:
    """Returns a text with an ellipsis in place of credentials in URLs: of a login, or of all that follows a `?`."""
    text = LOGIN.sub("…@", text)
    return re.sub(r"\?[^\s'\"]+", lambda match: "?…" if PARAMETER.search(match[0]) else match[0], text)


def access_settings(url: str) -> str:
    """Returns how to give credentials to the store of a URL."""
    scheme = url.partition("://")[0].lower()
    if scheme == "s3":
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if there is one, or AWS_PROFILE"
    if scheme in ("gs", "gcs"):
        return "set GOOGLE_APPLICATION_CREDENTIALS to the key file of an account"
    if scheme in ("http", "https"):
        return "write a line 'machine HOST login NAME password PASSWORD' into ~/.netrc, which only you can read"
    return f"set FSSPEC_{scheme.upper()}_USERNAME and FSSPEC_{scheme.upper()}_PASSWORD"


def _remedy(url: str) -> str:
    if url.startswith("http") and PARAMETER.search(url):
        return "download the file, as with curl, and give its name instead"
    return access_settings(url)
