"""Finds out how a CSV file is written, from its start: delimiter, comment lines, and names of the columns.

Messages count rows from 1, without the header.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from linreg_pl.data.table.comments import comment_above_header, has_hash_in_rows, without_comments
from linreg_pl.data.table.header import is_number, num_lines_above
from linreg_pl.data.table.records import Records, values, with_single_blanks
from linreg_pl.errors import quoted, shortened


@dataclass(frozen=True)
class Delimiter:
    """What separates values.

    Args:
        character: One byte.
        in_runs: Runs of blanks and tabs count as one blank, and blanks at the ends of a line don't count.
    """

    character: bytes
    in_runs: bool = False

    @property
    def all_characters(self) -> bytes:
        """Returns each byte that separates values."""
        return b" \t" if self.in_runs else self.character

    def values(self, record: bytes) -> list[bytes]:
        """Returns the values of one record, without their quotes."""
        return values(with_single_blanks(record) if self.in_runs else record, self.character)

    def __str__(self) -> str:
        return {b"\t": "tabs", b" ": "blanks"}.get(self.character, shortened(self.character.decode()))


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Args:
        delimiter: What separates values.
        names: Unique names of all columns. The first is empty if it has no name.
        left_out: The columns that are no features unless the user names them, since they have no name.
        ends_with_delimiter: Each row ends with a delimiter that the header lacks.
        has_hash_in_rows: Rows begin with #. Elsewhere such a line is a comment.
        start: Offset of the first row.
        remarks: Lines for the user about the header.
    """

    delimiter: Delimiter
    names: list[str]
    left_out: frozenset[str]
    ends_with_delimiter: bool
    has_hash_in_rows: bool
    start: int
    remarks: list[str]

    def is_no_row(self, text: str) -> bool:
        """Says whether a line whose number of values is wrong is a comment or blank."""
        return text.lstrip().startswith("#") or not text.strip(" \t\r\n\x1a")  # DOS ends a text by Ctrl-Z


class _Layout(NamedTuple):
    """A file's first records, as one delimiter separates them."""

    delimiter: Delimiter
    names: list[bytes]  # of the header; empty without one
    width: int  # number of names
    rows: list[list[bytes]]
    has_hash_in_rows: bool
    start: int  # offset of the first row
    titles: Sequence[bytes] = ()  # lines above the header

    @property
    def agreement(self) -> float:
        """Returns the fraction of rows with a value for each name, or one more."""
        widths = Counter(len(row) for row in self.rows)
        return max(widths[self.width], widths[self.width + 1]) / len(self.rows) if self.rows else 1.0

    @property
    def is_consistent(self) -> bool:
        """Returns whether several values are separated, equally many in all rows."""
        return self.width > 1 and self.agreement == 1


def find_dialect(
    head: bytes, is_whole: bool, delimiter: str | None, column_names: Sequence[str] | None, usual: bytes
) -> Dialect:
    """Returns how a file is written.

    Args:
        head: The file's first bytes, as UTF-8 without a byte order mark.
        is_whole: They are the whole file.
        delimiter: The character that the user names, if any.
        column_names: Names of all columns of a file without a header.
        usual: The delimiter of files with such an ending.

    Raises:
        UnicodeDecodeError: the header is not UTF-8.
    """

    def layout(character: bytes, in_runs: bool = False) -> _Layout:
        return _layout(head, is_whole, Delimiter(character, in_runs), column_names)

    if delimiter is None:
        others = [layout(each) for each in (b",", b";", b"\t", b"|") if each != usual]
        chosen = _sniffed(layout(usual), others, layout(b" ", in_runs=True))
    else:
        chosen = layout(delimiter.encode())
        if delimiter == " " and not chosen.is_consistent and (runs := layout(b" ", in_runs=True)).is_consistent:
            chosen = runs
    rows, has_one_more = chosen.rows, bool(chosen.rows) and all(len(row) == chosen.width + 1 for row in chosen.rows)
    ends_with_delimiter = has_one_more and all(row[-1] == b"" for row in rows)
    below = ends_with_delimiter, chosen.has_hash_in_rows, chosen.start
    if column_names is not None:
        return Dialect(chosen.delimiter, [*column_names], frozenset(), *below, [])
    names = [name.decode().lstrip("\ufeff") for name in chosen.names]  # joined files have two byte order marks
    if has_one_more and not ends_with_delimiter and len(rows) > 1:  # a single row is more likely wrong
        names = ["", *names]  # R's write.table writes row names without a name for them
    nameless = [index for index, name in enumerate(names) if not name.strip()]
    for index in nameless:
        names[index] = f"Unnamed: {index}" if index else ""  # as in pandas, but for the first
    remarks = _remarks_on_lines(chosen, names) + _remarks_on_nameless(names, nameless, rows)
    names, repeated = unique_names(names, nameless)
    left_out = frozenset(names[index] for index in nameless)
    return Dialect(chosen.delimiter, names, left_out, *below, remarks + repeated)


def unique_names(names: Sequence[str], nameless: Sequence[int] = ()) -> tuple[list[str], list[str]]:
    """Returns the names with .1, .2 behind repeated ones, and a remark on each name that is repeated.

    As in pandas, a new name skips those that the header has, and columns without a name come last.
    """
    unique, counts, taken = list(names), Counter[str](), Counter(names)
    renamed: dict[str, list[str]] = {}
    without_name = set(nameless)
    for index in [*(index for index in range(len(names)) if index not in without_name), *nameless]:
        name = new = names[index]
        if counts[name]:
            number = counts[name]
            while number:
                new = f"{name}.{number}"
                counts[name] = number + 1
                number = number + 1 if taken[new] else counts[new]
            renamed.setdefault(name, []).append(new)
            taken[name] -= 1
            taken[new] += 1
            unique[index] = new
        counts[new] += 1
    return unique, _remarks_on_repeated(renamed)


def _remarks_on_repeated(renamed: dict[str, list[str]], most: int = 8) -> list[str]:
    remarks = []
    for name, new in list(renamed.items())[:most]:
        times = "twice: the second is" if len(new) == 1 else f"{len(new) + 1} times: the later ones are"
        remarks.append(f"the header names {shortened(name)} {times} called {quoted(new)}")
    if len(renamed) > most:
        remarks.append(f"the header repeats {len(renamed) - most} more names; they get .1, .2 in the same way")
    return remarks


def _remarks_on_lines(layout: _Layout, names: list[str]) -> list[str]:
    """Returns lines about what is above the header, and about a header that may be a row."""
    remarks = []
    if layout.titles:
        lines = "a line" if len(layout.titles) == 1 else f"{len(layout.titles)} lines"
        remarks.append(f"skipped {lines} above the header: {quoted([line.decode() for line in layout.titles], 2)}")
    # Years and other whole numbers may be names.
    if names and all(map(is_number, layout.names)) and not all(name.isdigit() for name in layout.names):
        remarks.append(
            f"the first line is taken for the header, though it has numbers alone: {quoted(names, 3)}; if it is a row,"
            " name the columns with --data.column_names"
        )
    return remarks


def _remarks_on_nameless(names: list[str], nameless: list[int], rows: list[list[bytes]], most: int = 8) -> list[str]:
    remarks = []
    for index in nameless[:most]:
        column = [row[index].strip() for row in rows if len(row) == len(names)]
        place = f"column {index + 1}" if index else "the first column"
        if not any(column):
            remarks.append(f"{place} has no name and no values, and is left out")
        elif index:
            remarks.append(f"{place} has no name and is left out; --data.features can name it {names[index]!r}")
        else:
            counts_rows = " and counts the rows; it" if _counts(column) else " and"
            remarks.append(f"{place} has no name{counts_rows} is left out")
    if len(nameless) > most:
        remarks.append(f"{len(nameless) - most} more columns have no name and are left out")
    return remarks


def _counts(column: list[bytes]) -> bool:
    if not column[0].isdigit():
        return False
    first = int(column[0])
    return column == [b"%d" % (first + index) for index in range(len(column))]


def _sniffed(usual: _Layout, others: list[_Layout], blanks: _Layout) -> _Layout:
    """Returns the layout whose delimiter separates header and rows into equally many values."""
    consistent = [each for each in others if each.is_consistent]
    if usual.width > 1 and usual.agreement >= 0.5:
        # A comma may occur in names and texts of a file with semicolons; the reverse is rare.
        return next((each for each in consistent if each.width > usual.width), usual)
    consistent += [blanks] if blanks.is_consistent else []
    if consistent:
        return consistent[0]
    nearly = max([*others, blanks], key=lambda each: each.agreement if each.width > 1 else 0)
    return nearly if usual.width == 1 and nearly.width > 1 and nearly.agreement >= 0.5 else usual


def _layout(head: bytes, is_whole: bool, delimiter: Delimiter, column_names: Sequence[str] | None) -> _Layout:
    """Returns the first records, without comments and blank lines."""
    records, comment, start = Records(delimiter.all_characters), b"", 0
    if column_names is None:
        comment, start = comment_above_header(head)
    most, enough_bytes = 60, 1 << 18
    rows: list[tuple[list[bytes], bool]] = []  # the values, and whether the line is a comment or blank
    ends: list[int] = []
    position = start
    while position < len(head) and len(rows) < most and not (len(rows) > 5 and position - start > enough_bytes):
        end = records.first(head, position)
        if end == len(head) and not is_whole:
            break
        if record := head[position:end].strip(b" \t\r\n" if delimiter.in_runs else b"\r\n"):
            is_no_row = not record.strip() or record.lstrip().startswith(b"#")
            rows.append((delimiter.values(head[position:end]), is_no_row))
            ends.append(end)
        position = end
    if column_names is not None:
        return _Layout(delimiter, [], *_rows(rows, len(column_names)), 0)
    if not rows:
        return _Layout(delimiter, [], 0, [], False, start)
    width = len(rows[0][0])
    all_rows = _rows(rows, width)
    if width > 1 and any(map(is_number, rows[0][0])) and all(len(row) == width for row in all_rows[1]):
        # A comment is the header if it names each value of rows of numbers. A column may be called #.
        for text in (comment.lstrip(b"# \t"), comment):
            names = delimiter.values(text)
            if len(names) == width and all(names):
                return _Layout(delimiter, names, *all_rows, start)
    num_above = num_lines_above(rows)
    header, above = rows[num_above][0], [b" ".join(row).strip() for row, _ in rows[:num_above]]
    below = _rows(rows[num_above + 1 :], len(header))
    return _Layout(delimiter, header, *below, ends[num_above], [line for line in above if line])


def _rows(lines: list[tuple[list[bytes], bool]], width: int) -> tuple[int, list[list[bytes]], bool]:
    has_hash = has_hash_in_rows(lines, width)
    return width, without_comments(lines, width, has_hash), has_hash
