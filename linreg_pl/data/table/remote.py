"""Downloads tables that a URL names; of several processes on one machine, one does it for all.

s3, gs             Arrow's own file systems; further settings follow a question mark: ?region=…, ?endpoint_override=…
http, https, …     those of fsspec
"""

import atexit
import glob
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs

from linreg_pl.core.world import ALONE, World
from linreg_pl.errors import InputError

world: World = ALONE
"""The processes that download together; all ask for the same URLs in the same order."""


class RemoteCopy(type(Path())):  # type: ignore[misc]  # Path itself can't be a base before Python 3.12
    """The path of a downloaded file, which messages show as its URL."""

    url = ""

    def __str__(self) -> str:
        """Returns the URL; `os.fspath` returns the file's path."""
        return self.url or super().__str__()

    def __fspath__(self) -> str:
        """Returns the path of the file."""
        return str(super().__str__())

    @classmethod
    def of(cls, url: str, path: str | Path) -> "RemoteCopy":
        """Returns the path of the copy of a URL."""
        copy = cls(path)
        copy.url = url
        return copy

    def __reduce__(self) -> Any:
        """Keeps the URL where it is sent to another process."""
        return self.of, (self.url, os.fspath(self))


class Download(NamedTuple):
    """The copies of the files that a URL names, and the folder above them if it names a folder or a pattern."""

    copies: list[Path]
    base: Path | None


def is_remote(path: str) -> bool:
    """Says whether the path is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


@cache
def downloaded(url: str) -> Download:
    """Returns copies of the files that a URL names, in a folder that is removed when the program ends.

    Args:
        url: One file, a folder, or a pattern such as s3://bucket/data/*.parquet.

    Raises:
        InputError: a file can't be read, or the URL needs a package that is not installed.
    """
    temporary = os.stat(tempfile.gettempdir())
    places = world.gathered((socket.gethostname(), temporary.st_dev, temporary.st_ino))
    first = places.index(places[world.rank])  # of those that see the same folder
    download = world.gathered(_downloaded(url) if first == world.rank else None)[first]
    assert download is not None
    return download


def _downloaded(url: str) -> Download:
    try:
        return _download(url, *_opened(url))
    except ImportError as error:
        package = getattr(error.__cause__ or error, "name", None) or "fsspec"
        raise InputError(
            f"{url}: reading it needs the package {package}; type pip install {package}, or download the file"
        ) from error
    except Exception as error:  # each file system raises its own
        reason = _reason(error)
        raise InputError(f"{url}: this can't be read ({reason}); check the address, or download the file") from error


def _opened(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL, with fsspec's methods, and the path there."""
    import fsspec  # not at the top: few tables need it
    from fsspec.implementations.arrow import ArrowFSWrapper

    cloud = re.fullmatch(r"(s3|gs|gcs)://([^/?]+)/*([^?]*)(\?.*)?", url)
    if cloud is None:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return opened
    scheme, bucket, key, settings = (part or "" for part in cloud.groups())
    if scheme != "s3":
        scheme = "gs"
        settings = settings or "?retry_limit_seconds=30"  # Arrow's default is a quarter of an hour
    try:
        files, bucket = pa.fs.FileSystem.from_uri(f"{scheme}://{bucket}{settings}")
    except (pa.ArrowNotImplementedError, ImportError):  # this build of Arrow lacks it
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    return ArrowFSWrapper(files), f"{bucket}/{key}"


def _download(url: str, files: Any, path: str) -> Download:
    """Copies what a URL names.

    Raises:
        FileNotFoundError: there is no such file.
    """
    is_web = url.startswith("http")  # a question mark begins the query, and no folder can be listed
    is_pattern = not is_web and glob.has_magic(path) and not files.exists(path)
    base, names = "", [path]
    if is_pattern or (not is_web and files.isdir(path)):
        base = "/".join(_before_pattern(path)) if is_pattern else path.rstrip("/")
        names = [name for name in sorted(files.glob(path) if is_pattern else files.find(path)) if not files.isdir(name)]
        if not names:
            raise FileNotFoundError("no file matches")
    folder = Path(tempfile.mkdtemp(prefix="linreg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copies: list[Path] = []
    for name in names:
        inside = (
            PurePosixPath(name.removeprefix(base).lstrip("/")) if base else PurePosixPath(name.partition("?")[0]).name
        )
        of_one = f"{url.partition('://')[0]}://{name.lstrip('/')}"
        copy = RemoteCopy.of(url if len(names) == 1 and not base else of_one, folder / (inside or "table"))
        os.makedirs(os.path.dirname(os.fspath(copy)), exist_ok=True)
        with files.open(name, "rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        changed = files.info(name).get("mtime")  # the copies of all machines have the same time
        os.utime(copy, (changed.timestamp(),) * 2 if isinstance(changed, datetime) else (0, 0))
        copies.append(copy)
    return Download(copies, folder if base else None)


def _before_pattern(path: str) -> Iterator[str]:
    """Yields the folders of a path up to the first with a pattern."""
    for part in path.split("/"):
        if glob.has_magic(part):
            return
        yield part


def _reason(error: Exception) -> str:
    """Returns the first words of an error."""
    text = " ".join(str(error).split())
    if match := re.search(r"Protocol not known: (\S+)", text):
        return f"no program here knows {match[1]}://"
    return text[:160] or type(error).__name__
