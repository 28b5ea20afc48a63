"""Starts the command: `linreg …`, or `python -m linreg_pl …`.

The imports take seconds. A Ctrl-C meanwhile has nothing to save, and ends the process without a message. The garbage
collector is off during the imports: it would take a quarter of their time, and free nothing. torch's own messages are
off, as they have many lines where the connection to another process is lost.
"""

import gc
import os
import sys

from linreg_pl.signals import end_at_signals


def main() -> int:
    """Runs `linreg`; returns the exit code."""
    end_at_signals()
    gc.disable()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    from linreg_pl.cli.main import main as linreg

    return linreg()


if __name__ == "__main__":
    sys.exit(main())
