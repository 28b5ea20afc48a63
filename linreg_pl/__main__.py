"""Starts the command: `linreg …`, or `python -m linreg_pl …`.

The imports take seconds. A Ctrl-C meanwhile has nothing to save, and ends the process without a message. The garbage
collector is off during the imports: it would take a quarter of their time, and free nothing. torch's own messages are
off, as they have many lines where the connection to another process is lost.
"""

import gc
import os
import signal
import sys
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """Ends the process at a signal; an exception in the middle of an import could be caught there and lost."""
    os._exit(128 + number)


def main() -> int:
    """Runs `linreg`; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    gc.disable()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    from linreg_pl.cli.main import main as linreg

    return linreg()


if __name__ == "__main__":
    sys.exit(main())
