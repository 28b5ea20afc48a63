"""Finds numbers of a CSV file that may be something else: dates, months, codes, identifiers, and missing values.

20240131     a date
202401       a month
00183        a code, which loses its zeros
1, 2, 3 …    an identifier, in a column with such a name
-999         a missing value, in a column without another negative number
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.marks import without_marks


def number_remarks(
    guess: pa.Table, as_texts: Callable[[list[str]], pa.Table], content: memoryview, missing_values: Sequence[str] = ()
) -> dict[str, str]:
    """Returns a remark on each column of numbers that may be something else.

    Args:
        guess: The first rows.
        as_texts: Returns some columns of these rows as texts.
        content: The bytes of these rows.
        missing_values: The user's texts for missing values; a number may be one in other digits, as -999.0 for -999.
    """
    remarks: dict[str, str] = {}
    for field in guess.schema:
        is_whole = pa.types.is_integer(field.type)
        if is_whole or pa.types.is_floating(field.type):
            column = guess[field.name].combine_chunks()
            numbers = without_marks(column, column, pa.array(missing_values, pa.string())).drop_null().to_numpy()
            remark = (_remark_on_whole(field.name, numbers) if is_whole else "") or _remark_on_missing(numbers)
            remarks |= {field.name: remark} if remark else {}
    rest = [each.name for each in guess.schema if pa.types.is_integer(each.type) and each.name not in remarks]
    if rest and re.search(rb"(?<![0-9.:/-])0[0-9]", content):
        texts = as_texts(rest)
        for name in rest:
            trimmed = pc.utf8_trim_whitespace(texts[name])
            row = pc.index(pc.match_substring_regex(trimmed, "^0[0-9]"), True).as_py()
            if row >= 0:
                remarks[name] = (
                    f"is read as numbers: {trimmed[row].as_py()!r} loses its leading zero; --data.categorical keeps it"
                )
    return remarks


def _remark_on_whole(name: str, numbers: np.ndarray) -> str:
    """Returns what whole numbers may be, if not numbers; empty in most cases."""
    if len(numbers) < 3 or (numbers == numbers[0]).all():
        return ""
    example = str(numbers[0])
    if _are_months(numbers // 100) and _within(numbers % 100, 1, 31):
        date = f"{example[:4]}-{example[4:6]}-{example[6:]}"
        return f"is read as numbers, though {example} may be a date; write dates as {date}"
    if _are_months(numbers):
        month = f"{example[:4]}-{example[4:]}"
        return f"is read as numbers, though {example} may be a month; write months as {month}"
    is_named_so = re.search(r"(?i:^(id|idx|index|row|nr|no|number|obs)$|(^|[^a-z])id$)|[a-z]I[Dd]$", name)
    if is_named_so and len(np.unique(numbers)) == len(numbers):
        return "is read as numbers, though it may only name the rows; --data.exclude leaves it out"
    return ""


def _are_months(numbers: np.ndarray) -> bool:
    """Says whether all numbers are years and months from 1900 to 2100, such as 202401."""
    return _within(numbers // 100, 1900, 2100) and _within(numbers % 100, 1, 12)


def _within(numbers: np.ndarray, least: int, most: int) -> bool:
    return bool(((numbers >= least) & (numbers <= most)).all())


def _remark_on_missing(numbers: np.ndarray) -> str:
    """Returns a remark on -9, -99, -999 and so on, which often stand for a missing value; mostly empty.

    Such a number counts where it is the only negative one, and at most half of the column.
    """
    negative = numbers[numbers < 0]
    if not len(negative) or len(negative) > len(numbers) / 2 or (negative != negative[0]).any():
        return ""
    number = float(negative[0])
    if not re.fullmatch(r"-9+", f"{number:.15g}"):
        return ""
    rows = "1 row" if len(negative) == 1 else f"{len(negative)} rows"
    return (
        f"has {number:.15g} in {rows}, and no other negative number; if it stands for a missing value, give"
        f" --data.missing_values '[\"{number:.15g}\"]'"
    )
