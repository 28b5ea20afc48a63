"""Cross-validates least squares over a range of l2 or l1, from one pass over the rows."""

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from linreg_pl.core.cross_validation import CrossValidation, cross_validated
from linreg_pl.core.elastic_net_path import Axis, default_l1
from linreg_pl.core.ridge_path import Posing, RidgePath, default_l2
from linreg_pl.core.threads import threads_that_pay
from linreg_pl.data.argument_types import is_of
from linreg_pl.data.base import Rows
from linreg_pl.data.columns import Columns, name_of_intercept
from linreg_pl.data.folds import FoldPlan
from linreg_pl.errors import InputError, without_flags
from linreg_pl.exact.solution import finite
from linreg_pl.training.hyper_parameters import HyperParameters

Given = float | Sequence[float] | Literal["auto"] | None
"""How values of a penalty are given: one number, several, or by what suits the rows."""
Values = Given | np.ndarray | Tensor
"""The same from Python, where arrays of other libraries also do."""


@dataclass(frozen=True, eq=False, repr=False)
class PathResult:
    """The errors and coefficients at each value of l2, or of l1; `linreg_pl.path` makes one.

    Args:
        axis: Which of the two varies, and the other's value.
        values: The values of the one that varies, ascending, (L,).
        solutions: The solutions for all rows.
        validation: Errors on the rows that are held out.
        columns: Names of the columns.
        plan: How rows are divided into folds.
        num_rows: Number of rows of weight above 0.
    """

    axis: Axis
    values: Tensor
    solutions: RidgePath
    validation: CrossValidation
    columns: Columns
    plan: FoldPlan
    num_rows: int

    @property
    def l2(self) -> list[float]:
        """Returns l2 at each value, ascending if it varies."""
        return [self.axis.pair(value)[1] for value in self.values.tolist()]

    @property
    def l1(self) -> list[float]:
        """Returns l1 at each value, ascending if it varies."""
        return [self.axis.pair(value)[0] for value in self.values.tolist()]

    @property
    def errors(self) -> list[float]:
        """Returns the cross-validated mean squared error at each value."""
        errors: list[float] = self.validation.errors.tolist()
        return errors

    @property
    def standard_errors(self) -> list[float]:
        """Returns the standard errors of these."""
        errors: list[float] = self.validation.standard_errors.tolist()
        return errors

    @cached_property
    def degrees_of_freedom(self) -> list[float]:
        """Returns the effective number of parameters at each value, with the intercept."""
        degrees: list[float] = self.solutions.degrees_of_freedom(self.values).tolist()
        return degrees

    @cached_property
    def gcv(self) -> list[float]:
        """Returns the error of generalized cross-validation at each value."""
        gcv: list[float] = self.solutions.gcv(self.values).tolist()
        return gcv

    @property
    def best(self) -> float:
        """Returns the value, of l2 or of l1, with the smallest cross-validated error."""
        return float(self.values[self.validation.best])

    @property
    def within_one_standard_error(self) -> float:
        """Returns the largest value whose error is within one standard error of the smallest."""
        return float(self.values[self.validation.within_one_standard_error])

    @property
    def choice(self) -> dict[str, float]:
        """Returns this value by the penalty's name, and the other penalty if there is one."""
        other = {"l1" if self.axis.name == "l2" else "l2": self.axis.other}
        return {self.axis.name: self.within_one_standard_error, **(other if self.axis.other else {})}

    @property
    def num_nonzero(self) -> list[int]:
        """Returns how many coefficients, over all targets, are not 0 at each value, apart from the intercept's."""
        counts: list[int] = (self.W != 0).sum(dim=(1, 2)).tolist()
        return counts

    @property
    def W(self) -> Tensor:
        """Returns W of all rows at each value, in the data's units, (L, D, K)."""
        return self._coefficients[0]

    @property
    def b(self) -> Tensor:
        """Returns b of all rows at each value, in the data's units, (L, K)."""
        return self._coefficients[1]

    @cached_property
    def _coefficients(self) -> tuple[Tensor, Tensor]:
        return self.solutions.coefficients(self.values)

    def coefficients(self, index: int) -> dict[str, Any]:
        """Returns the coefficients of all rows at `values[index]` by name; for several targets, by target and name."""
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
                "l2": self.l2[index],
                **({"l1": self.l1[index], "num_nonzero": self.num_nonzero[index]} if self.axis.has_l1 else {}),
                "degrees_of_freedom": self.degrees_of_freedom[index],
                "error": self.errors[index],
                "standard_error": self.standard_errors[index],
                "gcv": finite(self.gcv[index]),
                "fold_errors": self.validation.fold_errors[:, index].tolist(),
                "coefficients": self.coefficients(index),
            }
            for index in range(len(self.values))
        ]
        return {
            "num_rows": self.num_rows,
            "folds": asdict(self.plan),
            "varies": self.axis.name,
            "best": self.best,
            "within_one_standard_error": self.within_one_standard_error,
            "path": entries,
        }

    def lines(self, most: int = 24) -> list[str]:
        """Returns the lines that `linreg path` prints; of more than `most` values, evenly spaced ones."""
        best, choice = self.validation.best, self.validation.within_one_standard_error
        name, values, has_l1 = self.axis.name, self.values.tolist(), self.axis.has_l1
        every = math.ceil(len(values) / most)
        shown = [index for index in range(len(values)) if index % every == 0 or index in (best, choice)]
        counted = f"  {'not 0':>7}" if has_l1 else ""
        lines = [f"{name:>12}{counted}  {'deg. of freedom':>15}  {'CV error':>12}  {'± s.e.':>10}  {'GCV':>12}"]
        for index in shown:
            marks = ["best"] * (index == best) + ["within one s.e."] * (index == choice)
            numbers = f"{values[index]:>12.6g}" + (f"  {self.num_nonzero[index]:>7}" if has_l1 else "")
            numbers += f"  {self.degrees_of_freedom[index]:>15.4g}  {self.errors[index]:>12.6g}"
            numbers += f"  {self.standard_errors[index]:>10.3g}  {self.gcv[index]:>12.6g}"
            lines.append(f"{numbers}  {', '.join(marks)}".rstrip())
        left_out = f"; {len(shown)} of {len(values)} values of {name} are shown" if len(shown) < len(values) else ""
        lines += [f"{self.num_rows} rows, {self.plan.in_words}{left_out}"]
        if len(values) > 1 and best in (0, len(values) - 1):
            end = "smallest" if best == 0 else "largest"
            lines.append(f"the error is smallest at the {end} {name} that was tried")
        flags = " ".join(f"--model.{penalty} {value:.6g}" for penalty, value in self.choice.items())
        return [*lines, f"largest {name} within one standard error of the smallest error: {flags}"]

    def __str__(self) -> str:
        return without_flags("\n".join(self.lines()))

    def __repr__(self) -> str:
        """Returns one line: `print(result)` shows the whole table."""
        count = len(self.values)
        return f"<PathResult: {count} values of {self.axis.name}, best {self.best:.4g}, {self.num_rows} rows>"


def cross_validated_path(
    data: Rows, settings: HyperParameters, plan: FoldPlan, l2: Values = None, l1: Values = None
) -> PathResult:
    """Computes the cross-validated error of each l2, or of each l1, by one pass over the rows.

    Several values are the ends of a range with five values for each power of ten, if they are two, or the values
    themselves. With several of l1, or `auto`, l1 varies, and l2 otherwise; of the other penalty there is one value.

    Args:
        data: Set up for path, solve or fit.
        settings: They pose the problem; their penalties do not count.
        plan: How rows are divided into folds.
        l2: The values to try, by default a range that suits the features; or one value, if l1 varies, by default 0.
        l1: One value, by default 0; or the values to try.

    Raises:
        InputError: a value can't be used, or the rows can't be divided into these folds.
    """
    axis, values = axis_of(l2, l1, settings.fold_bias)
    posing = Posing(settings.fit_intercept, settings.standardize, settings.fold_bias)
    folds = data.folds(plan)
    with threads_that_pay(data.num_features**3):
        whole = folds.whole
        if values is None:
            values = default_l1(whole, posing) if axis.name == "l1" else default_l2(whole, posing)
        validation, solutions = cross_validated(folds, values, posing, axis), axis.path(whole, posing)
    return PathResult(axis, values, solutions, validation, data.columns, plan, whole.num_rows)


def axis_of(l2: Values, l1: Values, fold_bias: bool = False) -> tuple[Axis, Tensor | None]:
    """Returns which penalty varies, and its values, ascending; None for those that suit the rows.

    Raises:
        InputError: a value can't be used, both penalties have several, or l1 can't be with `fold_bias`.
    """
    of_l1, of_l2 = numbers("l1", 0.0 if l1 is None else l1), numbers("l2", l2)
    if fold_bias and of_l1 != [0]:
        raise InputError("fold_bias is true, and l1 penalises W alone: leave out --model.fold_bias")
    if of_l1 is None or len(of_l1) > 1:
        fixed = [0.0] if l2 is None else of_l2
        if fixed is None or len(fixed) > 1:
            raise InputError("l1 and l2 both have several values: give --l1 or --l2 a single number")
        return Axis("l1", fixed[0]), None if of_l1 is None else path_values("l1", of_l1)
    return Axis("l2", of_l1[0]), None if of_l2 is None else path_values("l2", of_l2)


def numbers(name: str, given: Any) -> list[float] | None:
    """Returns the values of a penalty, l1 or l2, each once, ascending; None for `auto` or None.

    Args:
        name: Of the penalty.
        given: A number of any library, or several in a sequence, array, tensor or series.

    Raises:
        InputError: it is something else, or a number is negative or infinite.
    """
    if given is None or (isinstance(given, str) and given == "auto"):
        return None
    plain = given.tolist() if hasattr(given, "tolist") else given
    several = list(plain) if isinstance(plain, Iterable) and not isinstance(plain, str | bytes | Mapping) else [plain]
    if not several or not all(is_of(float, each) and 0 <= float(each) < math.inf for each in several):
        raise InputError(
            f"{name} is {reprlib.repr(plain)}: give --{name} finite numbers, 0 or more, such as '[1e-4, 10]'"
        )
    return sorted({float(each) for each in several})


def path_values(name: str, ends: list[float]) -> Tensor:
    """Returns ascending values of a penalty; two numbers are the ends of a range.

    Raises:
        InputError: the range starts at 0.
    """
    if len(ends) != 2:
        return torch.tensor(ends, dtype=torch.float64)
    if ends[0] == 0:
        raise InputError(f"{name} is {ends}: a range by powers of ten can't start at 0; give three or more values")
    low, high = map(math.log10, ends)
    return torch.logspace(low, high, 1 + max(1, math.ceil(5 * (high - low) - 1e-9)), dtype=torch.float64)
