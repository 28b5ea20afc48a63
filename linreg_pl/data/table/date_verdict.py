"""Decides how the dates or clock times of a column are written."""

import pyarrow as pa

from linreg_pl.data.table.date_text import DateFormat
from linreg_pl.data.table.evidence import DateKind, Evidence, merged
from linreg_pl.data.table.text_counts import Tally
from linreg_pl.data.table.verdicts import Dates, Doubt, Remedy


def date_verdict(evidence: Evidence, clock: bool) -> Dates | Doubt:
    """Returns the notation of a column that is mostly dates (or clock times), or the doubt about it."""
    main = {kind: tally for kind, tally in evidence.dates.items() if (kind.kind == "clock") == clock}
    odd = [evidence.others, *evidence.numbers.values()]
    odd += [tally for kind, tally in evidence.dates.items() if kind not in main]
    order = _order(evidence, main)
    if order:
        odd += [tally for kind, tally in main.items() if kind.kind == "numeric" and order not in kind.orders]
        main = {kind: tally for kind, tally in main.items() if kind.kind != "numeric" or order in kind.orders}
    zoned = merged(tally for kind, tally in main.items() if kind.zoned)
    unzoned = merged(tally for kind, tally in main.items() if not kind.zoned)
    mixes_zones = bool(zoned.rows and unzoned.rows)
    if merged(odd).rows:
        name = "clock times" if clock else "dates"
        return evidence.odd_values(name, main.values(), odd, settled=order is not None and not mixes_zones)
    if mixes_zones:
        rarer = min(zoned, unzoned, key=lambda tally: (tally.rows, tally.first_row))
        return evidence.doubt("mixes times with and without a time zone", rarer)
    if order is None:
        shown = merged(tally for kind, tally in main.items() if kind.kind == "numeric")
        reason = f"{shown.text!r} may have the day or the month first"
        slashed = any(kind.slashed for kind in main)
        flags = [Remedy("day_first", value) for value in ((False, True) if slashed else (True, False))]
        return evidence.doubt(reason, shown, *flags)
    form = DateFormat(order, bool(zoned.rows), clock, evidence.missing)
    return Dates(form, _remark(evidence, form, main))


def _order(evidence: Evidence, kinds: dict[DateKind, Tally]) -> str | None:
    """Returns the order of numeric dates; "" if there are none, None in doubt."""
    numeric = {kind: tally for kind, tally in kinds.items() if kind.kind == "numeric"}
    given = {None: "", True: "dmy", False: "mdy"}[evidence.rules.day_first]
    if given or not numeric:
        return given
    rows = {
        order: sum(tally.rows for kind, tally in numeric.items() if order in kind.orders)
        for order in ("dmy", "mdy", "ymd")
    }
    if rows["dmy"] != rows["mdy"]:
        best = max("dmy", "mdy", key=rows.__getitem__)
        return best if rows[best] >= rows["ymd"] else "ymd"
    if rows["ymd"] > rows["dmy"]:
        return "ymd"
    # Countries that write points put the day first.
    return "dmy" if all(kind.dotted for kind in numeric) else None


def _remark(evidence: Evidence, form: DateFormat, kinds: dict[DateKind, Tally]) -> str:
    """Returns how the dates are read."""
    text = merged(kinds.values()).text
    number = f"{form.numbers(pa.array([text]))[0].as_py():.15g}"
    unit = "fractions of a day" if form.clock else "days since 1970-01-01"
    remarks = [f"is read as {unit}: {text!r} is {number}"]
    if form.zoned:
        remarks.append("times are converted to UTC")
    if any(kind.short_year for kind in kinds):
        remarks.append("years 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068")
    return "; ".join([*remarks, *evidence.mark_remark()])
