"""Starts the processes beside the first one of `linreg solve` and `linreg path`, early, so that all import at once.

A sibling imports, and then waits until the first process has found the command possible. A mistake is told once, by
the first process. This file imports nothing slow.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from linreg_pl.cli.parent_process import LAUNCHER
from linreg_pl.data.leaving import end_with_children
from linreg_pl.data.place import Place, place_from_launcher
from linreg_pl.errors import InputError
from linreg_pl.signals import SIGNALS


class Siblings:
    """The processes that the first one of a command has started.

    Args:
        args: The command and its flags.

    Attributes:
        children: The processes.
        listener: A socket of the port at which all find each other, once there are siblings.
    """

    def __init__(self, args: Sequence[str]) -> None:
        self._args = args
        self.children: list[subprocess.Popen[bytes]] = []
        self.listener: socket.socket | None = None

    def start_early(self) -> None:
        """Starts the processes if the flags say plainly that there are some, and if this is the first.

        Raises:
            InputError: the system refuses so many.
        """
        is_first = place_from_launcher() is None and "LOCAL_RANK" not in os.environ
        if is_first and (size := plain_number(self._args)) > 1:
            self.start(size)

    def start(self, size: int) -> Place:
        """Starts the processes beside this one, unless they are started; returns the place of this one.

        Raises:
            InputError: the system refuses so many.
        """
        if self.listener is None or len(self.children) != size - 1:
            self.end()
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=size)
            # Until a sibling has handlers of its own, Python would print a traceback at a Ctrl-C.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            try:
                for rank in range(1, size):
                    self._start_one(rank)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            end_with_children(self.children)
        host, port = self.listener.getsockname()
        return Place(0, size, 0, size, host, port)

    def _start_one(self, rank: int) -> None:
        assert self.listener is not None
        host, port = self.listener.getsockname()
        place = {"LOCAL_RANK": str(rank), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        # As this process was started: a script has no current folder in its search path, unlike `python -m`.
        has_folder = sys.path[0] in ("", os.getcwd())
        command = [sys.executable, *([] if has_folder else ["-P"]), "-m", "linreg_pl", *self._args]
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, env={**os.environ, LAUNCHER: str(os.getpid()), **place}
            )
        except OSError as error:
            raise InputError(
                f"--trainer.devices: process {rank} can't be started ({error.strerror}); give a smaller number"
            ) from error
        self.children.append(child)

    def release(self) -> None:
        """Lets the siblings go on after their imports."""
        for child in self.children:
            assert child.stdin is not None
            with suppress(OSError), child.stdin:  # whoever waits for its end finds that it has ended
                child.stdin.write(b"\n")

    def end(self) -> None:
        """Ends siblings that still wait."""
        if self.listener is not None:
            self.listener.close()
        waiting = [child for child in self.children if child.stdin is not None and not child.stdin.closed]
        for child in waiting:
            self.children.remove(child)
            child.kill()
            child.wait()


def plain_number(flags: Sequence[str]) -> int:
    """Returns how many processes the flags ask for, 1 if they do not, or not by a number."""
    values = ["1"]
    for flag, following in zip(flags, [*flags[1:], ""], strict=True):
        name, sign, value = flag.partition("=")
        if name == "--trainer.devices":
            values.append(value if sign else following)
    return int(values[-1]) if values[-1].isdecimal() else 1


def is_awaited() -> bool:
    """Waits, in a sibling, for the first process to go on; returns whether it does."""
    is_sibling = LAUNCHER in os.environ and os.environ.get("LOCAL_RANK", "0") != "0"
    return not is_sibling or bool(sys.stdin.buffer.read(1))
