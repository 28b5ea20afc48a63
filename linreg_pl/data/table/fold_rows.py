"""Reads the rows to fit, each with the number of its fold."""

from collections.abc import Iterator

import torch

from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.loaders import Batch
from linreg_pl.data.table.fitted_table import FittedTable
from linreg_pl.data.table.groups import grouped_rows
from linreg_pl.data.table.training_rows import first_rows
from linreg_pl.errors import InputError


def numbered_rows(batches: Iterator[Batch], plan: FoldPlan, num_rows: int, first: int = 0) -> Iterator[Batch]:
    """Yields x (n, D), y (n, K), the weights (n, 1) if there are any, and the folds' numbers (n,), int16.

    Args:
        batches: The rows of this process.
        plan: How rows are divided into folds.
        num_rows: Number of rows of all processes.
        first: Number of the first row of the batches.
    """
    for batch in batches:
        yield (*batch, plan.of_rows(first, len(batch[0]), num_rows))
        first += len(batch[0])


def grouped_in_folds(fitted: FittedTable, plan: FoldPlan, num_rows: int) -> Iterator[Batch]:
    """Yields the first `num_rows` rows of this process in the same way, for folds of groups; see `grouped_rows`.

    Raises:
        InputError: there is no such column, it has fewer values than there are folds, or lacks one in a row to fit.
    """
    assert plan.by is not None
    folds, known = torch.zeros(0, dtype=torch.int16), set[int]()  # of the groups; as many of these as there are folds
    for *rows, groups in first_rows(grouped_rows(fitted, plan.by, "--folds.by"), num_rows):
        if len(groups) and int(groups.max()) >= len(folds):
            folds = plan.at_random(0, 2 * int(groups.max()) + 1)
        if len(known) < plan.count:
            known.update(groups[rows[2][:, 0] > 0 if rows[2:] else slice(None)].tolist())
        yield (*rows, folds[groups])
    known = known.union(*fitted.world.gathered(known))
    if len(known) < plan.count:
        values = "1 value" if len(known) == 1 else f"{len(known)} values"
        fewer = f", or --folds.count {len(known)}" if len(known) > 1 else ""
        raise InputError(
            f"folds.by has {values} in the rows to fit, and there are {plan.count} folds: give --folds.by another"
            f" column{fewer}"
        )
