"""Measures the exact answer and scikit-learn's solvers, in rows a second, on a table in memory.

    exact pass         the triangle of the rows, and the solution from it: condition, gap, standard errors and all
    Ridge              scikit-learn's Ridge(solver="cholesky"), which squares the columns, in float32
    LinearRegression   scikit-learn's, by an SVD
    refinement         the second pass of `linreg solve`, in twice the precision
    HC3                the pass of `linreg solve --robust HC3`, on the parts in which a table's rows are read

A round runs each once, so that what else the machine does falls on all; ratios are taken within a round.
"""

import argparse
import time
from collections.abc import Callable

import torch
from sklearn.linear_model import LinearRegression, Ridge

from benchmarks.page import Page, at_least, flags_of, peak_memory, ratios, show, spread
from linreg_pl.core.optimum import Optimum, optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.robust import robust_errors
from linreg_pl.core.triangle import triangle_of
from linreg_pl.data.loaders import EVALUATION_BATCH_SIZE

EXACT, RIDGE, LEAST_SQUARES, REFINEMENT, HC3 = "exact pass", "Ridge", "LinearRegression", "refinement", "HC3"

FLAGS = flags_of("exact", rows=5_000_000, least=100)
FLAGS.add_argument("--features", type=at_least(1), default=32, help="columns of x")


def measure(rounds: int, jobs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of each, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def page(flags: argparse.Namespace) -> Page:
    """Measures the rows a second of each program, and their ratios to the exact pass."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(flags.rows, flags.features, generator=generator)
    y = x @ torch.randn(flags.features, 1, generator=generator) + torch.randn(flags.rows, 1, generator=generator)

    def exact() -> Optimum:
        return optimum(triangle_of([(x, y)]), penalty_rows(flags.features, 0.0))

    parts = list(zip(x.split(EVALUATION_BATCH_SIZE), y.split(EVALUATION_BATCH_SIZE), strict=True))
    before = peak_memory()
    solution = exact()
    grown = peak_memory() - before
    jobs: dict[str, Callable[[], object]] = {
        EXACT: exact,
        RIDGE: lambda: Ridge(solver="cholesky").fit(x.numpy(), y.numpy()),
        LEAST_SQUARES: lambda: LinearRegression().fit(x.numpy(), y.numpy()),
        REFINEMENT: lambda: refined(solution, [(x, y)]),
        HC3: lambda: robust_errors(solution, parts, "HC3"),
    }
    seconds = measure(flags.rounds, jobs)
    lines = [f"{'median (min-max)':18}{'M rows/s':>22}{'exact pass is … times as fast':>32}"]
    for name, took in seconds.items():
        speeds = [flags.rows / each / 1e6 for each in took]
        lines.append(f"{name:18}{spread(speeds):>22}{spread(ratios(took, seconds[EXACT])):>32}")
    notes = {
        "threads": str(torch.get_num_threads()),
        "memory": f"the exact pass adds {grown:.0f} MB to the process",
        "rounds": f"{flags.rounds}, each once a round",
    }
    title = f"The exact answer of {flags.rows} rows of {flags.features} features, float32, in memory"
    return Page(title, ("torch", "numpy", "scikit-learn"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
