"""Waits for events, with a bound that only a hang reaches: how long something takes is no test's business."""

import time
from collections.abc import Callable

PATIENCE = 900
"""Seconds: a machine that is busy with other work takes a hundred times as long as a quiet one."""


def wait_until(happened: Callable[[], bool], alive: Callable[[], bool] = lambda: True) -> None:
    """Asks until something has happened.

    Raises:
        TimeoutError: it has not, and whoever was to do it is no longer alive, or time is over.
    """
    deadline = time.monotonic() + PATIENCE
    while not happened():
        if not alive() and not happened():  # it may have happened just before the end
            raise TimeoutError("it ended before that happened")
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen within {PATIENCE} s")
        time.sleep(0.01)
