"""Turns a frame of pandas or polars into an Arrow table whose columns have texts as names and categories."""

import re
from typing import Any

import pyarrow as pa

from linreg_pl.errors import InputError, quoted, repeated


def arrow_table(frame: Any) -> pa.Table:
    """Returns a frame as an Arrow table.

    Raises:
        InputError: two columns have one name, or Arrow can't hold a column.
    """
    kind = type(frame).__name__
    try:
        return pa.table(_with_texts(frame) if hasattr(frame, "iloc") else frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(map(str, error.args))
        column = re.search(r"\bcolumn (.*?)(?: with type (\S+)|\) not supported)", reason)
        if column is None:
            raise InputError(f"Arrow can't read this {kind} as a table ({reason})") from error
        what = {None: "is sparse", "object": "mixes types"}.get(column[2], f"is of type {column[2]}")
        raise InputError(
            f"the {kind}: column {column[1]!r} {what}, so Arrow can't read it; convert it to numbers or to texts with"
            " astype, or leave it out of the frame"
        ) from error


def _with_texts(frame: Any) -> Any:
    """Returns a pandas frame with texts as names of its columns and of its categories."""
    kind, names = type(frame).__name__, list(map(str, frame.columns))
    doubled = repeated(names)
    if doubled:
        raise InputError(f"the {kind}: {quoted(doubled)} names several columns; rename all but one")
    frame = frame.copy(deep=False)
    frame.columns = names
    for name, dtype in zip(names, frame.dtypes, strict=True):
        categories = getattr(dtype, "categories", None)
        if categories is not None and any(not isinstance(each, str) for each in categories):
            try:
                frame[name] = frame[name].cat.rename_categories(list(map(str, categories)))
            except ValueError as error:
                raise InputError(
                    f"the {kind}: column {name!r} has different categories with the same text; rename one"
                ) from error
    return frame
