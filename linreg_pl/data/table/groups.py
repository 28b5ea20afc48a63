"""Reads the rows to fit with the number of each row's group: rows with the same value of a column are a group."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from linreg_pl.data.table.encoding import require_columns
from linreg_pl.data.table.fitted_table import FittedTable
from linreg_pl.data.table.row_groups import Table
from linreg_pl.errors import InputError, shortened


def grouped_rows(fitted: FittedTable, column: str, flag: str = "--cluster") -> Iterator[tuple[Tensor, ...]]:
    """Yields x (n, D), y (n, K), the weights (n, 1) if there are any, and the groups' numbers (n,), int64.

    Where rows with a missing value are dropped, folds drop those without a group, too. Takes two passes, one over the
    column alone, whose numbers are held in memory, 4 bytes a row.

    Args:
        fitted: The table.
        column: The column of the groups.
        flag: The flag that names it.

    Raises:
        InputError: there is no such column, or it lacks a value in a row to fit that is not dropped.
    """
    source, design = fitted.design.source, fitted.design
    require_columns(source.name, source.columns, [column], flag)
    others = list(dict.fromkeys([*design.others, column]))
    table = fitted.open(source, others, flag)
    groups = group_numbers(table, column)
    encoded = fitted.encoded(table, "fit")
    drops, num_dropped = flag != "--cluster" and design.missing == "drop", 0
    for rows, values in encoded.complete("fit"):
        numbers = groups[rows]
        is_known = numbers >= 0
        if not is_known.all():
            if not drops:
                name, row = table.place(int(rows[int(is_known.argmin())]))
                raise InputError(
                    f"{name}: column {shortened(column)}, row {row}: the value is missing, so the row has no"
                    f" {'cluster' if flag == '--cluster' else 'group'}; give it one, or leave such rows out",
                    {} if flag == "--cluster" or design.missing is not None else {"missing": "drop"},
                )
            num_dropped += int((~is_known).sum())
            numbers, values = numbers[is_known], values[is_known]
        ends = np.cumsum(encoded.widths)[:-1]
        yield (*map(torch.from_numpy, np.split(values, ends, axis=1)), torch.from_numpy(numbers.astype(np.int64)))
    num_dropped = sum(fitted.world.gathered(num_dropped)) if drops else 0
    if num_dropped:
        fitted.dropped["fit"] = f"dropped rows without a value in {shortened(column)}: {num_dropped}"


def group_numbers(table: Table, column: str) -> np.ndarray:
    """Returns a number for each row, the same for equal values, from 0 on: (num_rows,), int32; -1 for none or NaN."""
    numbers, known = np.empty(table.num_rows, dtype=np.int32), dict[object, int]()
    for first, batch in table.all_batches([column]):
        values = batch.column(column)
        if not pa.types.is_dictionary(values.type):
            values = pc.dictionary_encode(values)
        distinct = values.dictionary.to_pylist()
        of_values = [known.setdefault(each, len(known)) if each == each else -1 for each in distinct]  # not NaN
        codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        numbers[first : first + len(codes)] = np.array([*of_values, -1], dtype=np.int32)[codes]
    if table.world.size > 1:  # count the values in the order of all rows
        merged = {
            value: number for number, value in enumerate(dict.fromkeys(chain(*table.world.gathered(list(known)))))
        }
        of_known = np.array([*(merged[value] for value in known), -1], dtype=np.int32)
        own = slice(table.own_rows.start, table.own_rows.stop)
        numbers[own] = of_known[numbers[own]]
    return numbers
