"""Finds the comments of a CSV file: lines that begin with #, above the header and between the rows.

A line of the file's start is given by its values, and by whether it is a comment or blank.
"""

import re

from linreg_pl.data.table.records import Segment, value_pattern


def comment_above_header(head: bytes) -> tuple[bytes, int]:
    """Returns the comment directly above the first line that is neither comment nor blank, and that line's offset.

    Excel's line sep=; counts as a comment.
    """
    comment, start = b"", 0
    for line in head.splitlines(keepends=True):
        text = line.strip()
        is_excels = start == 0 and re.fullmatch(rb'"?sep=.?"?', text, re.IGNORECASE) is not None
        if text and not text.startswith(b"#") and not is_excels:
            break
        comment, start = text, start + len(line)
    return comment, start


def has_hash_in_rows(lines: list[tuple[list[bytes], bool]], width: int, least: float = 0.5) -> bool:
    """Says whether lines that begin with # are rows, as where the first column is a colour or an order's number.

    They are where many lines with a value for each name begin so. A few are comments, as rows switched off by hand.

    Args:
        lines: The lines below the header.
        width: Number of names.
        least: Fraction of the lines with a value for each name, or one more.
    """
    hashes = [_begins_with_hash(line, is_no_row) for line, is_no_row in lines if len(line) in (width, width + 1)]
    return bool(hashes) and sum(hashes) >= least * len(hashes)


def without_comments(lines: list[tuple[list[bytes], bool]], width: int, has_hash: bool) -> list[list[bytes]]:
    """Returns the rows; a blank line that has as many values as the rows, or one more, is a row.

    Args:
        lines: The lines below the header.
        width: Number of names.
        has_hash: Whether lines of this length that begin with # are rows: see `has_hash_in_rows`.
    """
    return [
        line
        for line, is_no_row in lines
        if not is_no_row or (len(line) in (width, width + 1) and (has_hash or not _begins_with_hash(line, is_no_row)))
    ]


def _begins_with_hash(line: list[bytes], is_no_row: bool) -> bool:
    return is_no_row and line[0].lstrip().startswith(b"#")


def without_hash_lines(segment: Segment, delimiters: bytes) -> tuple[Segment, list[str]]:
    """Returns a segment without the records that begin with # outside quotes, and those records."""
    if not segment.has_hashes:
        return segment, []
    lines: list[str] = []

    def removed(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return match[0]
        lines.append(match[1].decode(errors="replace"))
        return b""

    quoted = rb"(?<![^" + re.escape(delimiters) + rb'\r\n])"[^"]*+(?:""[^"]*+)*+"?'
    delimiter = b"[" + re.escape(delimiters) + b"]"
    rest = b"[^" + re.escape(delimiters) + rb"\r\n]*+"
    hash_line = rb"(?<![^\r\n])[ \t]*+(#" + rest + b"(?:" + delimiter + value_pattern(delimiters) + rb")*+)[\r\n]*+"
    content = re.sub(hash_line + rb"|" + quoted, removed, segment.content)
    return (segment._replace(content=memoryview(content)), lines) if lines else (segment, [])
