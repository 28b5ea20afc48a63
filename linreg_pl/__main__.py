"""The command's door, light: `linreg …`, or `python -m linreg_pl …`.

What is behind it takes seconds to import; a Ctrl-C meanwhile finds nothing to save, and leaves without a word. The
garbage collector would take a quarter of these seconds, and find nothing: what is imported is there to stay.
"""

import gc
import os
import signal
import sys
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """The signal's handler. An exception would come up in the middle of an import, and not everywhere come through."""
    os._exit(128 + number)


def main() -> int:
    """Runs `linreg`; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    gc.disable()
    from linreg_pl.cli.command import main as linreg

    return linreg()


if __name__ == "__main__":
    sys.exit(main())
