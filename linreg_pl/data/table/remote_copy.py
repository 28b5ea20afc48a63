"""Copies of objects in stores: whole, or of a Parquet file only the parts that are read, each once.

Such a copy is as long as the object, with holes. It begins with the metadata at the end of the object; column chunks of
row groups are written to their places before they are read. So all other code reads a local file.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from linreg_pl.data.table.store_errors import as_listed, told
from linreg_pl.data.table.stores import BLOCK, ArrowStore, Store, Stored, opened

WHOLE = 4 << 20
"""Bytes up to which a Parquet file is copied whole."""
TAIL = 64 << 10
"""Bytes at the end of a Parquet file that are fetched first: the metadata, of most files."""
GAP = 64 << 10
"""Bytes between two parts that are fetched along: they take less time than a request."""
AHEAD = 64 << 20
"""Bytes that are fetched at once, side by side, before the first of them are read."""
THREADS = 16
"""Requests at once: a store takes longer to answer than to send a small object."""

lock = Lock()
"""Held while parts are fetched, as several threads may read a file."""


class Span(NamedTuple):
    """Bytes of an object."""

    start: int
    stop: int


class RemoteCopy(type(Path())):  # type: ignore[misc]  # Path itself can't be a base before Python 3.12
    """The path of a downloaded file, which messages show as its URL."""

    url = ""
    stored = Stored("", None)
    store_url = ""  # of the store that it is from
    present: set[Span] | None = None  # what is there already; None if all is

    def __str__(self) -> str:
        """Returns the URL; `os.fspath` returns the file's path."""
        return self.url or super().__str__()

    def __fspath__(self) -> str:
        """Returns the path of the file."""
        return str(super().__str__())

    @classmethod
    def of(cls, url: str, path: str | Path, *more: Any) -> "RemoteCopy":
        """Returns the path of the copy of an object, which a URL names; `more` are its further attributes."""
        copy = cls(path)
        copy.url = url
        copy.stored, copy.store_url, copy.present = more
        return copy

    def __reduce__(self) -> Any:
        """Keeps the attributes where it is sent to another process."""
        return self.of, (self.url, os.fspath(self), self.stored, self.store_url, self.present)


def copied(url: str, path: Path, stored: Stored, store_url: str, check: Callable[[], None]) -> RemoteCopy:
    """Copies an object into a file: whole, or only the metadata of a large Parquet file in a store of Arrow's.

    Args:
        url: The object, for messages.
        path: The file.
        stored: The object as it was listed.
        store_url: A URL of its store.
        check: Called between the parts of an object.

    Raises:
        InputError: the object can't be read, or has changed.
    """
    with told(url), as_listed():
        store = opened(store_url)[0]
        is_parquet = path.suffix.lower() in (".parquet", ".pq") and isinstance(store, ArrowStore)
        if is_parquet and (stored.size or 0) > WHOLE and (begun := _metadata(store, stored, path)):
            return RemoteCopy.of(url, path, begun, store_url, set())
        return RemoteCopy.of(url, path, store.copy(stored, path, check), store_url, None)


def _metadata(store: Store, stored: Stored, path: Path) -> Stored | None:
    """Makes a copy of the two ends of a Parquet file; returns nothing if it isn't one."""
    assert isinstance(store, ArrowStore)
    assert stored.size is not None
    source, found = store.opened(stored)
    with source, open(path, "wb") as file:
        tail = source.read_at(TAIL, stored.size - TAIL)
        length = int.from_bytes(tail[-8:-4], "little") + 8
        if tail[-4:] != b"PAR1" or length > stored.size:
            return None
        if length > TAIL:
            tail = source.read_at(length, stored.size - length)
        file.write(source.read_at(4, 0))
        file.seek(stored.size - len(tail))
        file.write(tail)
    store.opened(found)[0].close()
    return found


def have_holes(paths: Iterable[Path]) -> bool:
    """Says whether some of the files are copies whose parts are fetched before they are read."""
    return any(isinstance(path, RemoteCopy) and path.present is not None for path in paths)


def fetch(groups: Iterable[tuple[Path, Any]], columns: Collection[str], needed: int) -> None:
    """Fetches columns of row groups into the copies, unless they are there.

    Args:
        groups: The path and the metadata of each row group, in the order in which they will be read.
        columns: Names of the columns.
        needed: How many of the groups are read next. If they lack a part, further groups are fetched with them.

    Raises:
        InputError: an object can't be read, or has changed since it was listed.
    """
    missing, size = dict[RemoteCopy, set[Span]](), 0
    with lock:
        for number, (path, group) in enumerate(groups):
            if number >= needed and not 0 < size < AHEAD:
                break
            if isinstance(path, RemoteCopy) and path.present is not None:
                spans = set(_column_chunks(group, columns)) - path.present
                missing.setdefault(path, set()).update(spans)
                size += sum(stop - start for start, stop in spans)
        _fetch({path: spans for path, spans in missing.items() if spans})


def _fetch(missing: dict[RemoteCopy, set[Span]]) -> None:
    def read(path: RemoteCopy, source: Any, span: Span) -> None:
        with told(path.url), as_listed(), open(path, "r+b") as file:
            file.seek(span.start)
            if file.write(source.read_at(span.stop - span.start, span.start)) != span.stop - span.start:
                raise EOFError("it is cut off")

    def open_source(path: RemoteCopy) -> Any:
        store = opened(path.store_url)[0]
        assert isinstance(store, ArrowStore)
        with told(path.url), as_listed():
            return store.opened(path.stored)[0]

    with ExitStack() as sources, ThreadPoolExecutor(THREADS) as pool:
        opened_sources = map(sources.enter_context, pool.map(open_source, missing))
        known = dict(zip(missing, opened_sources, strict=True))
        jobs = [(path, known[path], span) for path, spans in missing.items() for span in _requests(path, spans)]
        list(pool.map(lambda job: read(*job), jobs))
        for source in pool.map(open_source, missing):  # nothing has changed meanwhile
            source.close()
    for path, spans in missing.items():
        assert path.present is not None
        path.present |= spans


def _column_chunks(group: Any, columns: Collection[str]) -> Iterator[Span]:
    """Yields where the columns of a row group are; those of nested types have several chunks."""
    for column in (group.column(index) for index in range(group.num_columns)):
        name = column.path_in_schema
        if name in columns or name.partition(".")[0] in columns:
            offsets = (column.dictionary_page_offset, column.data_page_offset)
            start = min(offset for offset in offsets if offset)  # 0 and None say that there is no dictionary
            yield Span(start, start + column.total_compressed_size)


def _requests(path: RemoteCopy, missing: set[Span]) -> Iterator[Span]:
    """Yields what to ask for: parts that lie side by side together, but no more than a block."""
    assert path.present is not None
    joined = list[Span]()
    follows = False
    for span in sorted(missing | path.present):
        if span in path.present:
            follows = False
        elif follows and span.start - joined[-1].stop <= GAP:
            joined[-1] = Span(joined[-1].start, span.stop)
        else:
            joined.append(span)
            follows = True
    for start, stop in joined:
        yield from (Span(*pair) for pair in pairwise([*range(start, stop, BLOCK), stop]))
