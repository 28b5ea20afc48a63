"""Counts the texts of a column and their kinds, in bounded memory and whatever the order of the batches."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from linreg_pl.data.table.text_shapes import text_bytes


@dataclass
class Tally:
    """The rows of one kind of text.

    Attributes:
        rows: How many there are.
        first_row: The first of them.
        text: The text in the first row.
        texts: The distinct texts, while there are at most `most_texts`; None if there are more.
        most_texts: The limit.
    """

    rows: int = 0
    first_row: int = -1
    text: str = ""
    texts: set[str] | None = field(default_factory=set)
    most_texts: int = 20

    def add(self, rows: int, first_row: int, text: str, texts: set[str] | None) -> None:
        """Adds rows of this kind; `texts` are their distinct texts, None if there are too many."""
        if not self.rows or first_row < self.first_row:
            self.first_row, self.text = first_row, text
        self.rows += rows
        both = None if self.texts is None or texts is None else self.texts | texts
        self.texts = None if both is None or len(both) > self.most_texts else both

    def merge(self, other: "Tally", rows_before: int = 0) -> None:
        """Adds the rows of another tally, which does not count the rows before its own."""
        if other.rows:
            self.add(other.rows, rows_before + other.first_row, other.text, other.texts)


class Tallies(dict[Hashable, Tally]):
    """A tally for each kind of text."""

    def count(
        self, kinds: list[Hashable], codes: np.ndarray, texts: pa.Array, rows: np.ndarray, times: np.ndarray
    ) -> None:
        """Counts texts.

        Args:
            kinds: The kinds.
            codes: The index of each text's kind: (n,).
            texts: The texts: n.
            rows: The first row of each text, ascending: (n,).
            times: How many rows have it: (n,).
        """
        present, first, counts = np.unique(codes, return_index=True, return_counts=True)
        totals = np.bincount(codes, times)[present].astype(np.int64)
        for code, start, count, total in zip(
            *(each.tolist() for each in (present, first, counts, totals)), strict=True
        ):
            tally = self.setdefault(kinds[code], Tally())
            distinct: set[str] | None = None
            if tally.texts is not None:
                same = texts if count == len(texts) else texts.take(pa.array(np.flatnonzero(codes == code)))
                # Most columns of numbers show in their first rows that they have too many.
                if len(same[:1000].unique()) <= tally.most_texts:
                    few = same.unique()
                    distinct = set(few.to_pylist()) if len(few) <= tally.most_texts else None
            tally.add(total, int(rows[start]), texts[start].as_py(), distinct)


class DistinctTexts:
    """The distinct texts of a column, with the number of their rows, while there are at most `limit`.

    Beyond the limit the number of distinct texts is estimated from the smallest of their hashes: among d hashes that
    are spread evenly over [0, 1), the k-th smallest is about k / d (Bar-Yossef et al. 2002, "Counting distinct elements
    in a data stream"). The relative error is about 1 / sqrt(k), 1.6%.
    """

    def __init__(self, limit: int, num_hashes: int = 4096) -> None:
        self.limit = limit
        self.counts: Counter[str] | None = Counter()
        self._num_hashes = num_hashes
        self._smallest = np.empty(0, np.uint64)

    def add(self, texts: pa.Array, times: np.ndarray) -> None:
        """Counts texts (no nulls), each so many times."""
        if self.counts is not None:
            distinct = texts.dictionary_encode()
            counts = np.bincount(np.asarray(distinct.indices), times, len(distinct.dictionary)).astype(np.int64)
            for name, count in zip(distinct.dictionary.to_pylist(), counts.tolist(), strict=True):
                self.counts[name] += count
            if len(self.counts) > self.limit:
                self.counts = None
        self._add_hashes(text_hashes(texts))

    def merge(self, other: "DistinctTexts") -> None:
        """Adds the texts of another part of the column."""
        self.counts = None if self.counts is None or other.counts is None else self.counts + other.counts
        if self.counts is not None and len(self.counts) > self.limit:
            self.counts = None
        self._add_hashes(other._smallest)

    def _add_hashes(self, hashes: np.ndarray) -> None:
        if len(self._smallest) == self._num_hashes:
            hashes = hashes[hashes < self._smallest[-1]]
        if len(hashes):
            self._smallest = np.unique(np.concatenate([self._smallest, hashes]))[: self._num_hashes]

    @property
    def recurs(self) -> bool:
        """Returns whether most texts occur more than once; no beyond the limit."""
        counts = self.counts.values() if self.counts is not None else ()
        return 2 * sum(count for count in counts if count > 1) > sum(counts)

    def __len__(self) -> int:
        """Returns the number of distinct texts, estimated beyond the limit."""
        if self.counts is not None:
            return len(self.counts)
        if len(self._smallest) < self._num_hashes:
            return len(self._smallest)
        return round((self._num_hashes - 1) / (float(self._smallest[-1]) / 2.0**64))


def text_hashes(texts: pa.Array, base: int = 0x9E3779B97F4A7C15) -> np.ndarray:
    """Returns a number for each text, the same in every run: (n,) of 64 bits.

    hash = mix(sum_i (byte_i + 1) base^i mod 2^64), with the mixer of SplitMix64.
    """
    data, starts = text_bytes(texts)
    with np.errstate(over="ignore"):
        powers = np.full(len(data) + 1, base, np.uint64)
        inverses = np.full(len(data) + 1, pow(base, -1, 2**64), np.uint64)
        powers[0] = inverses[0] = 1
        powers, inverses = np.multiply.accumulate(powers), np.multiply.accumulate(inverses)
        terms = (data.astype(np.uint64) + np.uint64(1)) * powers[:-1]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
        hashes: np.ndarray = (sums[starts[1:]] - sums[starts[:-1]]) * inverses[starts[:-1]]
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
        hashes ^= hashes >> np.uint64(31)
        return hashes
