"""Counts the right digits of each way of solving, on NIST's linear regression sets.

Digits of the worst coefficient, -log10 of its relative error against rational arithmetic; 16 is all that float64
has, and below 0 the error is larger than the coefficient.
Every program gets the same columns, the powers of x rounded to float64; the refinement alone gets their further digits.
"""

import datetime
import platform
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, Ridge

from tests.nist import NistSet, nist_sets
from tests.rationals import floats


def lstsq(nist_set: NistSet) -> torch.Tensor:
    columns, y = floats(nist_set.columns).numpy(), floats(nist_set.y).numpy()
    return torch.from_numpy(np.linalg.lstsq(columns, y, rcond=None)[0])


def scikit_learn(model: LinearRegression | Ridge, nist_set: NistSet) -> torch.Tensor:
    model.fit(floats(nist_set.x).numpy(), floats(nist_set.y).flatten().numpy())
    coefficients = [float(model.intercept_), *model.coef_] if nist_set.fit_intercept else model.coef_
    return torch.tensor(np.array(coefficients))


def triangle(nist_set: NistSet) -> torch.Tensor:
    solution = nist_set.solved()
    return solution.theta.high[solution.free]


def refined(nist_set: NistSet) -> torch.Tensor:
    solution = nist_set.refined()
    return solution.theta.high[solution.free]


PROGRAMS: dict[str, Callable[[NistSet], torch.Tensor]] = {
    "numpy `lstsq`": lstsq,
    "scikit-learn `LinearRegression`": lambda one: scikit_learn(LinearRegression(fit_intercept=one.fit_intercept), one),
    'scikit-learn `Ridge(alpha=0, solver="cholesky")`': lambda one: scikit_learn(
        Ridge(alpha=0, solver="cholesky", fit_intercept=one.fit_intercept), one
    ),
    "linreg_pl, streaming QR": triangle,
    "linreg_pl, refined": refined,
}


def table() -> list[str]:
    """Returns the lines of the table, in Markdown."""
    sets = nist_sets()
    lines = [f"| | {' | '.join(sets)} |", f"|---|{'---|' * len(sets)}"]
    for name, program in PROGRAMS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn says that some of the matrices are ill-conditioned
            digits = [f"{round(one.digits(program(one)), 1) + 0:.1f}" for one in sets.values()]
        lines.append(f"| {name} | {' | '.join(digits)} |")
    return lines


def report() -> list[str]:
    """Returns the table with its date and versions."""
    versions = [f"{name} {version(name)}" for name in ("torch", "numpy", "scipy", "scikit-learn")]
    date = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return [f"{date}, Python {platform.python_version()}, {', '.join(versions)}", "", *table()]


if __name__ == "__main__":
    sys.stdout.write("\n".join(report()) + "\n")
