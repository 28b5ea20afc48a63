"""Runs the commands of a page, and compares their output with the output that the page shows.

`assert_same_print` compares words, numbers and lines. This file adds a shown line `…`, which stands for one or more
printed lines of the same kind as the line above it, and the tolerance of a run's gap.
"""

import re
import shlex
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from tests.commands import linreg, outside_make
from tests.printed import NUMBER, assert_same_print

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", *sorted(f"docs/{page.name}" for page in ROOT.glob("docs/*.md")), "examples/README.md")

LEFT_OUT = "…"

LINREG = ".venv/bin/linreg"

GAP = 5e-4
"""Tolerance of the loss on a line `gap …`. The tutorial's run ends where a step no longer changes W in float32, some 34
neighbouring numbers before 3.657. The gap there is 0.00235, and each neighbour more or less changes it by 1.4e-4."""


W_DISTANCE = 0.5
"""Tolerance of the tutorial's W, the row `W`, in standard errors: neighbours of 3.657 in float32 are 0.2 apart. All
other distances are compared as printed."""


def blocks(text: str, language: str) -> list[str]:
    """Returns a page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def console_blocks(text: str) -> list[tuple[str, str]]:
    """Returns a page's commands, each with the output that is shown below it."""
    commands = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            commands.append((command, output))
    return commands


def make_clone(folder: Path) -> Path:
    """Makes an empty folder look like the project's, with runs of its own."""
    locks = [path.name for path in ROOT.glob("requirements*.lock")]
    for name in ("Makefile", ".venv", "pyproject.toml", *locks, "examples", "linreg_pl"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(command: str, cwd: Path) -> tuple[int, str]:
    """Returns the exit code and the output of a line typed at a prompt.

    A call of `linreg` alone, or before `|`, `&&` or `>`, is forked from a process that has imported it
    (`tests/commands.py`). Environment variables may stand before it.
    """
    match = re.fullmatch(rf"((?:\w+=\S+ )*)({re.escape(LINREG)} [^><|&;$]*?)(?: (\||&&|>) (.*))?", command)
    if match is None:
        return _in_shell(command, cwd)
    variables, call, operator, rest = match.groups()
    env = dict(variable.split("=", 1) for variable in variables.split())
    result = linreg(*shlex.split(call)[1:], cwd=cwd, env=env, before=_type_linreg)
    if operator == ">":
        (cwd / rest).write_text(result.stdout)
        return result.code, result.stderr
    if operator is None or result.code != 0:
        return result.code, result.stdout + result.stderr
    code, printed = _in_shell(rest, cwd, stdin=result.stdout if operator == "|" else None)
    return code, ("" if operator == "|" else result.stdout) + result.stderr + printed


def _in_shell(command: str, cwd: Path, stdin: str | None = None) -> tuple[int, str]:
    process = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd,
        env=outside_make(),
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return process.returncode, process.stdout


def _type_linreg() -> None:
    """Sets the command that the printed commands start with."""
    sys.argv[0] = LINREG


def assert_shown(printed: str, shown: str) -> None:
    """Raises AssertionError where a command's output differs from the one that a page shows."""
    lines, [first, *others] = printed.splitlines(), segments(shown.splitlines())
    _assert_lines(lines[: len(first)] if others else lines, first)
    position = len(first)
    for number, segment in enumerate(others, start=1):
        start = len(lines) - len(segment)
        if number < len(others):
            starts = range(position + 1, start + 1)
            start = next((i for i in starts if _is_shown(lines[i : i + len(segment)], segment)), -1)
        assert start > position, f"{LEFT_OUT} leaves nothing out before {segment} in\n{printed}"
        for line in lines[position:start]:
            assert kind(line) == kind(lines[position - 1]), f"{LEFT_OUT} leaves out another kind of line: {line}"
        _assert_lines(lines[start : start + len(segment)], segment)
        position = start + len(segment)


def assert_aligned(printed: str) -> None:
    """Raises AssertionError where a column of a printed table does not end below its title."""
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        of_fit = [title for title in ("fitted", "exact", "s.e. off", "forecast", "actual") if title in line]
        for titles in (of_fit, ["estimate", "standard error"]):
            if line.startswith(" ") and len(titles) > 1 and all(title in line for title in titles):
                ends = [line.index(title) + len(title) for title in titles]
                for row in takewhile(lambda row: row.startswith("  ") or " … " in row, lines[number + 1 :]):
                    assert all(row[:end].strip() and row[end - 1] != " " for end in ends), row
                    assert all(row[end : end + 1] in ("", " ") for end in ends), row


def segments(lines: list[str]) -> list[list[str]]:
    """Splits the shown lines where some are left out."""
    segments: list[list[str]] = [[]]
    for line in lines:
        if line == LEFT_OUT:
            segments.append([])
        else:
            segments[-1].append(line)
    return segments


def kind(line: str) -> str:
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
    of_w = re.compile(r"^(  W +\S+ +\S+ +)(\d\S*)(?= |$)", re.MULTILINE)  # name, fitted, exact; then the distance
    one, other = "\n".join(printed), "\n".join(shown)
    distances, shown_distances = ("\n".join(match[2] for match in of_w.finditer(text)) for text in (one, other))
    assert_same_print(distances, shown_distances, abs=W_DISTANCE)
    one, other = (of_w.sub(r"\1distance", text) for text in (one, other))
    assert_same_print(of_gap.sub("gap\n", one), of_gap.sub("gap\n", other))
    for line, shown_line in zip(of_gap.findall(one), of_gap.findall(other), strict=True):
        _assert_gap(line, shown_line)


def _assert_gap(printed: str, shown: str) -> None:
    """Compares a gap, the exact loss, and what the gap means.

    A percentage moves with the gap. A preconditioned run, whose line ends in standard errors, arrives: its gap is
    rounding, at most a billionth of the exact loss, and the standard errors are compared as printed.
    """
    (loss, rest), (shown_loss, shown_rest) = (text.split(" above ", maxsplit=1) for text in (printed, shown))
    (exact, share), (shown_exact, shown_share) = (text.split(": ", maxsplit=1) for text in (rest, shown_rest))
    assert_same_print(exact, shown_exact)
    if "standard errors" in shown_share:
        assert_same_print(loss, shown_loss, abs=1e-9 * float(NUMBER.findall(shown_exact)[-1]))
        assert_same_print(share, shown_share)
        return
    assert_same_print(loss, shown_loss, abs=GAP)
    [gap], [percentage] = (NUMBER.findall(text) for text in (shown_loss, shown_share))
    assert_same_print(share, shown_share, abs=GAP * float(percentage) / float(gap))
