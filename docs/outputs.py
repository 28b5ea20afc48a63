"""Writes what the commands print today into the README and the pages of docs/.

    python -m docs.outputs                 all pages
    python -m docs.outputs README.md       one page

A page that shortens an output with a line `…` stays shortened: it shows as many lines of that kind above and below the
`…` as before.
"""

import sys
import tempfile
from pathlib import Path

from tests.pages import LEFT_OUT, PAGES, ROOT, console_blocks, kind, make_clone, run, segments


def main(names: list[str]) -> None:
    """Runs every command of the pages, and replaces the outputs shown below them."""
    for name in names or PAGES:
        text = (ROOT / name).read_text()
        with tempfile.TemporaryDirectory() as folder:
            clone = make_clone(Path(folder))
            for command, shown in console_blocks(text):
                _, printed = run(command, clone)
                before, after = f"$ {command}\n{shown}", f"$ {command}\n{shortened(printed, shown)}"
                text = text.replace(before, after, 1)
        (ROOT / name).write_text(text)
        print(name)


def shortened(printed: str, shown: str) -> str:
    """Returns an output, with lines left out where they are left out in the shown one."""
    lines, [first, *others] = printed.splitlines(keepends=True), segments(shown.splitlines())
    if not others:
        return printed
    left_out = kind(first[-1])
    end = next((i for i in range(len(first), len(lines)) if kind(lines[i]) != left_out), len(lines))
    num_shown = sum(kind(line) == left_out for line in others[-1])
    return "".join([*lines[: len(first)], f"{LEFT_OUT}\n", *lines[end - num_shown :]])


if __name__ == "__main__":
    main(sys.argv[1:])
