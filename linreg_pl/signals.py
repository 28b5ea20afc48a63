"""Makes the program exit at Ctrl-C and SIGTERM, with 130 and 143, while there is nothing to save."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised when a signal asks the program to exit, after the run was saved if there was one.

    Not an `Exception`, as KeyboardInterrupt is not one: code that catches all errors must not swallow it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.exit_code = 128 + signal_number


def leave_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Handles a signal while there is nothing to save."""
    raise Interrupted(number)


def leave_at_signals() -> None:
    """Makes the program exit with the right code at a signal before or after training."""
    for number in SIGNALS:
        signal.signal(number, leave_at_once)


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process at a signal, without an exception."""
    os._exit(128 + number)


def end_at_signals() -> None:
    """Makes signals end the process where no exception is of use: during imports, and while Python shuts down."""
    for number in SIGNALS:
        signal.signal(number, end_at_once)


@contextmanager
def ending_at_signals(clean: Callable[[], object]) -> Iterator[None]:
    """Makes signals end the program at once in the body, after `clean`, where they would make it exit.

    A program that exits waits for its threads, and these may wait for an answer of another program.
    """

    def end(number: int, frame: FrameType | None) -> NoReturn:
        clean()
        end_at_once(number, frame)

    changed = [number for number in SIGNALS if signal.getsignal(number) is leave_at_once]
    try:
        for number in changed:
            signal.signal(number, end)
        yield
    finally:
        for number in changed:
            signal.signal(number, leave_at_once)
