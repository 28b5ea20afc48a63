"""Tables with names that need escaping, and independent answers about their rows, for reports of runs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import mean_squared_error, r2_score
from statsmodels.api import OLS, add_constant

from tests.commands import linreg

RUN = "lightning_logs/version_0"
FEATURES = ["a<b>&amp;", "x</style><script>", "\"q\" 'z'"]
TARGET = "y & <i>"


@dataclass(frozen=True)
class Parts:
    """The rows to fit, to validate and to test."""

    fit: pd.DataFrame
    val: pd.DataFrame
    test: pd.DataFrame


def write_parts(folder: Path) -> Parts:
    """Writes fit.csv, val.csv and test.csv."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=(90, 3)) * [1, 20, 0.1] + [5, 0, 1]
    y = x @ [2, -0.3, 40] + 7 + generator.normal(size=90)
    frame = pd.DataFrame(x, columns=FEATURES).assign(**{TARGET: y})
    parts = Parts(frame[:60], frame[60:80], frame[80:])
    for name, rows in vars(parts).items():
        rows.to_csv(folder / f"{name}.csv", index=False)
    return parts


def fit(folder: Path, *flags: str, held_out: bool = True) -> None:
    """Trains on fit.csv."""
    files = ("--data.val_path", "val.csv", "--data.test_path", "test.csv") if held_out else ()
    data = ("--data", "TableDataModule", "--data.path", "fit.csv", "--data.target", TARGET)
    result = linreg("fit", *data, *files, *flags, cwd=folder)
    assert result.code == 0, result.stderr


def ordinary_least_squares(rows: pd.DataFrame) -> OLS:
    """Returns what statsmodels fits, the intercept first."""
    return OLS(rows[TARGET].to_numpy(), add_constant(rows[FEATURES].to_numpy())).fit()


def scores(rows: pd.DataFrame, theta: np.ndarray) -> tuple[float, float]:
    """Returns R² and the mean squared error over some rows, of predictions by θ, the intercept first."""
    predicted = theta[0] + rows[FEATURES].to_numpy() @ theta[1:]
    return float(r2_score(rows[TARGET], predicted)), float(mean_squared_error(rows[TARGET], predicted))
