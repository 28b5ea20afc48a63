"""Searches the columns of least squares for the best subset, by AIC, BIC or cross-validation, from triangles alone.

    rows = [X y] of the training triangle, above [X y] of the held-out triangle
    taking a column a:  rows ← rows - a · (a' rows) / (a' a), with inner products over the training rows

This is modified Gram-Schmidt (Björck, "Numerical Methods for Least Squares Problems", 1996, section 2.4). The training
part of y then holds the residuals of the fit, and the held-out part the errors of its predictions, for any subset and
without its coefficients. A column that is linearly dependent on those taken before changes nothing.

    AIC = N · (log(2π · RSS / N) + 1) + 2 · P          BIC: log(N) · P instead

P is the number of parameters. Of several targets, the criteria are the sums.

Columns come in groups, such as the categories of a text column, which are taken together. If there is an
intercept, it is in every subset.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from linreg_pl.core.cross_validation import CrossValidation
from linreg_pl.core.folds import Folds
from linreg_pl.core.triangle import Triangle

CriterionName = Literal["AIC", "BIC", "CV"]
Subset = tuple[int, ...]
"""The numbers of the groups, ascending."""


@dataclass(frozen=True, eq=False)
class Residuals:
    """Columns less their projections onto the columns that are taken, in several sets of rows at once.

    Args:
        rows: (..., M, C+K), the columns that are not taken, and the targets.
        errors: Bounds on the lengths of the errors of the training rows' columns, (..., C+K).
        rank: Number of independent columns that are taken, (...).
        groups: The group of each column, (C,).
        num_training: Number of rows that are fitted; the others are held out.
    """

    rows: Tensor
    errors: Tensor
    rank: Tensor
    groups: Subset
    num_training: int

    def take(self, group: int) -> "Residuals":
        """Takes the columns of a group: subtracts their projections from all others."""
        rows, errors, rank = self.rows, self.errors, self.rank
        for column in [index for index, each in enumerate(self.groups) if each == group]:
            taken = rows[..., column : column + 1]
            fitted = taken[..., : self.num_training, :]
            squares = fitted.square().sum(dim=-2)  # (..., 1)
            is_new = squares.sqrt() > errors[..., column : column + 1]
            products = (fitted * rows[..., : self.num_training, :]).sum(dim=-2)
            factors = torch.where(is_new, products / squares, 0.0)
            rows = rows - taken * factors.unsqueeze(-2)
            errors = errors + factors.abs() * errors[..., column : column + 1]
            rank = rank + is_new.squeeze(-1)
        return replace(self, rows=rows, errors=errors, rank=rank).leave(group)

    def leave(self, group: int) -> "Residuals":
        """Leaves the columns of a group out."""
        kept = [index for index, each in enumerate(self.groups) if each != group]
        numbers = [*kept, *range(len(self.groups), self.rows.shape[-1])]
        is_end = numbers == list(range(numbers[0], self.rows.shape[-1]))
        columns = slice(numbers[0], None) if is_end else numbers  # a view takes no copy
        groups = tuple(self.groups[index] for index in kept)
        return replace(self, rows=self.rows[..., columns], errors=self.errors[..., columns], groups=groups)

    @property
    def target_squares(self) -> Tensor:
        """Returns the sums of squared residuals of the training rows, (..., K); 0 where rounding explains them."""
        squares = self.rows[..., : self.num_training, len(self.groups) :].square().sum(dim=-2)
        return torch.where(squares > self.errors[..., len(self.groups) :].square(), squares, 0.0)

    @property
    def held_out_squares(self) -> Tensor:
        """Returns the sums of squared errors over the held-out rows and the targets, (...)."""
        return self.rows[..., self.num_training :, len(self.groups) :].square().sum(dim=(-1, -2))


class Criterion:
    """What a search minimises, for the subsets of some rows' columns.

    Args:
        name: AIC, BIC or CV.
        folds: Of the rows.
        groups: The group of each feature, (D,), from 0 on.
        fit_intercept: Whether every subset has an intercept.
    """

    def __init__(self, name: CriterionName, folds: Folds, groups: Subset, fit_intercept: bool) -> None:
        self.name, self._fit_intercept = name, fit_intercept
        held_out = folds.held_out if name == "CV" else []
        self._weights = torch.tensor([each.total_weight for each in held_out], dtype=torch.float64)
        self._whole = folds.whole
        pairs = list(zip(folds.training, held_out, strict=True)) if held_out else [(self._whole, None)]
        parts = [self._parts(training, each) for training, each in pairs]
        most = max(len(training) for training, _, _ in parts)
        rows = [
            torch.cat([torch.nn.functional.pad(training, (0, 0, 0, most - len(training))), validation])
            for training, validation, _ in parts
        ]
        tallest = max(map(len, rows))
        rows = [torch.nn.functional.pad(each, (0, 0, 0, tallest - len(each))) for each in rows]
        errors, rank = torch.stack([each for *_, each in parts]), torch.zeros(len(parts), dtype=torch.int64)
        self.start = Residuals(torch.stack(rows), errors, rank, groups, most)
        self.num_groups = 1 + max(groups, default=-1)

    def _parts(self, training: Triangle, held_out: Triangle | None) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the training rows, the held-out rows and the training columns' errors, less the training means."""
        center = training.means if self._fit_intercept else torch.zeros_like(training.center)
        rows = training.centered_at(center)
        validation = rows.R[:0] if held_out is None else held_out.centered_at(center).R
        return rows.R[int(self._fit_intercept) :, 1:], validation[:, 1:], rows.errors[1:]

    def fold_errors(self, residuals: Residuals) -> Tensor:
        """Returns the mean squared error of each held-out fold, (..., F)."""
        return residuals.held_out_squares / (self._weights * self._whole.num_targets)

    def num_parameters(self, residuals: Residuals) -> Tensor:
        """Returns the number of parameters, (...), also of the intercept; without the dimension of the folds."""
        return residuals.rank[..., 0] + int(self._fit_intercept)

    def values(self, residuals: Residuals) -> Tensor:
        """Returns the criterion, (...), without the dimension of the folds; infinite where no row is left over."""
        if self.name == "CV":
            mean: Tensor = self.fold_errors(residuals) @ (self._weights / self._weights.sum())
            return mean
        N, K = self._whole.num_rows, self._whole.num_targets
        count = self.num_parameters(residuals)
        fit = N * ((2 * math.pi / N * residuals.target_squares[..., 0, :]).log() + 1).sum(dim=-1)
        value = fit + K * count.double() * (2.0 if self.name == "AIC" else math.log(N))
        return torch.where(count < N, value, torch.inf)

    def best(self, values: Tensor) -> Tensor:
        """Returns which values (n,) are the smallest, but for rounding, (n,)."""
        smallest = values.min()
        rounding = 1e-10 * (abs(smallest) if self.name == "CV" else self._whole.num_rows)
        if self.name == "CV":  # an exact fit leaves nothing but the rounding of the targets
            rounding += self._whole.errors[1 + self._whole.num_features :].square().sum() / self._whole.total_weight
        return (values == smallest) | (values <= smallest + rounding)

    def of_subset(self, subset: Subset) -> Residuals:
        """Returns the residuals when these groups are taken."""
        return reduce(Residuals.take, subset, self.start)

    def validation(self, subsets: Sequence[Subset]) -> CrossValidation:
        """Returns the errors of subsets on the held-out folds; the criterion is CV."""
        errors = [self.fold_errors(self.of_subset(subset)) for subset in subsets]
        return CrossValidation(torch.stack(errors, dim=1), self._weights)


def forward(criterion: Criterion) -> list[Subset]:
    """Adds the group that helps most, one after the other, from none to all."""
    taken, left, residuals = list[int](), list(range(criterion.num_groups)), criterion.start
    subsets: list[Subset] = [()]
    while left:
        values = torch.stack([criterion.values(residuals.take(group)) for group in left])
        group = left.pop(int(criterion.best(values).nonzero()[0]))
        residuals = residuals.take(group)
        taken.append(group)
        subsets.append(tuple(sorted(taken)))
    return subsets


def backward(criterion: Criterion) -> list[Subset]:
    """Leaves out the group that helps least, one after the other, from all to none."""
    kept, residuals = list(range(criterion.num_groups)), criterion.start
    subsets: list[Subset] = [tuple(kept)]
    while kept:
        values = torch.stack([criterion.values(each) for each in each_left_out(residuals, kept)])
        group = kept.pop(int(criterion.best(values).nonzero()[-1]))  # of equal columns, the first ones stay
        residuals = residuals.leave(group)
        subsets.append(tuple(kept))
    return subsets


def each_left_out(residuals: Residuals, groups: Sequence[int]) -> Iterator[Residuals]:
    """Yields the residuals when all groups but one are taken, for each one in turn.

    Halves the groups, so that P of them cost P · log P, and not P², groups taken.
    """
    if len(groups) == 1:
        yield residuals.leave(groups[0])
        return
    first, second = groups[: len(groups) // 2], groups[len(groups) // 2 :]
    yield from each_left_out(reduce(Residuals.take, second, residuals), first)
    yield from each_left_out(reduce(Residuals.take, first, residuals), second)


def best_of_each_size(criterion: Criterion) -> list[Subset]:
    """Returns the best subset of each number of groups, among all."""
    count, start = criterion.num_groups, criterion.start
    start = replace(start, rows=start.rows[None], errors=start.errors[None], rank=start.rank[None])
    values = torch.cat(list(_all_values(criterion, start)))
    numbers, places = torch.arange(2**count, dtype=torch.int32), torch.arange(count).flip(0).int()
    bits = numbers.unsqueeze(1) >> places & 1  # 0 where a group is in
    sizes = count - bits.sum(dim=1)
    subsets = []
    for size in range(count + 1):
        of_size = (sizes == size).nonzero()[:, 0]
        number = of_size[criterion.best(values[of_size])][0]  # of equal ones, that of the first groups
        subsets.append(tuple((bits[number] == 0).nonzero()[:, 0].tolist()))
    return subsets


def _all_values(criterion: Criterion, residuals: Residuals, *, most_bytes: float = 64e6) -> Iterator[Tensor]:
    """Yields the criterion of all subsets of the groups that are left, those with the first group first.

    Each group doubles the subsets, (n, ...), with it and without it, until they fill `most_bytes`; then each half of
    them goes on alone.
    """
    parts = residuals.rows, residuals.errors, residuals.rank
    if not residuals.groups:
        yield criterion.values(residuals)
    elif len(residuals.rank) > 1 and residuals.rows.numel() * 16 > most_bytes:
        for half in zip(*(part.chunk(2) for part in parts), strict=True):
            yield from _all_values(criterion, _with_parts(residuals, half), most_bytes=most_bytes)
    else:
        taken, left = residuals.take(residuals.groups[0]), residuals.leave(residuals.groups[0])
        pairs = ((taken.rows, left.rows), (taken.errors, left.errors), (taken.rank, left.rank))
        doubled = tuple(torch.stack(pair, dim=1).flatten(0, 1) for pair in pairs)
        yield from _all_values(criterion, _with_parts(left, doubled), most_bytes=most_bytes)


def _with_parts(residuals: Residuals, parts: tuple[Tensor, ...]) -> Residuals:
    rows, errors, rank = parts
    return replace(residuals, rows=rows, errors=errors, rank=rank)


SEARCHES: dict[str, Callable[[Criterion], list[Subset]]] = {
    "forward": forward,
    "backward": backward,
    "all": best_of_each_size,
}
