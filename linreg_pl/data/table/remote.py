"""Downloads tables that a URL names: rank 0 lists the objects, and one process of each machine copies them for all."""

import atexit
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any, NamedTuple, TypeVar

from linreg_pl.core.world import ALONE, World
from linreg_pl.data.prefetch import in_thread
from linreg_pl.data.table.remote_copy import THREADS, copied
from linreg_pl.data.table.store_errors import told
from linreg_pl.data.table.stores import Stored, opened
from linreg_pl.errors import InputError
from linreg_pl.signals import ending_at_signals

world: World = ALONE
"""The processes that download together; all ask for the same URLs in the same order."""

folders: list[Path] = []
"""Those of all copies."""

Result = TypeVar("Result")


class Download(NamedTuple):
    """The copies of the files that a URL names, and the folder above them if it names a folder or a pattern."""

    copies: list[Path]
    base: Path | None


class Listing(NamedTuple):
    """The objects that a URL names, each with its path below the folder above them; `base` is empty for one file."""

    objects: list[tuple[Stored, PurePosixPath]]
    base: str


def is_remote(path: str) -> bool:
    """Says whether the path is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path) is not None


@cache
def downloaded(url: str, is_table: Callable[[PurePosixPath], bool]) -> Download:
    """Returns copies of the files that a URL names, in a folder that is removed when the program ends.

    Args:
        url: One file, a folder, or a pattern such as s3://bucket/data/*.parquet.
        is_table: Says whether a file in a folder is to be read, by its path there.

    Raises:
        InputError: a file can't be read, or the URL needs a package that is not installed.
    """
    listing = world.first(_patiently(_listing, url, is_table) if world.rank == 0 else Listing([], ""))
    temporary = os.stat(tempfile.gettempdir())
    places = world.gathered((socket.gethostname(), temporary.st_dev, temporary.st_ino))
    first = places.index(places[world.rank])  # of those that see the same folder
    download = world.gathered(_patiently(_copied, url, listing) if first == world.rank else None)[first]
    assert download is not None
    return download


@atexit.register
def remove_folders() -> None:
    """Removes all copies."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _patiently(function: Callable[..., Result], *args: Any) -> Result:
    """Calls a function in a thread, so that a signal ends the program though a store does not answer."""
    with ending_at_signals(remove_folders):
        return in_thread(function, *args).result()


def _listing(url: str, is_table: Callable[[PurePosixPath], bool]) -> Listing:
    with told(url):
        store, path = opened(url)
        objects, base = store.listed(path)
        if not base:
            return Listing([(objects[0], PurePosixPath(_last_name(objects[0].name)))], base)
        inside = [PurePosixPath(each.name.removeprefix(base).lstrip("/")) for each in objects]
        pairs = list(zip(objects, inside, strict=True))
        return Listing([pair for pair in pairs if is_table(pair[1])] or pairs[:1], base)


def _copied(url: str, listing: Listing) -> Download:
    """Copies the objects of a listing; the first that fails ends all."""
    folder = Path(tempfile.mkdtemp(prefix="linreg-"))
    folders.append(folder)
    with told(url):
        opened(url)  # once, before the threads do
    stopping = Event()

    def check() -> None:
        if stopping.is_set():
            raise InterruptedError

    def copy(stored: Stored, inside: PurePosixPath) -> Path:
        check()
        name = f"{url.partition('://')[0]}://{stored.name.lstrip('/')}" if listing.base else url
        if ".." in inside.parts:
            raise InputError(f"{name}: this name leads out of the folder; rename the object")
        path = folder / inside
        os.makedirs(path.parent, exist_ok=True)
        return copied(name, path, stored, url, check)

    with ThreadPoolExecutor(THREADS) as pool:
        copies = [pool.submit(copy, *each) for each in listing.objects]
        try:
            wait(copies, return_when=FIRST_EXCEPTION)
            failed = [each for each in copies if each.done() and each.exception() is not None]
            return Download([each.result() for each in failed or copies], folder if listing.base else None)
        finally:
            stopping.set()
            pool.shutdown(cancel_futures=True)


def _last_name(name: str) -> str:
    """Returns the name of the file at the end of an object's name, without a query."""
    return PurePosixPath(re.split(r"\?", name, maxsplit=1)[0] if "://" in name else name).name or "table"
