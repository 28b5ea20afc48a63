"""The table with the rows to fit, and what is learnt of its columns: categories and means."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from linreg_pl.data.progress import Watch
from linreg_pl.data.table.csv import parses_as_number, parses_as_truth_value, without_rows, wrong_kind
from linreg_pl.data.table.design import Design
from linreg_pl.data.table.encoded_rows import EncodedRows
from linreg_pl.data.table.encoding import NUMBER_OR_DATE, Encoding, as_text, is_text
from linreg_pl.data.table.row_groups import Table
from linreg_pl.data.table.rows import evaluation_batch_size, rebatched
from linreg_pl.data.table.sources import Source
from linreg_pl.data.table.split import Split
from linreg_pl.errors import InputError, quoted, repeated, shortened


class FittedTable:
    """The table with the rows to fit. It is opened, and its categories and means are learnt, when first needed.

    Args:
        design: Which columns, and how they are encoded.
        split: Which rows to fit, to validate and to test.
        memory_limit: Bytes up to which a CSV or Arrow file is held in memory.
        watch: Sees each pass over all rows.
    """

    def __init__(self, design: Design, split: Split, memory_limit: float, watch: Watch) -> None:
        self.design, self.split = design, split
        self._memory_limit, self._watch = memory_limit, watch
        self._learnt = design.learnt

    @property
    def learnt(self) -> dict[str, Any]:
        """Returns the features and what has been learnt of them so far, as plain types for a checkpoint."""
        return replace(self._learnt, features=self.design.features).to_dict()

    @cached_property
    def feature_names(self) -> list[str]:
        """Returns the names of the columns of x, `column=value` for a category.

        If there are text columns, this takes a pass over the rows to find the categories, unless they are known.
        """
        return self._encoding([]).feature_names if self.design.text else self.design.features

    @property
    def complete_categories(self) -> list[list[str]]:
        """Returns the categories of each text column, as features, where none is left out."""
        categories = {} if self.design.drop_first or not self.design.text else self._encoding([]).categories
        return [[f"{name}={value}" for value in categories[name]] for name in self.design.text if name in categories]

    @cached_property
    def table(self) -> Table:
        """Returns the opened table, with the targets and the weight as far as it has them."""
        source = self.design.source
        return self.open(source, [name for name in self.design.others if name in source.columns], "--data.path")

    def open(self, source: Source, others: Sequence[str], flag: str) -> Table:
        """Opens the features and some other columns of a source, which `flag` names.

        Raises:
            InputError: there are no rows, or a column does not exist or is of the wrong kind.
        """
        table = source.table(self.design.schema(source, others, flag), self._memory_limit, self._watch)
        if table.num_rows == 0:
            raise InputError(without_rows(table.name))
        for column in table.schema:
            if is_text(column.type) and (column.name in others or column.name not in self.design.text):
                refuse_text(table, column.name)
        return table

    def encoded(self, table: Table, predicts: bool = False) -> EncodedRows:
        """Returns a table's rows as numbers; for predictions, only the features."""
        rows = self._without_means(table, [] if predicts else self.design.targets, [] if predicts else self._weight)
        if self.design.missing != "mean":
            return rows
        if self._learnt.means is None:
            fitted = self._without_means(self.table, self.design.targets, self._weight)
            self._learnt = replace(self._learnt, means=learn_means(fitted).tolist())
        return replace(rows, means=np.array(self._learnt.means))

    @property
    def _weight(self) -> list[str]:
        return self.design.weight

    def _without_means(self, table: Table, targets: list[str], weight: list[str]) -> EncodedRows:
        encoding = self._encoding([*targets, *weight])
        widths = (len(encoding.feature_names), len(targets), *[1 for _ in weight])
        return EncodedRows(table, encoding, self.split, widths, self.design.missing)

    def _encoding(self, others: list[str]) -> Encoding:
        design, categories = self.design, self._learnt.categories
        if categories is None:
            categories = learn_categories(self.table, design.text, self.split, design.max_categories)
            self._learnt = replace(self._learnt, categories=categories)
        encoding = Encoding(design.features, others, categories, design.drop_first)
        names = encoding.feature_names
        doubled = repeated(names)
        if doubled:
            raise InputError(
                f"{design.source.name}: {quoted(doubled)} is both a column and a category of another column; rename one"
            )
        return encoding


def learn_means(rows: EncodedRows) -> Tensor:
    """Returns the weighted means of the features, over the rows to fit that have them: (D,), float64.

    Raises:
        InputError: a feature has no value at all.
    """
    total = torch.zeros(rows.widths[0], dtype=torch.float64)  # of the differences from the first value
    weight, first = torch.zeros_like(total), torch.full_like(total, torch.nan)
    chunks = rows.read("fit", keeps_missing=True)
    # In batches of equal size, so that sums round alike for every file format.
    for x, *others in rebatched(chunks, evaluation_batch_size(sum(rows.widths)), rows.widths, torch.float64):
        complete = ~torch.cat(others, dim=1).isnan().any(dim=1)
        x, weights = x[complete], others[1][complete] if len(others) > 1 else torch.ones(1, 1)
        for column in first.isnan().nonzero().flatten().tolist():
            known = x[~x[:, column].isnan(), column]
            first[column] = known[0] if len(known) else torch.nan
        total += (weights * (x - first)).nansum(dim=0)
        weight += (weights * ~x.isnan()).sum(dim=0, dtype=torch.float64)
    for name, known_weight in zip(rows.encoding.feature_names, weight.tolist(), strict=True):
        if not known_weight:
            raise InputError(
                f"{rows.table.name}: column {shortened(name)} has no value in the rows to fit, so it has no mean;"
                " leave it out of --data.features"
            )
    return first + total / weight


def learn_categories(table: Table, columns: Sequence[str], split: Split, max_categories: int) -> dict[str, list[str]]:
    """Returns the categories of text columns in the rows to fit, sorted.

    Raises:
        InputError: a column has more than `max_categories`, has no text, or is a column of numbers.
    """
    categories: dict[str, set[str]] = {name: set() for name in columns}
    if not columns:
        return {}
    for first, batch in table.all_batches(columns):
        mask = split.mask("fit", first, batch.num_rows)
        for name, known in categories.items():
            texts = as_text(batch.column(name))
            fitted = texts if mask is None else texts.filter(pa.array(mask))
            known.update(fitted.unique().drop_null().to_pylist())
            if len(known) > max_categories:
                raise InputError(
                    f"{table.name}: text column {shortened(name)} has more than {max_categories} categories"
                    f" ({', '.join(map(shortened, sorted(known)[:2]))}, …), and each would be a column; leave it out of"
                    " --data.features, or raise --data.max_categories"
                )
    for name, known in categories.items():
        is_dictionary = pa.types.is_dictionary(table.schema.field(name).type)
        if not is_dictionary and any(NUMBER_OR_DATE.fullmatch(text.strip()) for text in known):
            refuse_text(table, name)
        if not known:
            raise InputError(
                f"{table.name}: text column {shortened(name)} is empty in all rows to fit; leave it out of"
                " --data.features"
            )
    return {name: sorted(known) for name, known in categories.items()}


def refuse_text(table: Table, column: str) -> None:
    """Reports the first text in a column that should contain numbers.

    Raises:
        InputError: always.
    """
    first_number, kind, parses = "", "number", parses_as_number
    for first, batch in table.all_batches([column]):
        for index, text in enumerate(as_text(batch.column(column)).to_pylist()):
            if text is None:
                continue
            name, row = table.place(first + index)
            if first + index == 0 and text.lower() in ("true", "false"):
                kind, parses = "truth value, unlike the values above it", parses_as_truth_value
            if not parses(text):
                raise InputError(wrong_kind(kind, name, column, row, text))
            first_number = first_number or f"{shortened(text)} in row {row}"
    raise InputError(
        f"{table.name}: column {shortened(column)} contains text, {first_number or 'all of it missing'}; write its"
        " values as numbers, or choose other columns with --data.features and --data.target"
    )
