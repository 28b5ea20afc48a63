"""Looks through a column of texts and decides what it is: numbers, dates, categories, or of no use."""

import re
from collections.abc import Hashable
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from linreg_pl.data.table.date_text import date_shape, day_numbers
from linreg_pl.data.table.date_verdict import date_verdict
from linreg_pl.data.table.decorated_numbers import is_range
from linreg_pl.data.table.evidence import DateKind, Evidence, has_unit, merged
from linreg_pl.data.table.learnt import REST
from linreg_pl.data.table.number_text import NumberShape, number_shape
from linreg_pl.data.table.number_verdict import number_verdict
from linreg_pl.data.table.text_counts import DistinctTexts, Tallies, Tally
from linreg_pl.data.table.text_shapes import MISSING_TEXTS, ShapedTexts, cleaned
from linreg_pl.data.table.verdicts import Categories, Dates, Doubt, LeftOut, Numbers, Remedy, TextRules, Verdict


class TextColumn:
    """A column of texts that is looked through batch by batch; the verdict depends on its rows alone.

    Memory is bounded: it holds some thousand distinct texts. With `rare_as_other` it holds up to a million.

    Args:
        rules: The user's choices.
    """

    most_units = 10
    """A column with more units than this is text, such as 12 Main Street."""
    most_waiting = 10_000
    """Texts that are counted together, at most."""

    def __init__(self, rules: TextRules) -> None:
        self.rules = rules
        self.num_rows = 0
        self._num_null = 0
        self._num_marks = 0
        self._tallies = Tallies()
        self._waiting: dict[str | None, tuple[int, int]] = {}  # the first row and the number of rows of each text
        limit = 1_000_000 if rules.rare_as_other else 10_000
        self._distinct = DistinctTexts(max(limit, rules.max_categories))

    @property
    def num_missing(self) -> int:
        """Returns the number of rows without a value; after a verdict of numbers or dates, also marks such as -."""
        self._add_waiting()
        return self._num_null + self._num_marks

    def add(self, texts: pa.Array, first_row: int) -> None:
        """Counts a batch of texts, or of codes of texts, some null, behind those that were counted before.

        Args:
            texts: The batch.
            first_row: The number of its first row in the table.
        """
        self.num_rows += len(texts)
        head = texts[:1000]
        if not pa.types.is_dictionary(texts.type) and 2 * len(head.unique()) <= len(head):
            texts = texts.dictionary_encode()
        if not pa.types.is_dictionary(texts.type):
            self._add(texts, first_row + np.arange(len(texts)), np.ones(len(texts), np.int64))
            return
        codes = texts.indices.cast(pa.int64()).fill_null(len(texts.dictionary)).to_numpy()
        times = np.bincount(codes, minlength=1 + len(texts.dictionary))
        present = np.flatnonzero(times)
        distinct = pa.concat_arrays([texts.dictionary, pa.nulls(1, texts.dictionary.type)]).take(pa.array(present))
        labels, counts, firsts = distinct.to_pylist(), times[present].tolist(), [first_row] * len(present)
        if not all(text in self._waiting for text in labels):
            first = np.empty(len(times), int)
            first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last value that is written is that of the first row
            firsts = (first_row + first[present]).tolist()
        for text, row, count in zip(labels, firsts, counts, strict=True):
            known_row, known_count = self._waiting.get(text, (row, 0))
            self._waiting[text] = known_row, known_count + count
        if len(self._waiting) > self.most_waiting:
            self._add_waiting()

    def _add_waiting(self) -> None:
        """Counts the texts that wait: together they take less time than batch by batch."""
        waiting = sorted(self._waiting.items(), key=lambda item: item[1][0])
        self._waiting = {}
        if waiting:
            rows, times = np.array([entry for _, entry in waiting]).T
            self._add(pa.array([text for text, _ in waiting], pa.string()), rows, times)

    def _add(self, texts: pa.Array, rows: np.ndarray, times: np.ndarray) -> None:
        """Counts texts, each in so many rows, of which the first one is given; the arguments are (n,)."""
        if len(texts) > 1 and texts.nbytes > 2_000_000:  # the arrays below need many times this memory
            half = len(texts) // 2
            for part in (slice(0, half), slice(half, None)):
                self._add(texts[part], rows[part], times[part])
            return
        clean = cleaned(texts, self.rules.missing_values)
        is_valid = np.asarray(pc.is_valid(clean))
        self._num_null += int(times[~is_valid].sum())
        if not is_valid.any():
            return
        rows, times = rows[is_valid], times[is_valid]
        verbatim = texts.cast(pa.string()).filter(pc.is_valid(clean))
        self._distinct.add(verbatim, times)
        kinds, codes = _kinds(ShapedTexts.of(clean.drop_null()))
        self._tallies.count(kinds, codes, verbatim, rows, times)
        self._merge_units()

    def merge(self, other: "TextColumn", rows_before: int) -> None:
        """Adds what another process has counted in rows that follow; it counted them from 0, not from `rows_before`."""
        self._add_waiting()
        other._add_waiting()
        self.num_rows += other.num_rows
        self._num_null += other._num_null
        self._distinct.merge(other._distinct)
        for kind, tally in other._tallies.items():
            self._tallies.setdefault(kind, Tally()).merge(tally, rows_before)
        self._merge_units()

    def _merge_units(self) -> None:
        """Takes numbers with units for text once there are more than `most_units` units."""
        units = [kind for kind in self._tallies if isinstance(kind, NumberShape) and has_unit(kind)]
        distinct = {(kind.prefix, kind.suffix) for kind in units}
        if "units" in self._tallies or len(distinct) > self.most_units:
            total = self._tallies.setdefault("units", Tally())
            for kind in units:
                total.merge(self._tallies.pop(kind))

    def verdict(self) -> Verdict:
        """Returns what the column is."""
        self._add_waiting()
        evidence = self._evidence()
        num_dates = sum(tally.rows for kind, tally in evidence.dates.items() if kind.kind != "clock")
        num_clocks = merged(evidence.dates.values()).rows - num_dates
        num_numbers = merged(evidence.numbers.values()).rows
        num_values = num_numbers + num_dates + num_clocks + evidence.others.rows
        self._num_marks = 0
        if not num_values + evidence.marks.rows:
            return LeftOut("is empty")
        if not num_values and not self._marks_are_labels():
            self._num_marks = evidence.marks.rows
            return LeftOut(f"is empty but for {evidence.marks.text!r}")
        if self.rules.categorical:
            return self._categories(evidence)
        if self._is_text(evidence, num_values):
            if self.rules.categories_allowed and not self.rules.numbers:
                return self._categories(evidence)
            return evidence.doubt("contains text", evidence.others if evidence.others.rows else evidence.marks)
        if num_numbers >= max(num_dates, num_clocks):
            verdict: Verdict = number_verdict(evidence)
        else:
            verdict = date_verdict(evidence, clock=num_clocks > num_dates)
        if isinstance(verdict, Numbers | Dates):
            self._num_marks = evidence.marks.rows
        return verdict

    def _evidence(self) -> Evidence:
        """Returns the tallies, with kinds that are only labels in this column among the others."""
        numbers = {kind: tally for kind, tally in self._tallies.items() if isinstance(kind, NumberShape)}
        dates = {kind: tally for kind, tally in self._tallies.items() if isinstance(kind, DateKind)}
        others = [self._tallies.get(name, Tally()) for name in ("label", "range", "units", "no month")]
        if "range" in self._tallies:  # <18 is a label beside 18-65
            others += [numbers.pop(kind) for kind in list(numbers) if not kind.notations]
        # 1998-99 is a season, and so is 2000-01 beside it.
        if "no month" in self._tallies:
            others += [dates.pop(kind) for kind in list(dates) if kind.kind == "month"]
        units = {kind.suffix for kind in numbers if has_unit(kind)}
        letters = all(len(unit) == 1 and unit.isalpha() for unit in units)
        if not self.rules.numbers and letters and len(units) > 1 and not units <= set("kKmMbBtTgG"):
            others += [numbers.pop(kind) for kind in list(numbers) if has_unit(kind)]  # 1a, 1b
        marks = merged(self._tallies.get(name, Tally()) for name in ("mark", "absent"))
        return Evidence(self.rules, numbers, dates, merged(others), marks, len(self._distinct), self._distinct.recurs)

    def _marks_are_labels(self) -> bool:
        """Says whether a column of marks alone is one of labels, such as + and -."""
        return "mark" in self._tallies and len(self._distinct) > 1 and "absent" not in self._tallies

    def _is_text(self, evidence: Evidence, num_values: int) -> bool:
        """Says whether at least half of the rows, or of a few recurring texts, are neither numbers nor dates."""
        others = evidence.others
        if 2 * others.rows >= num_values:
            return True
        texts = others.texts or set()
        return evidence.num_distinct <= min(20, 2 * len(texts)) and 4 * others.rows >= num_values

    def _categories(self, evidence: Evidence) -> Verdict:
        """Returns the categories of a column of text, or why it has none."""
        rules, distinct = self.rules, len(self._distinct)
        rows = self.num_rows - self._num_null
        differs = (distinct >= 0.9 * rows and distinct > 10) or distinct > max(rules.max_categories, 0.5 * rows)
        if differs and not (rules.wanted or rules.categorical):
            number = distinct if self._distinct.counts is not None else f"about {min(distinct, rows)}"
            return LeftOut(f"differs in {number} of {rows} rows")
        counts = self._distinct.counts
        has_other = distinct > rules.max_categories
        if has_other and (counts is None or not rules.rare_as_other):
            number = distinct if counts is not None else f"about {distinct}"
            remedies = [Remedy("exclude")] if rules.rare_as_other else [Remedy("rare", "other"), Remedy("exclude")]
            remedies += [Remedy("max_categories", distinct)] if counts is not None else []
            reason = f"has {number} categories, more than {rules.max_categories}"
            return Doubt(reason, None, None, remedies)
        assert counts is not None
        names = sorted(counts)
        if has_other:  # a category that is called like the rest joins it
            names = sorted(set(counts) - {REST}, key=lambda name: (-counts[name], name))
            names = sorted(names[: rules.max_categories - 1])
        return Categories(names, has_other, None if rules.categorical else self._remark(evidence))

    def _remark(self, evidence: Evidence) -> str | None:
        """Returns which of the categories looks like a number or a date."""
        likely = merged([*evidence.numbers.values(), *evidence.dates.values()])
        return f"is read as categories; one of them is {likely.text!r}" if likely.rows else None


def _kinds(shaped: ShapedTexts) -> tuple[list[Hashable], np.ndarray]:
    """Returns the kinds of texts, and the index of each text's kind: (n,)."""
    kinds: dict[Hashable, int] = {"label": 0}
    by_shape = np.zeros(len(shaped.shapes), np.int64)
    dates = []
    for index in np.flatnonzero(_candidates(shaped.shapes)).tolist():
        shape = shaped.shapes[index]
        kind: Hashable = _mark(shape) or number_shape(shape)
        if kind is None and date_shape(shape) is not None:
            dates.append(index)
        elif kind is None and is_range(shape):
            kind = "range"
        by_shape[index] = kinds.setdefault(kind or "label", len(kinds))
    codes = by_shape[shaped.codes]
    for index in dates:
        positions, kind_codes = _date_codes(shaped, index, kinds)
        codes[positions] = kind_codes
    return list(kinds), codes


def _candidates(shapes: list[str]) -> np.ndarray:
    """Returns which shapes may be numbers, dates or marks: (n,). Millions of labels need no slower look."""
    number = r"^[^09]*[09][09., ']*([eE][+-]?[09]+)?[^09]*$"
    date = r"^([a-z]{3,9}[., /-]+)*[09]{1,4}(st|nd|rd|th)?([-/.:, ']|[a-z]{3,9}\b|[a-z]{3,9}[09])"
    words = r"^[-+]?(inf(inity)?|nan)$|^(n/?a|none|null)$|^[#<].*n/?a"
    signs = r"^[-+]?[09][09.,' ]*([_±(x×·*]|\+/-|to|–|—)"
    pattern = rf"(?i){number}|{date}|{signs}|{words}|^[^\pL\pN]*$"
    return np.asarray(pc.match_substring_regex(pa.array(shapes, pa.string()), pattern))


def _date_codes(shaped: ShapedTexts, index: int, kinds: dict[Hashable, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the positions of the texts of a date's shape, and the index of each text's kind: two of (m,)."""
    shape = shaped.shapes[index]
    parts = date_shape(shape)
    assert parts is not None
    positions, digits = shaped.digits(index, len(shape))
    if parts.kind != "numeric":
        kind = "month" if parts.kind == "date" and "day" not in parts.fields and not parts.month else parts.kind
        exists = ~np.isnan(day_numbers(parts, digits, ""))
        valid = kinds.setdefault(DateKind(kind, parts.zoned, short_year=parts.short_year), len(kinds))
        invalid = kinds.setdefault("no month" if kind == "month" else "label", len(kinds))
        return positions, np.where(exists, valid, invalid)
    orders = ("dmy", "mdy", "ymd")
    masks = sum(
        (~np.isnan(day_numbers(parts, digits, order))).astype(np.int64) << bit for bit, order in enumerate(orders)
    )
    codes = np.zeros(8, np.int64)
    for mask in np.unique(masks).tolist():
        allowed = frozenset(order for bit, order in enumerate(orders) if mask >> bit & 1)
        separator = parts.separator
        numeric = DateKind("numeric", parts.zoned, allowed, separator == ".", separator == "/", parts.short_year)
        codes[mask] = kinds.setdefault(numeric if allowed else "label", len(kinds))
    return positions, codes[masks]


@lru_cache(maxsize=20_000)
def is_mark(text: str) -> bool:
    """Says whether a text is a missing value in a column of numbers or dates."""
    return not text.strip() or _mark(re.sub(r"\d", "9", text.strip())) is not None


def _mark(shape: str) -> str | None:
    """Returns whether a shape is "absent" (pandas' texts for missing values), a "mark" such as -, or neither."""
    if shape in _missing_shapes():
        return "absent"
    return "mark" if re.fullmatch(r"[^\w$€£¥%‰]+", shape) else None


@lru_cache
def _missing_shapes() -> frozenset[str]:
    return frozenset(re.sub(r"\d", "9", text) for text in MISSING_TEXTS)
