"""Describes what each column of a table is taken for."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.column_types import is_temporal
from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.fitted_table import FittedTable
from linreg_pl.errors import quoted


class Description(NamedTuple):
    """What the program makes of one column."""

    name: str
    kind: str  # number, date, time of day, duration in days, categories, left out, or not usable
    missing: int | None  # number of rows without a value, if it was counted
    values: str  # the range, the categories, or why it can't be used


def descriptions(fitted: FittedTable) -> Iterator[Description]:
    """Yields a description of each column of the table, in the table's order. Takes a pass over the rows."""
    design, result = fitted.design, fitted.surveyed
    complaints = {each.column: each.reason for each in result.complaints}
    schema = fitted.table.schema
    others = [name for name in design.others if name in schema.names and name not in complaints]
    rows = fitted.rows(fitted.table, result.learnt, others, len(others), drop_first=False)
    low, high = np.full(len(rows.encoding.sources), np.inf), np.full(len(rows.encoding.sources), -np.inf)
    missing = np.zeros(len(low), int)
    for _, values in rows.numbered("all", keeps_missing=True):
        missing += np.isnan(values).sum(axis=0)
        low = np.fmin(low, np.fmin.reduce(values, axis=0, initial=np.inf))
        high = np.fmax(high, np.fmax.reduce(values, axis=0, initial=-np.inf))
    places = {name: index for index, name in reversed(list(enumerate(rows.encoding.sources)))}
    for name in design.source.columns:
        if name in complaints:
            yield Description(name, "not usable", None, complaints[name])
        elif name in result.left_out:
            yield Description(name, "left out", None, f"it {result.left_out[name]}")
        elif name not in places:
            yield Description(name, "left out", None, "excluded, not among --data.features, or without a name")
        elif name in result.categories:
            categories = result.categories[name]
            kind = "1 category" if len(categories) == 1 else f"{len(categories)} categories"
            yield Description(name, kind, int(missing[places[name]]), quoted(categories, 4))
        else:
            index, notation, type_ = places[name], result.formats.get(name), schema.field(name).type
            show: Callable[[float], str] = _number
            kind = "number"
            if pa.types.is_duration(type_):
                kind = "duration in days"
            elif (isinstance(notation, DateFormat) and notation.clock) or pa.types.is_time(type_):
                kind, show = "time of day", _clock_time
            elif isinstance(notation, DateFormat) or is_temporal(type_):
                kind, show = "date", _date
            span = f"{show(low[index])} … {show(high[index])}" if low[index] <= high[index] else ""
            yield Description(name, kind, int(missing[index]), span)


def _date(days: float) -> str:
    """Returns a number of days since 1970-01-01 as a date, with the time if it is not midnight."""
    moment = np.datetime64(round(days * 86_400), "s")
    return str(moment.astype("datetime64[D]") if days == int(days) else moment)


def _number(value: float) -> str:
    return f"{value:.6g}"


def _clock_time(days: float) -> str:
    """Returns a fraction of a day as a time of day."""
    text = str(np.datetime64(round(days * 86_400), "s")).partition("T")[2]
    return text.removesuffix(":00")
