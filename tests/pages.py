"""Compares a command's output with the output that a page shows.

Words, numbers and lines are compared by `assert_same_print`. Here are added: a shown line `…`, which stands for one or
more printed lines of the same kind as the line above it, and the tolerance of a run's gap.
"""

import re

from tests.printed import NUMBER, assert_same_print

LEFT_OUT = "…"

GAP = 5e-4
"""Tolerance of the loss on a line `gap …`. The tutorial's run ends where a step no longer changes W in float32, some 34
neighbouring numbers before 3.657. The gap there is 0.00235, and each neighbour more or less changes it by 1.4e-4."""


def assert_shown(printed: str, shown: str) -> None:
    """Raises AssertionError where a command's output differs from the one that a page shows."""
    lines, [first, *others] = printed.splitlines(), _segments(shown.splitlines())
    _assert_lines(lines[: len(first)] if others else lines, first)
    position = len(first)
    for number, segment in enumerate(others, start=1):
        start = len(lines) - len(segment)
        if number < len(others):
            starts = range(position + 1, start + 1)
            start = next((i for i in starts if _is_shown(lines[i : i + len(segment)], segment)), -1)
        assert start > position, f"{LEFT_OUT} leaves nothing out before {segment} in\n{printed}"
        for line in lines[position:start]:
            assert _kind(line) == _kind(lines[position - 1]), f"{LEFT_OUT} leaves out another kind of line: {line}"
        _assert_lines(lines[start : start + len(segment)], segment)
        position = start + len(segment)


def _segments(lines: list[str]) -> list[list[str]]:
    """Splits the shown lines where some are left out."""
    segments: list[list[str]] = [[]]
    for line in lines:
        if line == LEFT_OUT:
            segments.append([])
        else:
            segments[-1].append(line)
    return segments


def _kind(line: str) -> str:
    """Returns a line without its label and numbers; `-` stands for a number that there is not."""
    words = ["#" if word == "-" else NUMBER.sub("#", word) for word in line.split()]
    return " ".join(words[1:])


def _is_shown(printed: list[str], shown: list[str]) -> bool:
    """Returns whether lines pass as the shown ones."""
    try:
        _assert_lines(printed, shown)
    except AssertionError:
        return False
    return True


def _assert_lines(printed: list[str], shown: list[str]) -> None:
    """Raises AssertionError unless the lines are the shown ones, up to rounding."""
    of_gap = re.compile(r"^gap .*(?:\n|$)", re.MULTILINE)
    texts = ["".join(f"{line}\n" for line in lines) for lines in (printed, shown)]
    assert_same_print(*(of_gap.sub("gap\n", text) for text in texts))
    for line, shown_line in zip(*(of_gap.findall(text) for text in texts), strict=True):
        _assert_gap(line, shown_line)


def _assert_gap(printed: str, shown: str) -> None:
    """Compares the loss of a gap, the exact loss, and the gap as a percentage, which moves with the first."""
    (loss, rest), (shown_loss, shown_rest) = (text.split(" above ", maxsplit=1) for text in (printed, shown))
    (exact, share), (shown_exact, shown_share) = (text.split(": ", maxsplit=1) for text in (rest, shown_rest))
    assert_same_print(loss, shown_loss, abs=GAP)
    assert_same_print(exact, shown_exact)
    [gap], [percentage] = (NUMBER.findall(text) for text in (shown_loss, shown_share))
    assert_same_print(share, shown_share, abs=GAP * float(percentage) / float(gap))
