"""Loads NIST's linear regression sets (www.itl.nist.gov/div898/strd), with their solutions in rational arithmetic.

`nist.json` has the published rows, and the certified values where NIST prints them to 15 digits. Powers of x are not
rounded: rounded to float64, the columns of Filip and Wampler would pose another problem.
"""

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.triangle import triangle_of
from tests.rationals import Matrix, Paraboloid, add, floats, identity, pairs, product, solve, squares, transposed
from tests.rationals import with_ones as ones_and

ROWS_A_CHUNK = 8


@dataclass(frozen=True)
class NistSet:
    """One set, its rows as rational numbers."""

    name: str
    x: Matrix  # (N, D)
    y: Matrix  # (N, 1)
    fit_intercept: bool
    certified: dict[str, Any]

    @property
    def columns(self) -> Matrix:
        """Returns [1, x], or x without an intercept."""
        return ones_and(self.x) if self.fit_intercept else self.x

    @cached_property
    def coefficients(self) -> list[Fraction]:
        """Solves exactly; the intercept comes first."""
        return [value for (value,) in Paraboloid(self.columns, self.y).minimum()]

    @cached_property
    def _residual_squares(self) -> Fraction:
        fitted = product(self.columns, [[value] for value in self.coefficients])
        return squares(add(self.y, fitted, factor=-1))

    @property
    def residual_std(self) -> float:
        """Computes √(RSS / (N - P))."""
        return math.sqrt(self._residual_squares / (len(self.y) - len(self.coefficients)))

    @property
    def standard_errors(self) -> list[float]:
        """Computes the residual standard deviation times the root of the diagonal of (A'A)⁻¹."""
        gram = product(transposed(self.columns), self.columns)
        inverse = solve(gram, identity(len(gram)))
        return [self.residual_std * math.sqrt(row[i]) for i, row in enumerate(inverse)]

    @property
    def r_squared(self) -> float:
        """Computes 1 - RSS / TSS, about the mean, or about 0 without an intercept."""
        mean = sum((value for (value,) in self.y), Fraction()) / len(self.y) if self.fit_intercept else 0
        return float(1 - self._residual_squares / sum((value - mean) ** 2 for (value,) in self.y))

    def solved(self) -> Optimum:
        """Solves by streaming QR."""
        x, y = floats(self.x), floats(self.y)
        chunks = zip(x.split(ROWS_A_CHUNK), y.split(ROWS_A_CHUNK), strict=True)
        return optimum(triangle_of(chunks), penalty_rows(len(self.x[0]), l2=0.0), self.fit_intercept)

    def refined(self) -> Optimum:
        """Solves by streaming QR and one more pass in pairs of float64."""
        x, y = torch.stack(pairs(self.x), dim=2), floats(self.y)
        return refined(self.solved(), zip(x.split(ROWS_A_CHUNK), y.split(ROWS_A_CHUNK), strict=True))

    def digits(self, coefficients: Tensor) -> float:
        """Counts the worst coefficient's correct digits, -log10 of its relative error; at most 16."""
        computed = [Fraction(value) for value in coefficients.to(torch.float64).flatten().tolist()]
        errors = [abs(ours / exact - 1) for ours, exact in zip(computed, self.coefficients, strict=True)]
        return -math.log10(max(*errors, Fraction(1, 10**16)))


def nist_sets() -> dict[str, NistSet]:
    """Loads all sets, by name."""
    text = (Path(__file__).parent / "nist.json").read_text()
    published = json.loads(text, parse_float=Fraction, parse_int=Fraction)
    return {
        name: NistSet(
            name=name,
            x=[
                [value**power for value in row for power in range(1, int(published[name]["degree"]) + 1)]
                for row in rows
            ],
            y=[[value] for value in published[name]["y"]],
            fit_intercept=bool(published[name]["intercept"]),
            certified={key: published[name].get(key) for key in CERTIFIED},
        )
        for name, rows in ((name, entry["x"]) for name, entry in published.items())
    }


CERTIFIED = ("coefficients", "standard_errors", "residual_std", "r_squared")
