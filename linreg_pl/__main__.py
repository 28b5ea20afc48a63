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
    open_closed_streams()
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


def open_closed_streams() -> None:
    """Opens what the caller has closed, as by `>&-`: else files and sockets would get the numbers 0, 1 and 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


if __name__ == "__main__":
    sys.exit(main())
