"""Writes files whole or not at all.

A file is written beside its place under another name, flushed to the disk and renamed; then the folder is flushed.
After a kill or a power cut the name stands for the old contents or for the new ones, never for a part of them. The
other name is in the same folder, so the rename never copies from one file system to another.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def unfinished_name(path: Path) -> Path:
    """Returns the name under which a file is written until it is complete."""
    return path.with_name(f".{path.name}.unfinished")


def unfinished_files(folder: Path) -> list[Path]:
    """Returns the incomplete files in a folder, which a kill has left there."""
    return list(folder.glob(unfinished_name(folder / "*").name))


def write_durably(path: Path, contents: bytes) -> None:
    """Writes a file, and makes its folder if there is none.

    Raises:
        OSError: the disk is full, or the folder can't be written. The file is what it was.
    """
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        sync_folder(path.parent.parent)
    unfinished = unfinished_name(path)
    try:
        with unfinished.open("wb", buffering=0) as file:
            written = 0
            while written < len(contents):  # a nearly full disk takes a part; only the next write fails
                written += file.write(contents[written:])
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise OSError(error.errno, f"{error.strerror}; the file there before is unharmed", str(path)) from error
    sync_folder(path.parent)


def begin_durably(path: Path) -> IO[bytes]:
    """Opens a file to write under another name, which `end_durably` renames to `path`.

    Raises:
        OSError: nothing can be written there.
    """
    try:
        return unfinished_name(path).open("wb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def end_durably(file: IO[bytes], path: Path) -> None:
    """Closes a complete file and renames it to `path`, once it is on the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
    Path(file.name).replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
