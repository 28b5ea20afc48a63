"""Trains random settings on six tables, three of them real, and counts the runs that end as `linreg tune` predicts.

within the band    of the runs that are predicted not to diverge, those whose loss on the held-out rows is within 95%
                   bounds
foretold           the runs of which it is right whether they diverge, that is, end with a larger J over the rows to fit
                   than they start with
near the bound     the same at 0.9 to 1.1 of the largest stable learning rate; the others have 1e-4 to 3 times it
the bound alone    the same, if the runs above the largest stable learning rate were those that diverge

Each run has its own held-out rows and its own order of the rows. Last, some settings are run with many orders and the
same held-out rows. Without a bias the mean of (measured - predicted) / deviation of the band is 0.
"""

import argparse
import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer

import linreg_pl
from benchmarks.page import ROOT, Page, at_least, report_progress, show
from examples.make_tables import shipped
from linreg_pl.core.expected_loss import ExpectedLoss
from linreg_pl.data.table.split import Split
from linreg_pl.errors import Diverged
from linreg_pl.tuning.prediction import Prediction

ANYWHERE, NEAR = (1e-4, 3.0), (0.9, 1.1)
"""Ranges of the learning rate, in largest stable ones."""
LONGEST = 5000
"""Steps of a run."""
TARGETS = ("93-97%", "≥ 99%", "≥ 99%")

OF_BIAS: list[dict[str, Any]] = [
    {"learning_rate": 0.3, "l2": 0.1},
    {"learning_rate": 0.1, "momentum": 0.5},
    {"learning_rate": 0.3, "schedule": "constant"},
    {"learning_rate": 0.3, "schedule": "constant", "tail_averaging": 0.5},
]

FLAGS = argparse.ArgumentParser(prog="python -m benchmarks.forecasts")
FLAGS.add_argument("--runs", type=at_least(6), default=200, help="random settings, and as many near the bound")
FLAGS.add_argument("--first", type=at_least(0), default=0, help="number of the first setting, to draw others")
FLAGS.add_argument("--orders", type=at_least(2), default=100, help="orders of the rows, to measure the bias")
FLAGS.add_argument("--output", type=Path, help="file to write the page to, too")


@dataclass(frozen=True)
class Table:
    """Rows, and the names of the columns to predict."""

    rows: pd.DataFrame
    targets: list[str]


def diabetes() -> Table:
    return Table(pd.read_csv(ROOT / "examples" / "diabetes.csv"), ["progression"])


def tables() -> dict[str, Table]:
    """Returns three real tables and three made ones, by a name."""
    random = np.random.default_rng(0)
    cancer = load_breast_cancer(as_frame=True).frame  # 30 columns, many almost collinear
    normal = random.normal(size=(3000, 8))
    heavy = random.standard_t(4, size=(1500, 5)) * [1, 5, 25, 1, 1]
    collinear = np.repeat(random.normal(size=(700, 6)), 2, axis=1) + 0.1 * random.normal(size=(700, 12))
    return {
        "diabetes": diabetes(),
        "diamonds": Table(pd.read_csv(shipped("plotnine", "data/diamonds.csv")), ["price"]),
        "breast cancer": Table(cancer, ["target"]),
        "made: normal": made(normal, normal[:, :4].sum(axis=1, keepdims=True) + random.normal(size=(3000, 1))),
        "made: heavy tails": made(heavy, heavy[:, :3] @ np.ones((3, 1)) + 3 * random.standard_t(4, size=(1500, 1))),
        "made: collinear, 2 targets": made(collinear, collinear[:, ::6] + random.normal(size=(700, 2))),
    }


def made(x: np.ndarray, y: np.ndarray) -> Table:
    columns, targets = [f"x{index}" for index in range(x.shape[1])], [f"y{index}" for index in range(y.shape[1])]
    return Table(pd.DataFrame(np.hstack([x, y]), columns=[*columns, *targets]), targets)


@dataclass(frozen=True)
class Ended:
    """How a run was predicted to end, and how it ended."""

    predicted: ExpectedLoss
    should_diverge: bool
    measured: float
    diverged: bool
    is_above_bound: bool

    @property
    def is_foretold(self) -> bool:
        return self.should_diverge == self.diverged

    @property
    def is_within(self) -> bool:
        return self.predicted.contains(self.measured)

    @property
    def deviations(self) -> float:
        """Returns how far the run ended above the predicted loss, in standard deviations of the band."""
        return (self.measured - self.predicted.mean) / (self.predicted.high - self.predicted.low) * 2 * 1.96


def ended(
    table: Table, max_epochs: int, data: dict[str, Any], settings: dict[str, Any], share: float | None = None
) -> Ended:
    """Predicts a run and trains it; `share` is its learning rate in largest stable ones, unless settings give one."""
    module = linreg_pl.TableDataModule(table.rows, table.targets, **data)
    module.setup("fit")
    sizes = module.num_features, module.num_targets
    if share is not None:
        model = linreg_pl.LinearRegression(*sizes, **settings)
        model.learn_from(module, max_epochs)
        bound = model.problem(module).largest_stable_learning_rate(model.momentum)
        settings = {**settings, "learning_rate": share * bound}
    model = linreg_pl.LinearRegression(*sizes, **settings)
    prediction = Prediction(model, module, max_epochs * module.steps_per_epoch)
    problem = model.problem(module)
    is_above_bound = model.learning_rate > problem.largest_stable_learning_rate(model.momentum)
    try:
        run = linreg_pl.fit(table.rows, target=table.targets, max_epochs=max_epochs, **data, **settings)
    except Diverged:
        measured, diverged = math.inf, True
    else:
        at_start, at_end = (problem.gap(problem.errors(each.W, each.b)) for each in (model, run))
        measured, diverged = float(run.trainer.callback_metrics["val/mse"]), not at_end <= at_start
    return Ended(prediction.loss(), prediction.diverges(), measured, diverged, is_above_bound)


def drawn(table: Table, seed: int, shares: tuple[float, float]) -> Ended:
    """Runs settings that are drawn at random."""
    random = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return float(np.exp(random.uniform(np.log(low), np.log(high))))

    batch_size = round(between(8, len(table.rows) / 2))
    max_epochs = min(round(between(1, 100)), max(1, LONGEST * batch_size // len(table.rows)))
    settings = {
        "momentum": random.choice([0.0, random.uniform(0, 0.95)]),
        "schedule": str(random.choice(["constant", "cosine", "one_cycle"])),
        "tail_averaging": random.choice([0.0, random.uniform(0, 1)]),
        "l2": random.choice([0.0, between(1e-4, 1)]),
        "precondition": bool(random.choice([False, True])),
    }
    data = {"val_fraction": 0.2, "batch_size": batch_size, "seed": seed}
    return ended(table, max_epochs, data, settings, between(*shares))


Runs = dict[str, tuple[list[Ended], list[Ended]]]
"""By table: those anywhere, and those near the bound."""


def measured(num_runs: int, first: int) -> Runs:
    """Runs so many settings anywhere, and as many near the bound, in turn on each table."""
    runs, all_tables = Runs(), tables()
    for number, (name, table) in enumerate(all_tables.items()):
        seeds = [seed for seed in range(first, first + num_runs) if seed % len(all_tables) == number]
        anywhere, near = ([drawn(table, seed, shares) for seed in seeds] for shares in (ANYWHERE, NEAR))
        runs[name] = anywhere, near
        report_progress(line(f"{name}, {len(table.rows)} rows", anywhere, near))
    return runs


def share_of(are_right: Sequence[bool]) -> str:
    """Returns how many of them are right, as a cell."""
    return f"{f'{sum(are_right)} of {len(are_right)}, {np.mean(are_right):.1%}':>20}"


def by_bound(runs: Sequence[Ended]) -> str:
    """Returns of how many runs the bound alone is right, as a cell."""
    return share_of([run.is_above_bound == run.diverged for run in runs])


def line(name: str, anywhere: Sequence[Ended], near: Sequence[Ended]) -> str:
    """Returns a line of the page: of how many runs each of the three is true."""
    counted = (
        [run.is_within for run in anywhere if not run.should_diverge],
        [run.is_foretold for run in anywhere],
        [run.is_foretold for run in near],
    )
    return f"{name:40}" + "".join(map(share_of, counted))


def biases(orders: int) -> list[str]:
    """Returns a line for each of some settings: the mean deviation of runs that differ in the order of their rows."""
    rows = diabetes().rows
    is_held_out = np.asarray(Split(0, 0.2).mask("val", 0, len(rows)))
    table = Table(rows[~is_held_out], diabetes().targets)
    lines = []
    for settings in OF_BIAS:
        runs = [
            ended(table, 20, {"val_path": rows[is_held_out], "batch_size": 50, "seed": seed}, settings)
            for seed in range(orders)
        ]
        deviations = [run.deviations for run in runs]
        mean, error = statistics.mean(deviations), statistics.stdev(deviations) / orders**0.5
        words = ", ".join(f"{name} {value}" for name, value in settings.items())
        lines.append(f"{words:70}{mean:>10.2f} ± {error:.2f}")
        report_progress(lines[-1])
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Counts the runs that end as predicted, and measures the bias."""
    torch.set_num_threads(1)
    logging.getLogger("linreg_pl").setLevel(logging.ERROR)  # of runs that end before they converge
    runs = measured(flags.runs, flags.first)
    anywhere, near = ([run for both in runs.values() for run in both[place]] for place in (0, 1))
    lines = [
        f"{'':40}{'within the band':>20}{'foretold':>20}{'near the bound':>20}",
        *(line(name, *both) for name, both in runs.items()),
        line("all", anywhere, near),
        f"{'the bound alone':60}{by_bound(anywhere)}{by_bound(near)}",
        f"{'target':40}" + "".join(f"{target:>20}" for target in TARGETS),
        "",
        f"diabetes, {flags.orders} orders of the rows: (measured - predicted) / deviation of the band, ± s.e.",
        *biases(flags.orders),
    ]
    title = f"Predicted losses: {flags.runs} random settings on six tables, and as many near the stability bound"
    return Page(
        title, ("torch", "lightning", "numpy", "scikit-learn"), {"threads": "1", "first": f"{flags.first}"}, lines
    )


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
