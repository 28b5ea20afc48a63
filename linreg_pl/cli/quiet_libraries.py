"""Hides what libraries print that no user can do anything about."""

import logging
import threading
import warnings
from typing import Any


def silence_libraries() -> None:
    """Hides remarks of Lightning, torch and TensorBoard that the user can do nothing about."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # its reader warns of every resumption in a run's curves
    for warning in (
        r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # concerns Lightning and torch only
        r"The number of training batches .* is smaller than the logging interval",  # ours counts steps, not batches
        r"Be aware that when using `ckpt_path`, callbacks used to create",  # left out on purpose
        r"The `srun` command is available on your system but is not used",  # one process may be what is meant
        r"It is recommended to use `self\.log\(.*, sync_dist=True",  # one of several processes validates
    ):
        warnings.filterwarnings("ignore", warning)
    threading.excepthook = report_thread_error


def report_thread_error(error: Any) -> None:
    """Prints a thread's error, but for those of the disk.

    TensorBoard's writing thread dies of a full disk with a traceback; the main thread's next point reports it in a
    sentence.
    """
    if not isinstance(error.exc_value, OSError):
        threading.__excepthook__(error)
