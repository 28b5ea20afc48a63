"""Finds the header among the first lines of a CSV file: titles may be above it.

A line is given by its values, and by whether it is a comment or blank.
"""

import re
from collections.abc import Iterable


def num_lines_above(lines: list[tuple[list[bytes], bool]], most: int = 5) -> int:
    """Returns the number of lines above the header: titles, and blank ones that Excel pads with delimiters.

    A title has fewer values than the header has names: at most two, and the rest is empty, or the line is shorter. The
    header names each column, but for those behind trailing delimiters. No name is a number, and below some name that
    does not begin with a digit, the values do. The names that R's write.table writes are one fewer than the values, but
    the line below them is a row.

    Args:
        lines: The first lines, at least one.
        most: Number of titles.
    """
    titles: list[list[bytes]] = []
    for index, (line, _) in enumerate(lines):
        if titles and _is_header(line, titles) and _fits(line, lines[index + 1 :]):
            return index
        titles += [line] if any(map(bytes.strip, line)) or not index else []
        if len(titles) > most:
            break
    return 0


def _is_header(line: list[bytes], titles: list[list[bytes]]) -> bool:
    """Says whether a line can be the header, and the lines above it titles."""
    names = _without_trailing(line)
    if len(names) < 2 or not all(names) or any(map(is_number, names)) or _has_gaps(names):
        return False
    padded = [_without_trailing(title) for title in titles if len(title) >= len(names)]
    if not padded:
        return True
    # A title as wide as the table looks like a header of one or two names, and the first row may be texts.
    is_plain = len(set(names)) == len(names) and not any(map(_begins_with_digit, names))
    return is_plain and all(len(title) < min(3, len(names)) for title in padded)


def _fits(header: list[bytes], lines: list[tuple[list[bytes], bool]], least: float = 0.8) -> bool:
    """Says whether rows as wide as the header follow, with numbers or dates below a name.

    Args:
        header: The names.
        lines: The lines below it.
        least: Fraction of the values in such a column that begin with a digit.
    """
    names, width = _without_trailing(header), len(header)
    rows = [row for row, is_no_row in lines if not is_no_row]
    while rows and len(rows[-1]) == 1:  # a footnote, which is refused where rows are read
        rows.pop()
    if len(rows) < 2 or not all(len(row) == width or row[width:] == [b""] for row in rows):
        return False
    for index, name in enumerate(names):
        values = [row[index] for row in rows if row[index].strip() and not _has_gaps([row[index]])]
        num_numbers = sum(map(_begins_with_digit, values))
        if not _begins_with_digit(name) and num_numbers > 1 and num_numbers >= least * len(values):
            return True
    return False


def _without_trailing(line: list[bytes]) -> list[bytes]:
    """Returns the stripped values without the empty ones at the end."""
    values = [value.strip() for value in line]
    while values and not values[-1]:
        values.pop()
    return values


def _has_gaps(values: Iterable[bytes]) -> bool:
    """Says whether a value is a common mark of a missing one."""
    return any(value.strip().lower() in (b"na", b"n/a", b"nan", b"null", b"none") for value in values)


def _begins_with_digit(value: bytes) -> bool:
    """Says whether a value may be a number or date, perhaps with a sign or currency before it."""
    return re.match(rb"[^0-9A-Za-z]*[0-9]", value) is not None


def is_number(value: bytes) -> bool:
    """Says whether Python reads a value as a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True
