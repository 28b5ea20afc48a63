"""Searches the columns of a table for the subset that predicts best, from one pass over the rows."""

import itertools
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from linreg_pl.core.cross_validation import CrossValidation
from linreg_pl.core.subsets import SEARCHES, Criterion, CriterionName
from linreg_pl.data.base import Rows
from linreg_pl.data.folds import FoldPlan
from linreg_pl.errors import InputError, flag_text, printable
from linreg_pl.exact.solution import finite
from linreg_pl.training.hyper_parameters import HyperParameters

Search = Literal["forward", "backward", "all"]


@dataclass(frozen=True, eq=False, repr=False)
class SubsetsResult:
    """The subsets that a search has found, one of each size; `linreg_pl.subsets` makes one.

    Args:
        search: How they were found: forward, backward, or among all.
        criterion: What was minimised: AIC, BIC or CV.
        subsets: Names of the table's columns in each, from the smallest subset to the largest, or backward.
        num_parameters: Number of parameters of each, also of the intercept, but not of linearly dependent columns.
        aic: Of each subset; of several targets, the sum. With weights, the sum of their logarithms is left out.
        bic: Likewise.
        validation: Errors of each subset on the rows that are held out.
        fit_intercept: Whether each subset has an intercept.
        index: Which one is chosen.
        plan: How rows are divided into folds.
        num_rows: Number of rows of weight above 0.
    """

    search: Search
    criterion: CriterionName
    subsets: list[list[str]]
    num_parameters: list[int]
    aic: list[float]
    bic: list[float]
    validation: CrossValidation
    fit_intercept: bool
    index: int
    plan: FoldPlan
    num_rows: int

    @property
    def chosen(self) -> list[str]:
        """Returns the names of the columns in the subset with the smallest criterion; of equal ones, the smallest."""
        return self.subsets[self.index]

    @property
    def errors(self) -> list[float]:
        """Returns the cross-validated mean squared error of each subset."""
        errors: list[float] = self.validation.errors.tolist()
        return errors

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain types, as `linreg path --json` prints them, with None for what is unknown."""
        entries = [
            {
                "columns": columns,
                "num_parameters": self.num_parameters[index],
                "aic": finite(self.aic[index]),
                "bic": finite(self.bic[index]),
                "error": self.errors[index],
                "standard_error": float(self.validation.standard_errors[index]),
                "fold_errors": self.validation.fold_errors[:, index].tolist(),
            }
            for index, columns in enumerate(self.subsets)
        ]
        return {
            "num_rows": self.num_rows,
            "folds": asdict(self.plan),
            "search": self.search,
            "criterion": self.criterion,
            "chosen": self.chosen,
            "subsets": entries,
        }

    def lines(self, most: int = 40) -> list[str]:
        """Returns the lines that `linreg path --subsets` prints; of more than `most` subsets, those near the choice."""
        first = max(0, min(self.index - most // 2, len(self.subsets) - most))
        shown = range(first, min(first + most, len(self.subsets)))
        lines = [f"{'columns':>7}  {'AIC':>12}  {'BIC':>12}  {'CV error':>12}  {'± s.e.':>10}"]
        for index in shown:
            numbers = f"{len(self.subsets[index]):>7}  {self.aic[index]:>12.6g}  {self.bic[index]:>12.6g}"
            numbers += f"  {self.errors[index]:>12.6g}  {self.validation.standard_errors[index]:>10.3g}"
            mark = "  best" if index == self.index else ""
            lines.append(f"{numbers}  {self._change(index)}{mark}".rstrip())
        left_out = f"; {len(shown)} of {len(self.subsets)} subsets are shown" if len(shown) < len(self.subsets) else ""
        none = f"no column, {'the intercept alone' if self.fit_intercept else 'and y is predicted by 0'}"
        flag = f"--data.features {flag_text(self.chosen)}" if self.chosen else none
        return [*lines, f"{self.num_rows} rows, {self.plan.in_words}{left_out}", f"smallest {self.criterion}: {flag}"]

    def _change(self, index: int) -> str:
        """Returns what a subset has, or how it differs from the one before."""
        names = self.subsets[index]
        before = self.subsets[index - 1] if index else []
        if self.search == "all" or index == 0:
            return ", ".join(map(printable, names)) if len(names) < 8 or self.search == "all" else "all"
        added = [f"+ {printable(name)}" for name in names if name not in before]
        return " ".join(added + [f"- {printable(name)}" for name in before if name not in names])

    def __str__(self) -> str:
        *lines, last = self.lines()
        return "\n".join([*lines, f"smallest {self.criterion}: features={self.chosen}" if self.chosen else last])

    def __repr__(self) -> str:
        """Returns one line: `print(result)` shows the whole table."""
        return f"<SubsetsResult: {self.search} by {self.criterion}, {len(self.chosen)} columns chosen>"


def searched_subsets(
    data: Rows, settings: HyperParameters, plan: FoldPlan, search: Search, criterion: CriterionName
) -> SubsetsResult:
    """Finds the subset of the table's columns with the smallest criterion, by one pass over the rows.

    The fits are least squares without a penalty. A column of the table counts as one: the categories of a text column
    are taken together. If there is an intercept, it is in every subset.

    Args:
        data: Set up for path, solve or fit.
        settings: Whether there is an intercept; the others do not count.
        plan: How rows are divided into folds.
        search: forward and backward go from one subset to the next by one column; all tries every subset.
        criterion: AIC, BIC, or CV for the error on held-out rows.

    Raises:
        InputError: all subsets of more than 20 columns are asked for, or the rows can't be divided into these folds.
    """
    sources = data.columns.sources
    names = list(dict.fromkeys(sources))
    if search == "all" and len(names) > 20:
        raise InputError(
            f"--subsets all is for at most 20 columns, and there are {len(names)}: give --subsets forward or backward"
        )
    groups = tuple(map(names.index, sources))
    folds = data.folds(plan)
    kinds: dict[CriterionName, Criterion] = {
        name: Criterion(name, folds, groups, settings.fit_intercept) for name in ("AIC", "BIC", "CV")
    }
    subsets = SEARCHES[search](kinds[criterion])
    validation, residuals = kinds["CV"].validation(subsets), [kinds["AIC"].of_subset(subset) for subset in subsets]
    aic, bic = ([float(kinds[name].values(each)) for each in residuals] for name in ("AIC", "BIC"))
    values = torch.tensor({"AIC": aic, "BIC": bic, "CV": validation.errors.tolist()}[criterion], dtype=torch.float64)
    is_best = kinds[criterion].best(values).tolist()
    return SubsetsResult(
        search=search,
        criterion=criterion,
        subsets=[[names[group] for group in subset] for subset in subsets],
        num_parameters=[int(kinds["AIC"].num_parameters(each)) for each in residuals],
        aic=aic,
        bic=bic,
        validation=validation,
        fit_intercept=settings.fit_intercept,
        index=min(itertools.compress(range(len(subsets)), is_best), key=lambda index: len(subsets[index])),
        plan=plan,
        num_rows=folds.whole.num_rows,
    )
