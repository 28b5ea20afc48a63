"""Opens a text file as a stream of UTF-8 bytes: decompressed, decoded, and without a byte order mark."""

import codecs
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from linreg_pl.errors import InputError, quoted

UNREADABLE = (pa.ArrowInvalid, OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
"""Errors of files that are damaged, or compressed in another way than their name says."""

BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its beginning
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@contextmanager
def open_text(path: Path, encoding: str | None) -> Iterator[Any]:
    """Opens a text file; `read` and `readinto` return its bytes as UTF-8.

    Args:
        path: The file.
        encoding: The file's encoding; None stands for UTF-8, or what the byte order mark says.

    Raises:
        InputError: a .zip file does not contain exactly one table.
        UnicodeDecodeError: while reading, if the bytes are not text in that encoding.
    """
    with _open_bytes(path) as file:
        mark = file.read(4)
    if encoding is None:
        encoding = next((name for bytes_, name in BYTE_ORDER_MARKS.items() if mark.startswith(bytes_)), None)
    with _open_bytes(path) as file:
        if encoding is not None and codecs.lookup(encoding).name != "utf-8":
            yield pa.transcoding_input_stream(file, encoding, "utf-8")
        else:
            if mark.startswith(codecs.BOM_UTF8):
                file.read(len(codecs.BOM_UTF8))
            yield file


def is_seekable(path: Path, encoding: str | None) -> bool:
    """Says whether the text can be read from any byte on: neither compressed nor in another encoding than UTF-8."""
    if path.suffix.lower() in (".zip", ".gz", ".bz2", ".xz", ".zst"):
        return False
    if encoding is not None:
        return codecs.lookup(encoding).name == "utf-8"
    with path.open("rb") as file:
        return not file.read(4).startswith(tuple(BYTE_ORDER_MARKS))


@contextmanager
def text_between(path: Path, encoding: str | None, span: tuple[int, int]) -> Iterator[Any]:
    """Opens the bytes of a seekable text from span[0] to span[1]; a byte order mark does not count."""
    with open_text(path, encoding) as file:
        file.seek(file.tell() + span[0])
        yield _Beginning(file, span[1] - span[0])


class _Beginning:
    """The first bytes of a stream."""

    def __init__(self, file: Any, size: int) -> None:
        self._file, self._left = file, size

    def readinto(self, buffer: memoryview) -> int:
        """Writes the next bytes into the buffer, and returns their number; 0 at the end."""
        count: int = self._file.readinto(buffer[: self._left])
        self._left -= count
        return count


def _open_bytes(path: Path) -> Any:
    """Returns the file's stream, decompressed as its ending says."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return _open_member(path)
    if suffix == ".xz":
        return closing(pa.PythonFile(lzma.open(path)))
    return pa.input_stream(os.fspath(path), compression="detect")


@contextmanager
def _open_member(path: Path) -> Iterator[Any]:
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(member(path, archive)) as file,
        pa.PythonFile(file) as stream,
    ):
        yield stream


def first_undecodable(path: Path) -> tuple[str, str]:
    """Returns the first line that is not UTF-8 text, and the Western European encoding that the file may have."""
    before, size = b"", 1 << 20
    with open_text(path, None) as file:
        while part := file.read(size):
            content = before + part
            try:
                content.decode()
            except UnicodeDecodeError as error:
                if error.end < len(content) or error.reason != "unexpected end of data":
                    start = max(content.rfind(line_end, 0, error.start) for line_end in (b"\n", b"\r")) + 1
                    line: bytes = (content[start:].splitlines() or [b""])[0]
                    encoding = _western_encoding(content[start:], file)
                    return line.decode(encoding, "replace"), encoding
            before = content[content.rfind(b"\n") + 1 :][-size:]
    return before.decode("latin-1"), "latin-1"


def _western_encoding(content: bytes, file: Any, most: int = 1 << 28) -> str:
    """Returns cp1252 if it defines all bytes that are not UTF-8, and some are control characters in Latin-1.

    The first bytes that are not UTF-8 may be letters of both encodings, and only a later row has a euro sign or a
    typographic quote.

    Args:
        content: The bytes from the first line that is not UTF-8.
        file: Where they continue.
        most: Number of further bytes that are read.
    """
    decoder, encoding = codecs.getincrementaldecoder("utf-8")("surrogateescape"), "latin-1"
    while content:
        text = decoder.decode(content)
        if not text.isascii():
            # Python decodes a byte such as 0x80 to the lone surrogate \udc80.
            controls = set(re.findall("[\udc80-\udc9f]", text))
            if controls & set("\udc81\udc8d\udc8f\udc90\udc9d"):  # cp1252 leaves these undefined
                return "latin-1"
            encoding = "cp1252" if controls else encoding
        content = file.read(1 << 20) if most > 0 else b""
        most -= len(content)
    return encoding


def usual_delimiter(path: Path) -> bytes:
    """Returns the delimiter of files with such an ending: a tab for .tsv, else a comma."""
    suffixes = path.suffixes
    if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            suffixes = PurePosixPath(member(path, archive)).suffixes
    return b"\t" if ".tsv" in map(str.lower, suffixes) else b","


def member(path: Path, archive: zipfile.ZipFile) -> str:
    """Returns the name of the only table in an archive.

    Raises:
        InputError: there is no table, or more than one.
    """
    names = [name for name in archive.namelist() if not name.endswith("/") and not _is_hidden(name)]
    tables = [name for name in names if PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".txt", ".dat")]
    if len(tables) == 1:
        return tables[0]
    if tables:
        raise InputError(f"{path}: it contains {len(tables)} tables, {quoted(tables)}; unpack it, and name one of them")
    contents = quoted(names) if names else "nothing"
    raise InputError(f"{path}: it contains {contents}, but no .csv, .tsv or .txt file; unpack it, and name the table")


def _is_hidden(name: str) -> bool:
    """Says whether it is a note of macOS or a hidden file."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
