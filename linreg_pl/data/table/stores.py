"""Lists and copies the objects of a store: S3 and Google's through Arrow, all others through fsspec.

A request that fails is repeated. Each copy has as many bytes as the store has said that the object has.
"""

import glob
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs

from linreg_pl.data.table.store_errors import ATTEMPTS, SILENCE, Changed, repeated

BLOCK = 8 << 20
"""Bytes of an object that are asked for at once: several of them are copied side by side."""


class Stored(NamedTuple):
    """An object in a store, as it was listed: name, bytes, time of change, and ETag, of which some may be unknown."""

    name: str
    size: int | None
    time_ns: int = 0
    etag: str = ""


class Store(ABC):
    """The objects of a store."""

    def listed(self, path: str) -> tuple[list[Stored], str]:
        """Returns the objects that a path names, in order of names, and the folder above them.

        Args:
            path: One file, for which that folder is empty, a folder, or a pattern.

        Raises:
            FileNotFoundError: nothing has this name.
        """
        path = path.rstrip("/")
        if one := self.find(path):
            return [one], ""
        if glob.has_magic(path):
            base = "/".join(_before_pattern(path))
            from fsspec.utils import glob_translate  # not at the top: few tables need it

            matches = re.compile(glob_translate(path)).match
            objects = [each for each in self.below(base, "/" in path.removeprefix(f"{base}/")) if matches(each.name)]
        else:
            base, objects = path, list(self.below(path, True))
        if not objects:
            raise FileNotFoundError("no file matches")
        return sorted(objects), base

    @abstractmethod
    def find(self, path: str) -> Stored | None:
        """Returns the object with this name, if there is one."""

    @abstractmethod
    def below(self, folder: str, recursive: bool) -> Iterator[Stored]:
        """Yields the objects in a folder, or also those in all folders below it."""

    @abstractmethod
    def copy(self, stored: Stored, target: Path, check: Callable[[], None]) -> Stored:
        """Copies an object into a file; returns what is known of it then. Calls `check` between its parts.

        Raises:
            Changed: the object is not the one that was listed.
        """


class ArrowStore(Store):
    """A store of Arrow's, whose libraries repeat requests themselves."""

    def __init__(self, files: pa.fs.FileSystem) -> None:
        self.files = files

    def find(self, path: str) -> Stored | None:
        """Returns the object with this name; see `Store`."""
        info = self.files.get_file_info(path)
        return _of_arrow(info) if info.type == pa.fs.FileType.File else None

    def below(self, folder: str, recursive: bool) -> Iterator[Stored]:
        """Yields the objects in a folder; see `Store`. A list has 1000 objects a request."""
        selector = pa.fs.FileSelector(folder, recursive=recursive)
        return (_of_arrow(info) for info in self.files.get_file_info(selector) if info.type == pa.fs.FileType.File)

    def copy(self, stored: Stored, target: Path, check: Callable[[], None]) -> Stored:
        """Copies an object; see `Store`. Several requests read one of more than a block, which may change meanwhile."""
        source, found = self.opened(stored)
        with source, open(target, "wb") as file:
            while block := source.read(BLOCK):
                check()
                file.write(block)
        if found.size is not None and found.size > BLOCK:
            self.opened(found)[0].close()
        return found

    def opened(self, stored: Stored) -> tuple[Any, Stored]:
        """Returns an object, opened, and what is known of it then.

        Raises:
            Changed: the object is not the one that was listed.
        """
        source = self.files.open_input_file(stored.name)
        etag = source.metadata().get("ETag", b"").decode()
        if stored.size != source.size() or stored.etag not in ("", etag):
            raise Changed
        return source, stored._replace(etag=etag)


class FsspecStore(Store):
    """A store of fsspec's."""

    def __init__(self, files: Any, is_web: bool) -> None:
        self.files, self._is_web = files, is_web

    def listed(self, path: str) -> tuple[list[Stored], str]:
        """Returns the objects that a path names; see `Store`. No folder can be listed over HTTP."""
        if not self._is_web:
            return super().listed(path)
        info = repeated(lambda: self.files.info(path))
        return [_of_fsspec(path, info)._replace(size=info.get("size") or None)], ""

    def find(self, path: str) -> Stored | None:
        """Returns the object with this name; see `Store`."""
        try:
            info = repeated(lambda: self.files.info(path))
        except FileNotFoundError:
            return None
        return _of_fsspec(info["name"], info) if info["type"] == "file" else None

    def below(self, folder: str, recursive: bool) -> Iterator[Stored]:
        """Yields the objects in a folder; see `Store`."""
        depth = None if recursive else 1
        infos = repeated(lambda: self.files.find(folder, maxdepth=depth, detail=True))
        return (_of_fsspec(name, info) for name, info in infos.items() if info["type"] == "file")

    def copy(self, stored: Stored, target: Path, check: Callable[[], None]) -> Stored:
        """Copies an object; see `Store`. Over HTTP, one request reads all of it."""
        stream = {"block_size": 0, "size": stored.size} if self._is_web else {}

        def copy() -> None:
            with self.files.open(stored.name, "rb", **stream) as source, open(target, "wb") as file:
                while block := source.read(1 << 20):
                    check()
                    file.write(block)
            if stored.size not in (None, os.path.getsize(target)):
                raise Changed

        repeated(copy)
        return stored


@cache
def opened(url: str) -> tuple[Store, str]:
    """Returns the store of a URL, and the path there."""
    import fsspec  # not at the top: few tables need it

    if url.startswith("http"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        client = {"timeout": timeout, "trust_env": True}  # proxies, and credentials in ~/.netrc
        return FsspecStore(fsspec.filesystem("http", client_kwargs=client), is_web=True), url
    cloud = re.fullmatch(r"(s3|gs|gcs)://(anonymous@)?([^/?]+)/*([^?]*)(\?.*)?", url)
    if cloud is not None:
        scheme, anonymous, bucket, key, settings = (part or "" for part in cloud.groups())
        try:
            files = _s3(bucket, settings, bool(anonymous)) if scheme == "s3" else _gs(f"{anonymous}{bucket}", settings)
            return ArrowStore(files), f"{bucket}/{key}"
        except (pa.ArrowNotImplementedError, ImportError):  # this build of Arrow lacks it
            pass
    files, path = fsspec.core.url_to_fs(url)
    return FsspecStore(files, is_web=False), path


def _s3(bucket: str, settings: str, anonymous: bool) -> pa.fs.FileSystem:
    files, _ = pa.fs.FileSystem.from_uri(f"s3://{bucket}{settings}")
    _, (options,) = files.__reduce__()  # by default a silent server is asked for five minutes; no URI can change that
    patience = {"connect_timeout": SILENCE, "request_timeout": SILENCE}
    retries = pa.fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
    return pa.fs.S3FileSystem(**{**options, **patience, "anonymous": anonymous, "retry_strategy": retries})


def _gs(bucket: str, settings: str) -> pa.fs.FileSystem:
    settings = settings or "?retry_limit_seconds=60"  # Arrow's default is a quarter of an hour
    return pa.fs.FileSystem.from_uri(f"gs://{bucket}{settings}")[0]


def _of_arrow(info: pa.fs.FileInfo) -> Stored:
    return Stored(info.path, info.size, info.mtime_ns or 0)


def _of_fsspec(name: str, info: Mapping[str, Any]) -> Stored:
    """Returns what fsspec says of an object; each file system has its own words."""
    changed = next(
        (info[key] for key in ("mtime", "LastModified", "last_modified", "Last-Modified") if info.get(key)), 0
    )
    if isinstance(changed, str):
        changed = parsedate_to_datetime(changed)
    seconds = changed.timestamp() if isinstance(changed, datetime) else changed
    etag = next((str(info[key]) for key in ("ETag", "etag", "e_tag", "md5Hash") if info.get(key)), "")
    return Stored(name, info.get("size"), int(seconds * 1e9), etag)


def _before_pattern(path: str) -> Iterator[str]:
    """Yields the folders of a path up to the first with a pattern."""
    for part in path.split("/"):
        if glob.has_magic(part):
            return
        yield part
