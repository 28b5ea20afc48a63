"""Tells a caller from Python how the data is read; the command prints the same as notes."""

import logging

from linreg_pl.data.base import Rows
from linreg_pl.errors import without_flags


def log_remarks(data: Rows) -> None:
    """Logs what the user should know of how the data is read, to the logger `linreg_pl`."""
    for remark in data.remarks:
        logging.getLogger("linreg_pl").warning(without_flags(remark))
