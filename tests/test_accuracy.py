"""Compares the digits that are called certain with those that are right, against rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

import linreg_pl
import linreg_pl.exact.solution as exact_solution
from linreg_pl.core.decimals import are_decimals
from tests.nist import nist_sets
from tests.rationals import Paraboloid, rational, with_ones

ALL = 15.9
"""Digits of float64."""


def right_digits(computed: float, exact: Fraction) -> float:
    """Returns -log10 of the relative error; infinite where there is none."""
    error = abs(Fraction(computed) / exact - 1)
    return -math.log10(error) if error else math.inf


def random_table(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a few rows whose columns have a condition number of up to 1e14, other sizes, and means far from 0."""
    random = np.random.default_rng(seed)
    N = int(random.integers(6, 40))
    D = int(random.integers(1, min(N - 2, 6)))
    lengths = np.geomspace(1, 10 ** -random.uniform(0, 14), D)
    x = np.linalg.qr(random.normal(size=(N, D)))[0] * lengths @ np.linalg.qr(random.normal(size=(D, D)))[0]
    x = x * 10 ** random.uniform(-3, 3, size=D) + random.normal(size=D) * 10 ** random.uniform(-2, 2)
    noise = random.normal(size=N) * 10 ** random.uniform(-8, 1)
    return x, x @ random.normal(size=D) + noise


def compared(seed: int) -> list[tuple[float, float]]:
    """Returns the digits called certain, and those that are right, of each coefficient that a table determines."""
    x, y = random_table(seed)
    solution = linreg_pl.solve(x, y)
    exact = Paraboloid(with_ones(rational(x.tolist())), rational([[value] for value in y])).minimum()
    estimates = zip(solution.coefficients.values(), solution.certified_digits.values(), exact, strict=True)
    return [(certain, right_digits(value, truth)) for value, certain, (truth,) in estimates if not math.isnan(certain)]


def test_random_tables(request: pytest.FixtureRequest) -> None:
    """No digit that is called certain is wrong, and few that are right are not called so."""
    pairs = [pair for seed in range(2000 if request.config.getoption("--digits") else 60) for pair in compared(seed)]
    certain, right = np.array(pairs).T
    missed = np.minimum(right, ALL) - certain
    print(f"{len(pairs)} coefficients: {(certain > right).sum()} false, {(missed <= 1.5).mean():.2%} within 1.5 digits")
    assert (certain <= right).all()
    assert (missed <= 1.5).mean() >= 0.95


SETS = nist_sets()


@pytest.mark.parametrize("name", SETS)
def test_nist_sets(name: str) -> None:
    """The rounding of the published decimals, and of Filip's powers, counts as well."""
    nist_set = SETS[name]
    x, y = ([[float(value) for value in row] for row in rows] for rows in (nist_set.x, nist_set.y))
    solution = linreg_pl.solve(np.array(x), np.array(y)[:, 0], fit_intercept=nist_set.fit_intercept)
    certain = list(solution.certified_digits.values())
    right = list(map(right_digits, solution.coefficients.values(), nist_set.coefficients))
    assert all(one <= other for one, other in zip(certain, right, strict=True))
    assert all(min(other, ALL) - one <= 3.5 for one, other in zip(certain, right, strict=True))


@pytest.mark.parametrize(("nearly_equal", "is_refined"), [(1.0, False), (1e-9, True)])
def test_large_table(nearly_equal: float, is_refined: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again only where a digit that is printed is uncertain; what is called certain is right."""
    monkeypatch.setattr(exact_solution, "SMALL", 0)
    random = np.random.default_rng(3)
    x = random.normal(size=(5000, 5)) + 100
    x[:, 1] = x[:, 0] + nearly_equal * random.normal(size=len(x))
    y = x[:, :3] @ [1.0, 2.0, 3.0] + random.normal(size=len(x))
    solution = linreg_pl.solve(x, y)
    assert (solution.problem.optimum.refined_error is not None) == is_refined
    monkeypatch.setattr(exact_solution, "SMALL", math.inf)
    better = linreg_pl.solve(x, y)
    for name, certain in solution.certified_digits.items():
        assert 7 <= certain <= right_digits(solution.coefficients[name], Fraction(better.coefficients[name]))


def test_collinear_table() -> None:
    """Where the data determines no coefficient, there are no digits to count, and the fit is refined all the same."""
    solution = linreg_pl.solve([[1, 1], [2, 2], [4, 4]], [1, 2, 3], fit_intercept=False)
    assert all(map(math.isnan, solution.certified_digits.values()))
    assert solution.problem.optimum.refined_error is not None
    assert "certain digits" not in solution.summary()
    with_another = linreg_pl.solve([[1, 1, 1], [2, 2, 5], [4, 4, 3]], [1, 3, 4], fit_intercept=False)
    assert "certain digits of the estimates that the rows determine: at least 15" in with_another.summary()


def test_decimals() -> None:
    """A fraction of ten is no float64; whole numbers, halves, and numbers with more digits are taken as they are."""
    drawn = np.random.default_rng(0).normal(size=4)
    columns = {"whole": [1, 2, 3, 1e15], "halves": [0.5, 0.25, 3, 7], "drawn": drawn, "tenths": [0.1, 1, 2.5, 3]}
    rows = torch.tensor(np.array(list(columns.values())).T)
    assert are_decimals(rows).tolist() == [0, 0, 1, 1], "beside decimals, longer numbers were computed from them"
    assert are_decimals(rows[:, :3]).tolist() == [0, 0, 0]
