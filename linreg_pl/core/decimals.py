"""Finds columns whose values float64 had to round, as it has no 0.1."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def are_decimals(rows: Tensor) -> Tensor:
    """Returns which columns of some rows (n, P) hold decimal fractions that float64 had to round, (P,), 0 or 1.

    Those are numbers of at most 15 digits, such as 0.1, and beside such columns all that are no fractions of a power of
    two, as they were computed from decimals. A table of longer numbers is taken as it is.
    """
    columns = rows.double().T.tolist()
    inexact = [any(not (value * 2**20).is_integer() for value in column) for column in columns]
    short = [all(float(f"{value:.15g}") == value for value in column) for column in columns]
    has_decimals = any(is_inexact and is_short for is_inexact, is_short in zip(inexact, short, strict=True))
    return torch.tensor(inexact, dtype=torch.float64) * has_decimals


def noting_decimals(
    chunks: Iterable[tuple[Tensor, ...]], found: list[Tensor], most: int = 4000
) -> Iterator[tuple[Tensor, ...]]:
    """Yields the chunks as they are, and notes which columns hold decimals, by the first rows.

    Args:
        chunks: x (n, D), y (n, K), and more.
        found: Empty; takes in what `are_decimals` returns.
        most: Values that are looked at, unless four rows have more.
    """
    for chunk in chunks:
        if not found:
            x, y = chunk[:2]
            num_rows = max(4, most // (x.shape[1] + y.shape[1]))
            found.append(are_decimals(torch.cat([x[:num_rows].double(), y[:num_rows].double()], dim=1)))
        yield chunk
