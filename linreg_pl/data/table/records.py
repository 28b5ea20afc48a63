"""Cuts the bytes of a CSV file into segments of whole records, and a record into its values.

A record ends at a line end (LF, CR LF or CR) outside quotes. A quote opens only where a value starts. Inside quotes two
quotes stand for one; behind the closing quote the value goes on without quotes. Python's csv module has the same rules.
"""

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np


class ByteStream(Protocol):
    """A stream of bytes that fills a buffer."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Writes the next bytes into the buffer, and returns their number; 0 at the end."""


class Segment(NamedTuple):
    """Some whole records."""

    content: memoryview
    has_quotes: bool
    has_hashes: bool


class OpenQuote(Exception):  # noqa: N818 (caught where the file is known, and raised again as an InputError)
    """Raised for a quote that is never closed. `content` starts with the first record that is not read yet."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


class Records:
    """Finds the ends of records.

    Args:
        delimiters: The bytes that separate values, each on its own.
        longest: Bytes that a record may have. A quote that is never closed would load the whole file.
    """

    def __init__(self, delimiters: bytes, longest: int = 1 << 28) -> None:
        self._delimiters, self._longest = delimiters, longest

    def segments(self, file: ByteStream, size: int) -> Iterator[Segment]:
        """Yields the file's bytes in whole records of about `size` bytes, and leaves out empty lines.

        Each segment overwrites the one before: allocating memory would cost as much as reading.

        Raises:
            OpenQuote: a quote is never closed.
        """
        memory, filled = bytearray(size), 0
        not_empty = re.compile(rb"[^\r\n]").search
        while count := file.readinto(memoryview(memory)[filled:]):
            filled += count
            has_quotes = memory.find(b'"', 0, filled) != -1
            end = self._last_end(memory, filled, False) if has_quotes else _behind_line_end(memory, 0, filled, False)
            if end == 0 and filled == len(memory):
                if filled > self._longest:
                    raise OpenQuote(bytes(memory[: 1 << 16]))
                memory = memory + bytearray(len(memory))
            if not_empty(memory, 0, end):
                yield Segment(memoryview(memory)[:end], has_quotes, memory.find(b"#", 0, end) != -1)
            memory[: filled - end], filled = memory[end:filled], filled - end
        if not_empty(memory, 0, filled):
            has_quotes = memory.find(b'"', 0, filled) != -1
            if has_quotes and self._unquoted(memory, filled)[1]:
                raise OpenQuote(bytes(memory[:filled]))
            yield Segment(memoryview(memory)[:filled], has_quotes, memory.find(b"#", 0, filled) != -1)

    def complete(self, content: bytes) -> int:
        """Returns the offset behind the last record that is surely complete; 0 if there is none."""
        return self._last_end(bytearray(content), len(content), False)

    def first(self, content: bytes, start: int) -> int:
        """Returns the offset behind the record that begins at `start`, which is the end if it is cut off."""
        match = self._record.match(content, start)
        assert match is not None  # the pattern matches any bytes
        return match.end()

    @cached_property
    def _record(self) -> re.Pattern[bytes]:
        value = value_pattern(self._delimiters)
        return re.compile(value + b"(?:[" + re.escape(self._delimiters) + b"]" + value + rb")*+(?:\r\n|\r|\n|\Z)")

    def _last_end(self, memory: bytearray, filled: int, is_whole: bool) -> int:
        """Returns the offset behind the last record of the bytes that is complete; 0 if there is none."""
        unquoted, is_open = self._unquoted(memory, filled)
        for index in range(len(unquoted) - 1, -1, -1):
            start, stop = int(unquoted[index, 0]), int(unquoted[index, 1])
            # A quote follows each stretch except the last, so that its CR is a line end of its own.
            if end := _behind_line_end(memory, start, stop, is_open or is_whole or index < len(unquoted) - 1):
                return end
        return 0

    def _unquoted(self, memory: bytearray, filled: int) -> tuple[np.ndarray, bool]:
        """Returns the stretches of the bytes outside quotes, as pairs of offsets, and whether the last quote is open.

        If every quote looks as its number says, odd ones open and even ones close: a doubled quote closes and opens
        again. Else a loop follows them one by one.
        """
        content = np.frombuffer(memory, np.uint8, filled)
        quotes = np.flatnonzero(content == ord('"'))
        starts_value = np.zeros(256, bool)
        starts_value[list(self._delimiters + b"\r\n")] = True
        beside = starts_value.copy()
        beside[ord('"')] = True
        opening, closing = quotes[::2], quotes[1::2]
        before, behind = content[opening[opening > 0] - 1], content[closing[closing < filled - 1] + 1]
        if not (beside[before].all() and beside[behind].all()):
            opening, closing = _opening_and_closing(content, quotes, starts_value)
        is_open = len(opening) > len(closing)
        starts, stops = np.append(0, closing + 1), opening if is_open else np.append(opening, filled)
        return np.column_stack([starts[: len(stops)], stops]), is_open


def values(record: bytes, delimiter: bytes) -> list[bytes]:
    """Returns the values of one record, without their quotes."""
    pattern, values = _value_groups(delimiter), []
    record = record.removesuffix(b"\n").removesuffix(b"\r") if record.endswith(b"\n") else record.removesuffix(b"\r")
    position = 0
    while position <= len(record):
        match = pattern.match(record, position)
        assert match is not None  # the pattern matches any bytes
        quoted, unquoted = match.groups()
        values.append(unquoted if quoted is None else quoted.replace(b'""', b'"') + unquoted)
        position = match.end() + 1
    return values


def with_single_blanks(content: bytes | memoryview) -> bytes:
    """Returns records with one blank for each run of blanks and tabs outside quotes, and none at the ends of a line."""

    def replaced(match: re.Match[bytes]) -> bytes:
        text = match[0]
        if text.startswith(b'"'):
            return text
        return b"\n" if b"\n" in text or b"\r" in text else b"" if match.end() == len(content) else b" "

    content = bytes(content).lstrip(b" \t")
    quoted = rb'(?<![^ \t\r\n])"[^"]*+(?:""[^"]*+)*+"?'
    return re.sub(quoted + rb"|[ \t]*+[\r\n][ \t\r\n]*+|[ \t]++", replaced, content)


def _behind_line_end(memory: bytearray, start: int, stop: int, is_whole: bool) -> int:
    """Returns the offset behind the last line end in memory[start:stop]; 0 if there is none.

    A CR at the end counts only in the whole content: a LF may follow.
    """
    if not is_whole and stop > start and memory[stop - 1] == ord("\r"):
        stop -= 1
    line_feed = memory.rfind(b"\n", start, stop)
    return max(line_feed, memory.rfind(b"\r", max(line_feed, start), stop)) + 1


def _opening_and_closing(
    content: np.ndarray, quotes: np.ndarray, starts_value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the offsets of the quotes that open, and of those that close; the others are text."""
    before = np.empty(len(quotes), bool)
    before[:] = quotes == 0
    before |= starts_value[content[quotes - 1]]
    is_open, closes, opening, closing = False, -1, [], []
    positions = quotes.tolist()
    for index, (position, may_open) in enumerate(zip(positions, before.tolist(), strict=True)):
        if not is_open:
            if may_open:
                opening.append(position)
                is_open, closes = True, -1
        elif position == closes:  # the second of two
            closes = -1
        elif index + 1 < len(positions) and positions[index + 1] == position + 1:
            closes = position + 1
        else:
            closing.append(position)
            is_open = False
    return np.array(opening, int), np.array(closing, int)


def value_pattern(delimiters: bytes) -> bytes:
    """Returns a pattern for one value."""
    rest = b"[^" + re.escape(delimiters) + rb"\r\n]*+"
    return rb'(?:"[^"]*+(?:""[^"]*+)*+(?:"' + rest + b')?|(?!")' + rest + b")"


@lru_cache
def _value_groups(delimiter: bytes) -> re.Pattern[bytes]:
    """Returns a pattern for one value: what stands inside quotes, and what follows."""
    rest = b"([^" + re.escape(delimiter) + rb"]*+)"
    return re.compile(rb'(?:"([^"]*+(?:""[^"]*+)*+)"?)?+' + rest, re.DOTALL)
