"""Finds whole numbers of a CSV file that may be something else: dates such as 20240131, and codes such as 00183."""

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def number_remarks(guess: pa.Table, as_texts: Callable[[list[str]], pa.Table], content: memoryview) -> dict[str, str]:
    """Returns a remark on each column of whole numbers that may be dates or codes.

    Args:
        guess: The first rows.
        as_texts: Returns some columns of these rows as texts.
        content: The bytes of these rows.
    """
    columns = [each.name for each in guess.schema if pa.types.is_integer(each.type)]
    remarks = {}
    for name in columns:
        numbers = guess[name].drop_null().to_numpy()
        if len(numbers) > 2 and _may_be_dates(numbers):
            example = f"{numbers[0]}"
            date = f"{example[:4]}-{example[4:6]}-{example[6:]}"
            remarks[name] = f"is read as numbers, though {example} may be a date; write dates as {date}"
    rest = [name for name in columns if name not in remarks]
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


def _may_be_dates(numbers: np.ndarray) -> bool:
    """Says whether all numbers are years, months and days of the years 1900 to 2100, and differ."""
    month, day = numbers // 100 % 100, numbers % 100
    in_range = (numbers > 19_000_000) & (numbers < 21_010_000) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    return bool(in_range.all()) and bool((numbers != numbers[0]).any())
