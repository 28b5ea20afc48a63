"""Reads dates and clock times from text: days since 1970-01-01, or fractions of a day.

    2024-01-05    2024-01-05T10:00:00Z    2024-01    31.12.2023    12/31/2023    Jan 5, 2024    5-Jan-24    7:05:30.5 pm

A time of day is a fraction of a day. Times with a zone are converted to UTC; times without one are taken as they are.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.text_shapes import ShapedTexts, cleaned


@dataclass(frozen=True)
class DateShape:
    """The parts of a date's or clock time's shape, and where its digits are.

    Attributes:
        kind: "numeric" (5/1/2024 or 1/5/2024), "date" (any other date) or "clock".
        fields: First and last character of year, month, day, hour, minute, second, fraction and the zone's hours and
            minutes, where the shape has them. Numeric dates have the fields first, second and third.
        month: The month, where the shape names it.
        separator: What stands between the numbers of a numeric date.
        zoned: Whether the time has a zone, None without a time.
        zone_sign: The sign of the zone's distance from UTC.
        half: "am" or "pm", or "" for a clock of 24 hours.
    """

    kind: str
    fields: dict[str, tuple[int, int]]
    month: int
    separator: str
    zoned: bool | None
    zone_sign: int
    half: str

    @property
    def short_year(self) -> bool:
        """Says whether the year has two digits."""
        start, end = self.fields.get("year") or self.fields.get("third") or (0, 4)
        return end - start == 2


@dataclass(frozen=True)
class DateFormat:
    """The notation of a column of dates or of clock times.

    Args:
        order: Order of a date such as 1/2/2024: "dmy", "mdy", or "ymd" for two-digit years first; "" refuses them.
            Dates with a four-digit year first and dates with the month's name need no order.
        zoned: Whether times have a zone, and become UTC.
        clock: Whether these are clock times without a date.
        missing: Further texts that stand for a missing value.
    """

    order: str = ""
    zoned: bool = False
    clock: bool = False
    missing: tuple[str, ...] = ()

    def numbers(self, texts: pa.Array) -> pa.Array:
        """Returns days since 1970-01-01, or fractions of a day: float64 (n,).

        A text that is null or no such date becomes null. Two-digit years from 69 on are 19xx, others 20xx.
        Fractions of a second are read to the microsecond.
        """
        texts = cleaned(texts, self.missing)
        valid = np.asarray(pc.is_valid(texts))
        shaped = ShapedTexts.of(texts.drop_null() if texts.null_count else texts)
        days = np.full(len(shaped.texts), np.nan)
        for index, shape in enumerate(shaped.shapes):
            parts = date_shape(shape)
            if parts is not None and (parts.kind == "clock") == self.clock and parts.zoned in (None, self.zoned):
                positions, digits = shaped.digits(index, len(shape))
                days[positions] = day_numbers(parts, digits, self.order)
        numbers = np.full(len(texts), np.nan)
        numbers[valid] = days
        return pa.array(numbers, mask=np.isnan(numbers))

    def others_fit(self, texts: Sequence[str]) -> str | None:
        """Returns the first text that is a date in another order of day, month and year; None if there is none."""
        for order in {"dmy", "mdy", "ymd"} - {self.order} if self.order else ():
            numbers = replace(self, order=order).numbers(pa.array(texts, pa.string()))
            fitting = [text for text, number in zip(texts, numbers.to_pylist(), strict=True) if number is not None]
            if fitting:
                return fitting[0]
        return None

    def to_dict(self) -> dict[str, Any]:
        """Returns the notation as plain values, for a checkpoint."""
        return {**asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "DateFormat":
        """Returns the notation that `to_dict` has stored."""
        return cls(**{**values, "missing": tuple(values["missing"])})


@lru_cache(maxsize=20_000)
def date_shape(shape: str) -> DateShape | None:
    """Returns the parts of a shape that may be a date or a clock time; None for other shapes."""
    if not shape.isascii():
        return None
    for kind, pattern in _patterns():
        match = pattern.fullmatch(shape)
        if match is None:
            continue
        groups = match.groupdict()
        places = ("year", "month", "day", "first", "second_", "third", "hour", "minute", "second", "fraction")
        fields = {
            name.rstrip("_") if name != "second_" else "middle": match.span(name)
            for name in (*places, "zone_hour", "zone_minute")
            if groups.get(name) is not None
        }
        name = groups.get("name")
        month = (
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"].index(name[:3].lower())
            + 1
            if name
            else 0
        )
        zoned = None if "hour" not in fields else groups["zone"] is not None
        if kind == "clock" and zoned:
            return None
        half = (groups["half"] or "").lower().replace(".", "")
        sign = -1 if groups.get("zone_sign") == "-" else 1
        return DateShape(kind, fields, month, groups.get("separator") or "", zoned, sign, half)
    return None


@lru_cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    time = (
        r"(?P<hour>[09]9?):(?P<minute>[09]9)(:(?P<second>[09]9)([.,](?P<fraction>[09]+))?)?"
        r"(\s?(?P<half>[ap]\.?m\.?))?(?P<zone>\s?(Z|UTC|GMT|(?P<zone_sign>[+-])(?P<zone_hour>[09]9):?(?P<zone_minute>[09]9)?))?"
    )
    months = (
        "jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?|oct(ober)?|nov(ember)?"
        "|dec(ember)?"
    )
    named = rf"(?P<name>{months})\.?"
    weekday = r"((mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?[.,]*\s+)?"
    dates = {
        "date": [
            r"(?P<year>[09]999)(?P<separator>[-/.])(?P<month>[09]9?)(?P=separator)(?P<day>[09]9?)",
            r"(?P<year>[09]999)[-/](?P<month>[09]9)",
            rf"(?P<year>[09]999)[-/. ]{named}[-/. ](?P<day>[09]9?)",
            rf"{weekday}(?P<day>[09]9?)(st|nd|rd|th|\.)?[-/ ]?{named},?[-/ ]?(?P<year>[09]9(99)?)",
            rf"{weekday}{named}[-/ ](?P<day>[09]9?)(st|nd|rd|th)?(,\s*|[-/ ])(?P<year>[09]999)",
            rf"{named},?[-/ ](?P<year>[09]999)",
        ],
        "numeric": [
            r"(?P<first>[09]9?)(?P<separator>[-/.])(?P<second_>[09]9?)(?P=separator)(?P<third>[09]999)",
            r"(?P<first>[09]9)(?P<separator>[-/.])(?P<second_>[09]9)(?P=separator)(?P<third>[09]9)",
            r"(?P<first>[09]9?)(?P<separator>/)(?P<second_>[09]9?)/(?P<third>[09]9)",
        ],
    }
    flags = re.IGNORECASE
    patterns = [
        (kind, re.compile(rf"{date}((T|,?\s+){time})?", flags)) for kind, forms in dates.items() for date in forms
    ]
    return [*patterns, ("clock", re.compile(time, flags))]


def day_numbers(shape: DateShape, digits: np.ndarray, order: str) -> np.ndarray:
    """Returns the days of texts of one shape, NaN for dates that do not exist: shape (n,).

    Args:
        shape: The parts of the shape.
        digits: The texts' characters as digits: (n, length).
        order: The order of a numeric date: "dmy", "mdy" or "ymd".
    """

    def value(name: str, default: int = 0) -> np.ndarray:
        number = np.zeros(len(digits), np.int64)
        if name not in shape.fields:
            return number + default
        start, end = shape.fields[name]
        for place in range(start, end):
            number = number * 10 + digits[:, place]
        return number

    hour, minute, second = value("hour"), value("minute"), value("second")
    valid = (minute < 60) & (second < 60) & (value("zone_hour") < 15) & (value("zone_minute") < 60)
    if shape.half:
        valid &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + (12 if shape.half == "pm" else 0)
    valid &= hour < 24
    seconds = hour * 3600 + minute * 60 + second
    seconds -= shape.zone_sign * (value("zone_hour") * 3600 + value("zone_minute") * 60)
    microseconds = np.zeros(len(digits), np.int64)
    if "fraction" in shape.fields:
        start, end = shape.fields["fraction"]
        for place in range(6):
            microseconds = microseconds * 10 + (digits[:, start + place] if start + place < end else 0)
    if shape.kind != "clock":
        if shape.kind == "numeric" and not order:
            return np.full(len(digits), np.nan)
        if shape.kind == "numeric":
            numbers = dict(zip(order, (value("first"), value("middle"), value("third")), strict=True))
            year, month, day = numbers["y"], numbers["m"], numbers["d"]
            if order == "ymd" and not shape.short_year:
                valid &= False
        else:
            year, month, day = value("year"), value("month", shape.month), value("day", 1)
        if shape.short_year:
            year = year + np.where(year >= 69, 1900, 2000)
        date, exists = _days(year, month, day)
        valid &= exists
        seconds = seconds + 86_400 * date
    days = _as_days(seconds, microseconds)
    days[~valid] = np.nan
    return days


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns days since 1970-01-01 (proleptic Gregorian calendar), and which dates exist: two of shape (n,)."""
    exists = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return first + day - 1, exists & (day <= following - first)


def _as_days(seconds: np.ndarray, microseconds: np.ndarray) -> np.ndarray:
    """Returns times in days, rounded once where float64 holds the number of microseconds (years 1685 to 2255)."""
    whole = seconds * 1_000_000 + microseconds
    exact = np.abs(whole) < 2**53
    split = np.floor_divide(seconds, 86_400) + (np.mod(seconds, 86_400) * 1_000_000 + microseconds) / 86_400e6
    days: np.ndarray = np.where(exact, whole / 86_400e6, split)
    return days
