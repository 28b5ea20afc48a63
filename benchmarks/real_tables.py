"""Fits three real tables with default settings, and compares the exact answer with that of other programs.

    linreg fit      examples/*.yaml as they are, each a process of its own, timed from spawn to exit
    linreg solve    the same rows, `--model.l2 0`
    statsmodels     OLS, coefficients and standard errors
    scikit-learn    Ridge on standardized features, or LinearRegression without a penalty: their J is the least

The others get their columns from pandas, which reads the same files; what is text becomes `get_dummies`.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
import torch
import yaml
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
from statsmodels.tools.sm_exceptions import SingularMatrixWarning

from benchmarks.page import ROOT, cpu_model
from linreg_pl.data.table.split import Part, Split

SHOWN = {  # coefficients that every program means the same by
    "diabetes": ("intercept", "bmi", "s1", "s5"),
    "diamonds": ("intercept", "carat", "cut=Ideal", "color=J", "clarity=IF", "x"),
    "flights": ("dep_delay", "distance", "air_time", "hour", "month"),
}


def settings(name: str) -> dict[str, Any]:
    """Returns the data settings of the table's configuration."""
    arguments: dict[str, Any] = yaml.safe_load((ROOT / "examples" / f"{name}.yaml").read_text())["data"]["init_args"]
    return arguments


def flags_of_solve(name: str) -> tuple[str, ...]:
    """Returns the flags of ordinary least squares on the table; diabetes.yaml has settings that `solve` lacks."""
    data_flags = [f"--config=examples/{name}.yaml"]
    if name == "diabetes":
        data_flags = ["--data=TableDataModule", "--data.path=examples/diabetes.csv", "--data.target=progression"]
    return (*data_flags, "--model.l2=0", "--json")


# ---- the others ----


def table(folder: Path, name: str) -> pd.DataFrame:
    """Reads all rows of the columns that the configuration names, with pandas."""
    given = settings(name)
    path = folder / given["path"]
    read = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    return read[[*given["features"], given["target"]]] if "features" in given else read


def rows(folder: Path, name: str, part: Part = "fit") -> tuple[pd.DataFrame, pd.Series]:
    """Returns x (N, D) and y (N,) of a part of the rows, in float64, without the rows that lack a value."""
    given, read = settings(name), table(folder, name)
    mask = Split(0, given.get("val_fraction", 0.0)).mask(part, 0, len(read))
    complete = (read if mask is None else read[mask]).dropna()
    x = complete.drop(columns=given["target"])
    x = pd.get_dummies(x, prefix_sep="=", drop_first=given.get("drop_first", False), dtype=float)
    return x.astype(float), complete[given["target"]].astype(float)


def ordinary(x: pd.DataFrame, y: pd.Series) -> Any:
    """Fits OLS with statsmodels, and names the intercept as `solve` does.

    Where the columns of a text's levels add up to the intercept's, it takes a pseudo-inverse: what all solutions have
    in common is the same, and the levels' own numbers differ.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        return sm.OLS(y, x.assign(intercept=1.0)).fit()


def penalized(x: pd.DataFrame, y: pd.Series, l2: float) -> tuple[float, np.ndarray]:
    """Returns scikit-learn's least J, with l2 on the weights of standardized features, and its predictions (N,)."""
    z = StandardScaler().fit_transform(x)
    # Without a penalty, Ridge is wrong by 4e-6 of the least J where columns are collinear.
    estimator = Ridge(alpha=len(y) * l2) if l2 else LinearRegression()
    predictions = estimator.fit(z, y).predict(z)
    return objective(estimator.coef_, predictions, y, l2), predictions


def objective(W: np.ndarray, predictions: np.ndarray, y: pd.Series, l2: float) -> float:
    """Returns J in float64, for W (D,) of standardized features."""
    return float(np.mean((predictions - y) ** 2) + l2 * np.sum(W**2))


# ---- what a run left behind ----


@dataclass(frozen=True)
class Fit:
    """A run's report, and the checkpoint at its end."""

    report: dict[str, Any]
    checkpoint: dict[str, Any]

    @classmethod
    def in_folder(cls, run: Path) -> "Fit":
        report = json.loads((run / "report.json").read_text())
        path = run / "checkpoints" / f"step={report['global_step']}.ckpt"
        return cls(report, torch.load(path, map_location="cpu", weights_only=True))

    @property
    def l2(self) -> float:
        return float(self.checkpoint["hyper_parameters"]["l2"])

    @property
    def num_rows(self) -> int:
        return int(self.checkpoint["exact"]["num_rows"])

    @property
    def batch_size(self) -> int:
        """Returns the batch size; the rows left over are fewer than the batches."""
        steps_per_epoch: int = self.report["global_step"] // self.report["epochs"]
        return self.num_rows // steps_per_epoch

    def predictions(self, x: pd.DataFrame) -> np.ndarray:
        """Returns the predictions (N,) for x (N, D), in float64."""
        names = self.checkpoint["TableDataModule"]["feature_names"]
        state = {key: value.double().numpy() for key, value in self.checkpoint["state_dict"].items()}
        z = (x[names].to_numpy() - state["x_mean"]) / state["x_scale"]
        return np.asarray(z @ state["W"][:, 0] + state["b"] + state["y_mean"])

    def share_missed(self, x: pd.DataFrame, y: pd.Series) -> float:
        """Returns J less its least value, as a share of the variance explained, on the rows that were fitted."""
        least, _ = penalized(x, y, self.l2)
        W = self.checkpoint["state_dict"]["W"].double().numpy()[:, 0]
        return (objective(W, self.predictions(x), y, self.l2) - least) / (float(np.var(y)) - least)


# ---- the page ----


def timed(folder: Path, *args: str) -> tuple[float, str]:
    """Returns the seconds of a command from spawn to exit, and its output."""
    command = [str(Path(sys.executable).with_name("linreg")), *args]
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return time.monotonic() - start, done.stdout


def line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def shown(share: float) -> str:
    """Formats a share. Below 1e-9 it is only the rounding of float32, in which the features' scales are stored."""
    return f"{share:.1e}" if share >= 1e-9 else "below 1e-9"


def how_it_was_fitted(folder: Path, number: int, name: str) -> tuple[str, Fit]:
    """Returns a line of the first table, and the run."""
    seconds, _ = timed(folder, "fit", "--config", f"examples/{name}.yaml")
    fit = Fit.in_folder(folder / "lightning_logs" / f"version_{number}")
    model = fit.checkpoint["hyper_parameters"]
    x, y = rows(folder, name)
    return line(
        name,
        f"{fit.num_rows} × {x.shape[1]}",
        str(fit.batch_size),
        f"{fit.checkpoint['descent']['lr']:.4g}",
        f"{model['momentum']:g}, {model['schedule']}",
        str(fit.report["epochs"]),
        shown(fit.share_missed(x, y)),
        f"{seconds:.1f}",
    ), fit


def agreement(folder: Path, name: str, fit: Fit) -> list[str]:
    """Returns the lines of the second table: the coefficients, then R²."""
    x, y = rows(folder, name)
    _, output = timed(folder, "solve", *flags_of_solve(name))
    solved, peer = json.loads(output), ordinary(x, y)
    solved["coefficients"]["intercept"] = solved["intercept"]
    lines = []
    for coefficient in SHOWN[name]:
        ours = solved["coefficients"][coefficient]
        fitted = fit.report["coefficients"]["b" if coefficient == "intercept" else f"W/{coefficient}"]
        lines.append(
            line(
                f"{name}: {coefficient}",
                f"{fitted:.6g}",
                f"{ours['estimate']:.9g} ({ours['standard_error']:.6g})",
                f"{peer.params[coefficient]:.9g} ({peer.bse[coefficient]:.6g})",
            )
        )
    fitted_r2 = 1 - np.mean((fit.predictions(x) - y) ** 2) / np.var(y)
    return [*lines, line(f"{name}: R²", f"{fitted_r2:.6g}", f"{solved['r_squared']:.9g}", f"{peer.rsquared:.9g}")]


def under(titles: Sequence[str], lines: Iterable[str]) -> list[str]:
    """Returns a table in Markdown."""
    return ["", line(*titles), f"|{'---|' * len(titles)}", *lines]


FITTED = ("table", "rows × features", "batch", "rate", "momentum, schedule", "epochs", "gap, of variance", "seconds")
AGREEING = ("", "`fit`", "`solve`", "statsmodels")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "examples").symlink_to(ROOT / "examples")
        fitted = [how_it_was_fitted(folder, number, name) for number, name in enumerate(SHOWN)]
        agreeing = [agreement(folder, name, fit) for name, (_, fit) in zip(SHOWN, fitted, strict=True)]
    packages = ("torch", "lightning", "pandas", "scikit-learn", "statsmodels")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    machine = f"{cpu_model()}, {os.cpu_count()} cores; Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {machine}, {versions}")
    print(*under(FITTED, [text for text, _ in fitted]), sep="\n")
    print(*under(AGREEING, chain.from_iterable(agreeing)), sep="\n")


if __name__ == "__main__":
    main()
