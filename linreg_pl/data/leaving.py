"""Ends this process with a message when another one has ended. It imports nothing slow."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import NoReturn

_leaving = Lock()


def leave(message: str | None, children: Sequence[subprocess.Popen[bytes]]) -> NoReturn:
    """Ends this process and those that it has started, after a message with what to do."""
    with _leaving:
        try:
            if message is not None:
                print(
                    f"linreg: {message} start the command again, a run with --resume auto", file=sys.stderr, flush=True
                )
            for child in children:
                child.kill()  # it may be stopped, and could not end itself
        finally:
            os._exit(2)


def end_with_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends this process if one that it has started ends before: none does that by itself.

    Those that are removed from `children` may end.
    """

    def wait(rank: int, child: subprocess.Popen[bytes]) -> None:
        code = child.wait()
        time.sleep(2)  # the lifeline, if it is there already, knows more
        if child not in children:
            return
        has_told = code == 2  # what it ends with by itself, after a message
        leave(None if has_told else f"process {rank} (pid {child.pid}) ended with exit code {code};", children)

    for rank, child in enumerate(children, start=1):
        in_background(wait, rank, child)


def in_background(function: Callable[..., None], *args: object) -> None:
    """Calls a function in a thread that ends with the process."""
    Thread(target=function, args=args, daemon=True).start()
