"""Learns the means of the features, to impute missing values."""

import torch
from torch import Tensor

from linreg_pl.data.table.encoded_rows import EncodedRows
from linreg_pl.data.table.rows import evaluation_batch_size, rebatched
from linreg_pl.errors import InputError, shortened

Sums = tuple[Tensor, Tensor, Tensor]


def learn_means(rows: EncodedRows) -> Tensor:
    """Returns the weighted means of the features, over the rows to fit that have them: (D,), float64.

    Raises:
        InputError: a feature has no value at all.
    """
    total = torch.zeros(rows.widths[0], dtype=torch.float64)  # of the differences from the first value
    weight, first = torch.zeros_like(total), torch.full_like(total, torch.nan)
    chunks = (values for _, values in rows.numbered("fit", keeps_missing=True))
    # In batches of equal size, so that sums round alike for every file format.
    for x, *others in rebatched(chunks, evaluation_batch_size(sum(rows.widths)), rows.widths, torch.float64):
        complete = ~torch.cat(others, dim=1).isnan().any(dim=1)
        x, weights = x[complete], others[1][complete] if len(others) > 1 else torch.ones(1, 1)
        for column in first.isnan().nonzero().flatten().tolist():
            known = x[~x[:, column].isnan(), column]
            first[column] = known[0] if len(known) else torch.nan
        total += (weights * (x - first)).nansum(dim=0)
        weight += (weights * ~x.isnan()).sum(dim=0, dtype=torch.float64)
    first, total, weight = rows.table.world.reduced((first, total, weight), _merged)
    if len(weight) and not weight.any():
        raise InputError(f"{rows.table.name}: no row has a target and a weight above 0, so there is nothing to fit")
    for name, known_weight in zip(rows.encoding.feature_names, weight.tolist(), strict=True):
        if not known_weight:
            raise InputError(
                f"{rows.table.name}: column {shortened(name)} has no value in the rows to fit, so it has no mean;"
                " leave it out of --data.features"
            )
    return first + total / weight


def _merged(one: Sums, other: Sums) -> Sums:
    """Merges first values, sums of the differences from them, and weights, of two sets of rows."""
    (first, total, weight), (other_first, other_total, other_weight) = one, other
    shift = torch.where(other_weight > 0, other_first - first, 0)
    known = ~first.isnan()
    total = torch.where(known, total + other_total + other_weight * shift, other_total)
    return torch.where(known, first, other_first), total, weight + other_weight
