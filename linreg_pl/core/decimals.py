"""Finds columns whose values float64 had to round, as it has no 0.1."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def are_decimals(rows: Tensor, most: int = 4000) -> Tensor:
    """Returns which columns of some rows (n, P) hold decimal fractions that float64 had to round, (P,), 0 or 1.

    Those are numbers of at most 15 digits, such as 0.1, and beside such columns all that are no fractions of a power of
    two, as they were computed from decimals. A table of longer numbers is taken as it is.
    """
    columns = rows[: max(4, most // rows.shape[1])].double().T.tolist()
    inexact = [any(not (value * 2**20).is_integer() for value in column) for column in columns]
    short = [all(float(f"{value:.15g}") == value for value in column) for column in columns]
    has_decimals = any(is_inexact and is_short for is_inexact, is_short in zip(inexact, short, strict=True))
    return torch.tensor(inexact, dtype=torch.float64) * has_decimals


def noting_decimals(chunks: Iterable[tuple[Tensor, ...]], found: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """Yields chunks x (n, D), y (n, K), … as they are; puts which columns of the first hold decimals into `found`."""
    for chunk in chunks:
        if not found:
            x, y = (part[:4000] for part in chunk[:2])
            found.append(are_decimals(torch.cat([x.double(), y.double()], dim=1)))
        yield chunk
