"""Searches for subsets of columns agree with NumPy's and statsmodels' refits of every subset."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api
import torch

import linreg_pl
from linreg_pl import InputError, TableDataModule
from linreg_pl.core.folds import Folds, fold_triangles
from linreg_pl.core.subsets import Criterion, CriterionName, Subset, _all_values, backward, best_of_each_size, forward
from linreg_pl.exact.subsets import Search
from tests.commands import linreg
from tests.runs import DIABETES

GROUPS = (0, 1, 1, 2, 3, 4)
"""Two columns are a group; the last column equals the first."""
MEANS = np.array([1e4, 0, 0, 3, 0, 1e4])
NUMBERS = np.arange(60) % 4


class Rows:
    """60 rows with one or two targets, their weights, and what refits say of subsets."""

    def __init__(self, num_targets: int, weighted: bool, fit_intercept: bool) -> None:
        random = np.random.default_rng(num_targets)
        x = random.normal(size=(60, 5)) + MEANS[:5]
        self.x = np.column_stack([x, x[:, 0]])
        self.y = (x - MEANS[:5]) @ random.normal(size=(5, num_targets)) * 0.4
        self.y += random.normal(size=self.y.shape)
        self.w = random.integers(0, 3, 60).astype(float) if weighted else np.ones(60)
        self.fit_intercept = fit_intercept
        tensors = [torch.from_numpy(part) for part in (self.x, self.y, self.w[:, None], NUMBERS)]
        self.folds = Folds(fold_triangles([tuple(tensors)], 4))

    def columns(self, subset: Subset) -> np.ndarray:
        """Returns the columns of some groups, about 0, and the intercept's."""
        chosen = [index for index, group in enumerate(GROUPS) if group in subset]
        columns = self.x[:, chosen] - self.fit_intercept * MEANS[chosen]
        return np.column_stack([np.ones(60), columns]) if self.fit_intercept else columns

    def value(self, name: CriterionName, subset: Subset) -> float:
        """Returns a criterion by refits."""
        X, roots = self.columns(subset), np.sqrt(self.w)[:, None]
        if name == "CV":
            squares = 0.0
            for fold in range(4):
                train, test = fold != NUMBERS, fold == NUMBERS
                theta = np.linalg.lstsq((roots * X)[train], (roots * self.y)[train], rcond=1e-10)[0]
                squares += (self.w[test, None] * (self.y[test] - X[test] @ theta) ** 2).sum()
            return float(squares / self.w.sum() / self.y.shape[1])
        theta = np.linalg.lstsq(roots * X, roots * self.y, rcond=1e-10)[0]
        N, squares = (self.w > 0).sum(), ((roots * (self.y - X @ theta)) ** 2).sum(axis=0)
        count = np.linalg.matrix_rank(roots * X, tol=1e-6) if X.shape[1] else 0
        penalty = count * len(squares) * (2 if name == "AIC" else math.log(N))
        return float(N * (np.log(2 * np.pi * squares / N) + 1).sum() + penalty)

    def smallest(self, name: CriterionName, subsets: list[Subset], last: bool = False) -> Subset:
        """Returns the subset with the smallest value but for rounding: the first such one, or the last."""
        values = np.array([self.value(name, subset) for subset in subsets])
        equal = np.flatnonzero(values <= values.min() + 1e-9 * abs(values.min()))
        return subsets[int(equal[-1 if last else 0])]


ROWS = [Rows(1, False, True), Rows(2, True, True), Rows(1, True, False)]


@pytest.mark.parametrize("rows", ROWS, ids=["plain", "weighted, two targets", "no intercept"])
@pytest.mark.parametrize("name", ["AIC", "BIC", "CV"])
def test_searches_agree_with_refits(name: CriterionName, rows: Rows) -> None:
    criterion = Criterion(name, rows.folds, GROUPS, rows.fit_intercept)
    every = [subset for size in range(6) for subset in itertools.combinations(range(5), size)]
    actual = [float(criterion.values(criterion.of_subset(subset))) for subset in every]
    np.testing.assert_allclose(actual, [rows.value(name, subset) for subset in every], rtol=1e-9)

    best = best_of_each_size(criterion)
    assert best == [rows.smallest(name, list(itertools.combinations(range(5), size))) for size in range(6)]

    taken: Subset = ()
    for subset in forward(criterion)[1:]:
        taken = rows.smallest(name, [tuple(sorted({*taken, group})) for group in range(5) if group not in taken])
        assert subset == taken
    kept: Subset = tuple(range(5))
    for subset in backward(criterion)[1:]:
        kept = rows.smallest(name, [tuple(sorted({*kept} - {group})) for group in kept], last=True)
        assert subset == kept


def test_halved_subsets_have_the_same_values() -> None:
    criterion = Criterion("CV", ROWS[0].folds, GROUPS, True)
    start = criterion.start
    start = type(start)(start.rows[None], start.errors[None], start.rank[None], start.groups, start.num_training)
    whole, halves = (list(_all_values(criterion, start, most_bytes=most)) for most in (1e9, 0))
    assert (len(whole), len(halves)) == (1, 16)
    torch.testing.assert_close(torch.cat(whole), torch.cat(halves), rtol=1e-12, atol=0)


def test_categories_together_as_in_statsmodels() -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"a": random.normal(size=50), "kind": random.choice(["p", "q", "r"], 50)})
    frame["b"] = random.normal(size=50)
    frame["y"] = frame["a"] + (frame["kind"] == "q") + random.normal(size=50)
    frame.loc[3, "b"] = np.nan
    kinds = pd.get_dummies(frame["kind"], dtype=float).iloc[:, 1:]
    b = pd.DataFrame({"b": frame["b"].fillna(frame["b"].mean()), "gap": frame["b"].isna() * 1.0})
    parts = {"a": frame[["a"]], "kind": kinds, "b": b}
    for drop_first in (False, True):
        result = linreg_pl.subsets(frame, "y", search="all", missing="indicator", drop_first=drop_first)
        for names, aic, bic, count in zip(result.subsets, result.aic, result.bic, result.num_parameters, strict=True):
            x = np.column_stack([np.ones(50), *(parts[name] for name in names)])
            expected = statsmodels.api.OLS(frame["y"], x).fit()
            assert (aic, bic, count) == pytest.approx((expected.aic, expected.bic, x.shape[1]), rel=1e-9)
        assert result.subsets[-1] == ["a", "kind", "b"]
        data = TableDataModule(frame, "y", missing="indicator", drop_first=drop_first)
        data.setup("solve")
        assert [name.partition("=")[0].partition(" ")[0] for name in data.feature_names] == data.columns.sources


@pytest.mark.parametrize("search", ["forward", "backward", "all"])
def test_perfect_fit_takes_no_more_columns(search: Search) -> None:
    x = 1e4 + np.random.default_rng(2).normal(size=(40, 5))
    x[:, 4] = x[:, 1]
    for criterion in ("AIC", "BIC", "CV"):
        result = linreg_pl.subsets(x, 3 + x[:, 1] - 2 * x[:, 3], search=search, criterion=criterion)
        assert result.chosen == ["x1", "x3"]


def test_nearly_collinear_columns() -> None:
    """The errors are those of a path without a penalty, which has another algorithm."""
    random = np.random.default_rng(3)
    x = random.normal(size=(80, 3))
    x[:, 2] = x[:, 1] + 1e-6 * random.normal(size=80)
    y = x @ [1, 1, -1] + random.normal(size=80)
    result = linreg_pl.subsets(1e2 + x, y, search="backward")
    path = linreg_pl.path(1e2 + x, y, l2=[0])
    assert result.num_parameters == [4, 3, 2, 1]
    assert result.errors[0] == pytest.approx(path.errors[0], rel=1e-8)


def test_fewer_rows_than_columns() -> None:
    x = np.random.default_rng(4).normal(size=(12, 20))
    y = x[:, 3] + 0.1 * np.random.default_rng(5).normal(size=12)
    result = linreg_pl.subsets(x, y, criterion="BIC", folds=3)
    assert result.index < 11
    assert all(math.isinf(each) for each in result.bic[11:])


def test_command_and_python_agree(tmp_path: Path) -> None:
    flags = ("path", "--data", "TableDataModule", "--data.path", str(DIABETES), "--data.target", "progression")
    result = linreg(*flags, "--subsets", "all", "--criterion", "BIC", "--json", cwd=tmp_path)
    assert result.code == 0, result.stderr
    ours = linreg_pl.subsets(str(DIABETES), "progression", search="all", criterion="BIC")
    assert json.loads(result.stdout) == json.loads(json.dumps(ours.to_dict()))
    assert ours.lines()[-1] == "smallest BIC: --data.features '[sex, bmi, bp, s3, s5]'"
    assert str(ours).splitlines()[-1] == "smallest BIC: features=['sex', 'bmi', 'bp', 's3', 's5']"


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_no_column_in_words(fit_intercept: bool) -> None:
    x = np.arange(30.0) % 2 - 0.5
    result = linreg_pl.subsets(x, np.arange(30.0) // 2 % 2 - 0.5, criterion="BIC", fit_intercept=fit_intercept)
    words = "no column, the intercept alone" if fit_intercept else "no column, and y is predicted by 0"
    assert result.lines()[-1] == f"smallest BIC: {words}"


def test_searches_that_are_refused() -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 21)), np.arange(30.0)
    with pytest.raises(InputError, match="at most 20 columns, and there are 21"):
        linreg_pl.subsets(x, y, search="all")
    with pytest.raises(InputError, match="criterion is 'R2': give 'AIC' or 'BIC' or 'CV'"):
        linreg_pl.subsets(x, y, criterion="R2")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'l2': this setting has no effect on subsets"):
        linreg_pl.subsets(x, y, l2=0.1)
