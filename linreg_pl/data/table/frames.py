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
    if hasattr(frame, "to_frame") and not hasattr(frame, "columns"):
        raise InputError(f"path must be a table, but this is a {kind}; pass path.to_frame()")
    try:
        return pa.table(_with_texts(frame) if hasattr(frame, "iloc") else frame)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(map(str, error.args))
        column = re.search(r"\bcolumn (.*?) with type (\S+)", reason)
        if column is None:
            raise InputError(f"Arrow can't read this {kind} as a table ({reason})") from error
        what = "mixes types" if column[2] == "object" else f"is of type {column[2]}"
        raise InputError(
            f"the {kind}: column {column[1]!r} {what}, so Arrow can't read it; convert it to numbers or to texts with"
            " astype, or leave it out of the frame"
        ) from error


def _with_texts(frame: Any) -> Any:
    """Returns a pandas frame with texts as names of its columns and categories, and columns that Arrow can read."""
    kind, names = type(frame).__name__, list(map(str, frame.columns))
    doubled = repeated(names)
    if doubled:
        raise InputError(f"the {kind}: {quoted(doubled)} names several columns; rename all but one")
    frame = frame.copy(deep=False)
    frame.columns = names
    for name, dtype in zip(names, frame.dtypes, strict=True):
        column = frame[name]
        if str(dtype).startswith("Sparse["):
            frame[name] = column.sparse.to_dense()
        elif str(dtype).startswith("period["):
            frame[name] = column.dt.to_timestamp()  # where the period begins
        elif str(dtype).startswith("interval["):
            frame[name] = column.map(str, na_action="ignore").astype(object)
        categories = getattr(dtype, "categories", None)
        if categories is not None and any(not isinstance(each, str) for each in categories):
            try:
                frame[name] = frame[name].cat.rename_categories(list(map(str, categories)))
            except ValueError as error:
                raise InputError(
                    f"the {kind}: column {name!r} has different categories with the same text; rename one"
                ) from error
    return frame
