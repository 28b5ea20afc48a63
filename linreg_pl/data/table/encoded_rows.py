"""How do a table's rows become numbers that can be trained on? Encoded, split, and with missing values seen to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from linreg_pl.data.table.csv import is_number, not_a
from linreg_pl.data.table.encoding import LIKE_A_NUMBER, Encoding, UnknownCategory, as_text, is_text
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.rows import evaluation_batch_size, rebatched
from linreg_pl.data.table.split import Part, Split
from linreg_pl.errors import InputError, shortened

Missing = Literal["error", "drop", "mean"]

MOST_COLUMNS = 3
"""Columns with missing values that are named with their counts."""


@dataclass(frozen=True)
class Chunks:
    """The rows of a table as chunks of numbers (n, sum of widths).

    Args:
        widths: D and K; and 1, where the last column is one of weights.
        missing: What becomes of rows with missing values: an error, dropped, or with a feature's mean in their place,
            and dropped where a target or the weight is missing.
        means: Of the features, (D,), for `mean`.
    """

    table: Table
    encoding: Encoding
    split: Split
    widths: tuple[int, ...]
    missing: Missing
    means: np.ndarray | None = field(default=None, compare=False)

    def of(self, part: Part, groups: Sequence[int] | None = None, keeps_missing: bool = False) -> Iterator[np.ndarray]:
        """The rows of a part, in some groups or in all, in their order.

        Args:
            part: All, those to fit, to validate, or to test.
            groups: All if not given.
            keeps_missing: Leave NaN where values are missing.

        Raises:
            InputError: a value is missing where none may be, is no finite number in float32, or is a new category; or
                a weight is negative.
        """
        return (values for _, values in self._numbered(part, groups, keeps_missing))

    def _numbered(
        self, part: Part, groups: Sequence[int] | None = None, keeps_missing: bool = False
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The same, each chunk with the number in the table of the first row that was read for it."""
        columns = list(dict.fromkeys(self.encoding.columns))
        batches = self.table.all_batches(columns) if groups is None else self.table.batches(groups, columns)
        for first, batch in batches:
            try:
                values = self.encoding.numbers(batch)
            except UnknownCategory as error:
                name, row = self.table.place(first + error.row)
                where = f"{name}: column {shortened(error.column)}, row {row}"
                raise InputError(f"{where}: {error.message}") from error
            mask = self.split.mask(part, first, len(values))
            sane = _is_finite(values)
            if not sane:
                self._require_finite(values, first, batch)
            if len(self.widths) > 2:
                self._require_weights(values[:, -1], first)
            values = values if mask is None else values[mask]
            yield first, values if sane or keeps_missing else self._completed(values)

    def counts(self, part: Part) -> list[int]:
        """How many rows of a part each group has; takes a pass over the rows where some are dropped."""
        starts = np.cumsum([0, *self.table.group_rows[:-1]])
        if self.missing == "error":
            each = zip(starts.tolist(), self.table.group_rows, strict=True)
            return [self.split.count(part, start, num_rows) for start, num_rows in each]
        counts = np.zeros(len(starts), dtype=np.int64)
        for first, values in self._numbered(part):
            counts[np.searchsorted(starts, first, side="right") - 1] += len(values)
        found: list[int] = counts.tolist()
        return found

    def _completed(self, values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        if not missing.any():
            return values
        if self.missing == "error":
            raise InputError(self._missing_values())
        if self.means is not None:
            num_features = len(self.means)
            values = values.copy()
            np.copyto(values[:, :num_features], self.means.astype(values.dtype), where=missing[:, :num_features])
            missing = np.isnan(values)
        complete: np.ndarray = values[~missing.any(axis=1)]
        return complete

    def _require_weights(self, weights: np.ndarray, first: int) -> None:
        negative = weights < 0
        if negative.any():
            index = int(negative.argmax())
            name, row = self.table.place(first + index)
            raise InputError(
                f"{name}: column {shortened(self.encoding.columns[-1])}, row {row}: the weight is {weights[index]:g};"
                " weights are 0 or more: correct it, or give --data.weight another column"
            )

    def _require_finite(self, values: np.ndarray, first: int, batch: pa.RecordBatch) -> None:
        with np.errstate(over="ignore"):
            infinite = np.isinf(values.astype(np.float32)).any(axis=1)
        if not infinite.any():
            return
        index = int(infinite.argmax())
        column = next(name for name in self.encoding.columns if _is_infinite(batch.column(name)[index]))
        name, row = self.table.place(first + index)
        raise InputError(
            f"{name}: column {shortened(column)}, row {row}: {batch.column(column)[index].as_py()} is not a finite"
            " number in float32, which ends at 3.4e38; correct it, or leave such rows out"
        )

    def _missing_values(self) -> str:
        counts = dict.fromkeys(self.encoding.columns, 0)
        first_row: dict[str, int] = {}
        for first, batch in self.table.all_batches(list(counts)):
            for name in counts:
                empty = pc.is_null(batch.column(name), nan_is_null=True)
                here = pc.sum(empty).as_py() or 0
                if here and not counts[name]:
                    first_row[name] = first + pc.index(empty, True).as_py()
                counts[name] += here
        with_some = [name for name, count in counts.items() if count]
        listed = [
            f"{shortened(name)} in {counts[name]} of {self.table.num_rows} rows"
            for name in sorted(with_some, key=lambda name: first_row[name])[:MOST_COLUMNS]
        ]
        more = f" and {len(with_some) - MOST_COLUMNS} columns more" if len(with_some) > MOST_COLUMNS else ""
        column = min(with_some, key=lambda name: first_row[name])
        name, row = self.table.place(first_row[column])
        return (
            f"{name}: column {shortened(column)}, row {row}: a value is missing (empty, NA, NaN or null), in all"
            f" {', '.join(listed)}{more}; fill them in, or give --data.missing drop, or mean"
        )


def means(chunks: Chunks) -> Tensor:
    """Weighted means of the features over the rows to fit that have them, (D,), float64.

    Raises:
        InputError: a feature has not a single value.
    """
    total = torch.zeros(chunks.widths[0], dtype=torch.float64)
    weight = torch.zeros_like(total)
    rows = chunks.of("fit", keeps_missing=True)
    # Cut evenly, so that sums round alike whatever file the rows come from.
    for x, *others in rebatched(rows, evaluation_batch_size(sum(chunks.widths)), chunks.widths, torch.float64):
        complete = ~torch.cat(others, dim=1).isnan().any(dim=1)
        x, weights = x[complete], others[1][complete] if len(others) > 1 else torch.ones(1, 1)
        total += (weights * x).nansum(dim=0)
        weight += (weights * ~x.isnan()).sum(dim=0, dtype=torch.float64)
    for name, known in zip(chunks.encoding.feature_names, weight.tolist(), strict=True):
        if not known:
            raise InputError(
                f"{chunks.table.name}: column {shortened(name)} has no value in the rows to fit, so it has no mean;"
                " leave it out of --data.features"
            )
    return total / weight


def categories(table: Table, columns: Sequence[str], split: Split, most: int) -> dict[str, list[str]]:
    """The texts that the rows to fit have in each of some columns, sorted.

    Raises:
        InputError: they are more than `most`, or are numbers in truth.
    """
    found: dict[str, set[str]] = {name: set() for name in columns}
    if not columns:
        return {}
    for first, batch in table.all_batches(columns):
        mask = split.mask("fit", first, batch.num_rows)
        for name in columns:
            texts = as_text(batch.column(name))
            chosen = texts if mask is None else texts.filter(pa.array(mask))
            found[name].update(chosen.unique().drop_null().to_pylist())
            if len(found[name]) > most:
                raise InputError(
                    f"{table.name}: column {shortened(name)} holds text, of more than {most} kinds"
                    f" ({', '.join(map(shortened, sorted(found[name])[:2]))}, …), and each would be a column; leave it"
                    " out of --data.features, or raise --data.max_categories"
                )
    for name in columns:
        is_dictionary = pa.types.is_dictionary(table.schema.field(name).type)
        if not is_dictionary and any(LIKE_A_NUMBER.fullmatch(text.strip()) for text in found[name]):
            refuse_text(table, name)
        if not found[name]:
            raise InputError(
                f"{table.name}: column {shortened(name)} holds no text in the rows to fit; leave it out of"
                " --data.features"
            )
    return {name: sorted(values) for name, values in found.items()}


def refuse_text(table: Table, column: str) -> None:
    """Says of a column of numbers that it holds text: the first that is no number, or the first of all.

    Raises:
        InputError: always.
    """
    first_number = ""
    for first, batch in table.all_batches([column]):
        for index, text in enumerate(as_text(batch.column(column)).to_pylist()):
            name, row = table.place(first + index)
            if text is not None and not is_number(text):
                raise InputError(not_a("number", name, column, row, text))
            if text is not None and not first_number:
                first_number = f"{shortened(text)} in row {row}"
    raise InputError(
        f"{table.name}: column {shortened(column)} holds text, {first_number or 'all of it missing'}; write its values"
        " as numbers, or choose other columns with --data.features and --data.target"
    )


def _is_finite(values: np.ndarray) -> bool:
    """Whether all are finite in float32; may deny it where only their sum is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.astype(np.float32, copy=False).sum()))


def _is_infinite(value: pa.Scalar) -> bool:
    number = value.as_py()
    if number is None or is_text(value.type):
        return False
    with np.errstate(over="ignore"):
        return bool(np.isinf(np.float32(number)))
