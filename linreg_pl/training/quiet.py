"""Silences what others log and warn of for a while."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Hides Lightning's notes about hardware and hints, which a single call does not need, and those of `names`."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", *names)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # A matter between Lightning and torch, and a hint about loaders, which are no DataLoaders here.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            warnings.filterwarnings("ignore", r"The '\w+_dataloader' does not have many workers")
            warnings.filterwarnings("ignore", r"The `srun` command is available on your system but is not used")
            warnings.filterwarnings("ignore", r"The number of training batches .* is smaller than the logging interval")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
