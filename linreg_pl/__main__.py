"""Starts the command: `linreg …`, or `python -m linreg_pl …`.

The imports take seconds. A Ctrl-C meanwhile has nothing to save, and ends the process without a message. The garbage
collector is off during the imports: it would take a quarter of their time, and free nothing. torch's own messages are
off, as they have many lines where the connection to another process is lost.
"""

import atexit
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

    code = linreg()
    several = sys.modules.get("linreg_pl.data.processes")  # imported where there are several processes
    if several is not None and several.dist.is_initialized():
        # A thread of torch.distributed may still be ending. Python's shutdown would abort the process there.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
