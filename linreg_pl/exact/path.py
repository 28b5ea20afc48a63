"""Cross-validates ridge regression over a range of l2, from one pass over the rows."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.cross_validation import CrossValidation, cross_validated
from linreg_pl.core.ridge_path import Posing, RidgePath, default_l2
from linreg_pl.data.base import BatchDataModule
from linreg_pl.data.columns import Columns, name_of_intercept
from linreg_pl.data.folds import FoldPlan
from linreg_pl.errors import InputError
from linreg_pl.exact.estimates import finite
from linreg_pl.training.hyper_parameters import HyperParameters


@dataclass(frozen=True, eq=False, repr=False)
class PathResult:
    """The errors and coefficients of ridge regression at each l2; `linreg_pl.path` makes one.

    Args:
        values: The l2, ascending, (L,).
        ridge: The solutions for all rows.
        validation: Errors on the rows that are held out.
        columns: Names of the columns.
        plan: How rows are divided into folds.
        num_rows: Number of rows of weight above 0.
    """

    values: Tensor
    ridge: RidgePath
    validation: CrossValidation
    columns: Columns
    plan: FoldPlan
    num_rows: int

    @property
    def l2(self) -> list[float]:
        """Returns the values of l2, ascending."""
        values: list[float] = self.values.tolist()
        return values

    @property
    def errors(self) -> list[float]:
        """Returns the cross-validated mean squared error at each l2."""
        errors: list[float] = self.validation.errors.tolist()
        return errors

    @property
    def standard_errors(self) -> list[float]:
        """Returns the standard errors of these."""
        errors: list[float] = self.validation.standard_errors.tolist()
        return errors

    @cached_property
    def degrees_of_freedom(self) -> list[float]:
        """Returns the effective number of parameters at each l2, with the intercept."""
        degrees: list[float] = self.ridge.degrees_of_freedom(self.values).tolist()
        return degrees

    @cached_property
    def gcv(self) -> list[float]:
        """Returns the error of generalized cross-validation at each l2."""
        gcv: list[float] = self.ridge.gcv(self.values).tolist()
        return gcv

    @property
    def best(self) -> float:
        """Returns the l2 of the smallest cross-validated error."""
        return self.l2[self.validation.best]

    @property
    def within_one_standard_error(self) -> float:
        """Returns the largest l2 whose error is within one standard error of the smallest."""
        return self.l2[self.validation.within_one_standard_error]

    @property
    def W(self) -> Tensor:
        """Returns W of all rows at each l2, in the data's units, (L, D, K)."""
        return self._coefficients[0]

    @property
    def b(self) -> Tensor:
        """Returns b of all rows at each l2, in the data's units, (L, K)."""
        return self._coefficients[1]

    @cached_property
    def _coefficients(self) -> tuple[Tensor, Tensor]:
        return self.ridge.coefficients(self.values)

    def coefficients(self, index: int) -> dict[str, Any]:
        """Returns the coefficients of all rows at `l2[index]` by name; for several targets, by the target's name."""
        W, b = self.W[index], self.b[index]
        names = [name_of_intercept(self.columns.feature_names), *self.columns.feature_names]
        tables = {
            target: dict(zip(names, [float(b[k]), *W[:, k].tolist()], strict=True))
            for k, target in enumerate(self.columns.target_names)
        }
        return tables if len(tables) > 1 else next(iter(tables.values()))

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain types, as `linreg path --json` prints them, with None for what is unknown."""
        entries = [
            {
                "l2": l2,
                "degrees_of_freedom": self.degrees_of_freedom[index],
                "error": self.errors[index],
                "standard_error": finite(self.standard_errors[index]),
                "gcv": finite(self.gcv[index]),
                "fold_errors": self.validation.fold_errors[:, index].tolist(),
                "coefficients": self.coefficients(index),
            }
            for index, l2 in enumerate(self.l2)
        ]
        return {
            "num_rows": self.num_rows,
            "folds": asdict(self.plan),
            "best": self.best,
            "within_one_standard_error": self.within_one_standard_error,
            "path": entries,
        }

    def lines(self, most: int = 24) -> list[str]:
        """Returns the lines that `linreg path` prints; of more than `most` values of l2, evenly spaced ones."""
        best, choice = self.validation.best, self.validation.within_one_standard_error
        every = math.ceil(len(self.l2) / most)
        shown = [index for index in range(len(self.l2)) if index % every == 0 or index in (best, choice)]
        lines = [f"{'l2':>12}  {'deg. of freedom':>15}  {'CV error':>12}  {'± s.e.':>10}  {'GCV':>12}"]
        for index in shown:
            marks = ["best"] * (index == best) + ["within one s.e."] * (index == choice)
            numbers = f"{self.l2[index]:>12.6g}  {self.degrees_of_freedom[index]:>15.4g}  {self.errors[index]:>12.6g}"
            numbers += f"  {self.standard_errors[index]:>10.3g}  {self.gcv[index]:>12.6g}"
            lines.append(f"{numbers}  {', '.join(marks)}".rstrip())
        left_out = f"; {len(shown)} of {len(self.l2)} values of l2 are shown" if len(shown) < len(self.l2) else ""
        lines += [f"{self.num_rows} rows, {self.plan.in_words}{left_out}"]
        if len(self.l2) > 1 and best in (0, len(self.l2) - 1):
            end = "smallest" if best == 0 else "largest"
            lines.append(f"the error is smallest at the {end} l2 that was tried")
        return [*lines, f"largest l2 within one standard error of the smallest error: --model.l2 {self.l2[choice]:.6g}"]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        """Returns one line: `print(result)` shows the whole table."""
        return f"<PathResult: {len(self.l2)} values of l2, best {self.best:.4g}, {self.num_rows} rows>"


def ridge_path(
    data: BatchDataModule, settings: HyperParameters, plan: FoldPlan, l2: Sequence[float] | None = None
) -> PathResult:
    """Computes the cross-validated error of each l2 by one pass over the rows.

    Args:
        data: Set up for path, solve or fit.
        settings: They pose the problem; their l2 does not count.
        plan: How rows are divided into folds.
        l2: Two numbers, the ends of a range with five values for each power of ten, or the values themselves; by
            default a range that suits the features.

    Raises:
        InputError: a value of l2 can't be used, or the rows can't be divided into these folds.
    """
    posing = Posing(settings.fit_intercept, settings.standardize, settings.fold_bias)
    values = None if l2 is None else l2_values(l2)
    folds = data.folds(plan)
    whole = folds.whole
    values = default_l2(whole, posing) if values is None else values
    validation, ridge = cross_validated(folds, values, posing), RidgePath(whole, posing)
    return PathResult(values, ridge, validation, data.columns, plan, whole.num_rows)


def l2_values(given: Sequence[float]) -> Tensor:
    """Returns the values of l2, ascending; two numbers are the ends of a range.

    Raises:
        InputError: there is none, or one is negative, infinite, or the 0 of a range.
    """
    values = sorted({float(value) for value in given})
    if not values or not all(0 <= value < math.inf for value in values):
        raise InputError(f"l2 is {list(given)}: give --l2 finite numbers, 0 or more, such as [1e-4, 10]")
    if len(values) != 2:
        return torch.tensor(values, dtype=torch.float64)
    low, high = values
    if low == 0:
        raise InputError(f"l2 is {list(given)}: a range by powers of ten can't start at 0; give three or more values")
    count = 1 + max(1, math.ceil(5 * math.log10(high / low) - 1e-9))
    return torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
