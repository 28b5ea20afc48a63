"""Measures the path of an elastic net over 100 values of its penalty, on a table in memory.

    ours                  the triangle of the rows, and coordinate descent on it, to a duality gap of rounding
    enet_path, Gram       scikit-learn's enet_path on the centered rows, which takes X'X first: its default
    enet_path, rows       the same without X'X: each sweep reads all rows

A round runs each once; ratios are taken within a round.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import enet_path

from benchmarks.exact import measure
from benchmarks.page import Page, at_least, flags_of, ratios, show, spread
from linreg_pl.core.elastic_net import L1Problem
from linreg_pl.core.triangle import center_of, triangle_of

OURS, GRAM, ROWS = "ours", "enet_path, Gram", "enet_path, rows"

FLAGS = flags_of("elastic_net", rows=5_000_000, least=1000)
FLAGS.add_argument("--features", type=at_least(1), default=32, help="columns of x")
FLAGS.add_argument("--values", type=at_least(2), default=100, help="values of the penalty")


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds of each, and their ratios to ours."""
    D, ratio, generator = flags.features, 0.5, torch.Generator().manual_seed(0)
    x = torch.randn(flags.rows, D, generator=generator)
    x += 0.7 * torch.randn(flags.rows, 1, generator=generator)
    weights = torch.randn(D, 1, generator=generator) * (torch.arange(D) % 4 == 0).unsqueeze(1)
    y = x @ weights + 3 * torch.randn(flags.rows, 1, generator=generator)
    results = dict[str, np.ndarray]()

    def ours() -> None:
        data = triangle_of([(x, y)], center_of(x, y))
        R = data.R[1:] / data.num_rows**0.5
        problem = L1Problem(R[:, 1 : 1 + D], R[:, 1 + D :])
        largest = problem.largest_l1 / 2 / ratio
        alphas = (largest * np.logspace(0, -3, flags.values)).tolist()
        path = problem.path((2 * ratio * alpha, (1 - ratio) * alpha) for alpha in alphas)
        results[OURS] = torch.cat(list(path), dim=1).numpy()

    def theirs(name: str, precompute: str | bool) -> None:
        z, centered = x.numpy() - x.numpy().mean(axis=0), y.numpy()[:, 0] - y.numpy().mean()
        results[name] = enet_path(z, centered, l1_ratio=ratio, alphas=flags.values, precompute=precompute)[1]

    jobs: dict[str, Callable[[], object]] = {
        OURS: ours,
        GRAM: lambda: theirs(GRAM, "auto"),
        ROWS: lambda: theirs(ROWS, False),
    }
    seconds = measure(flags.rounds, jobs)
    lines = [f"{'median (min-max)':18}{'seconds':>22}{'ours takes … of it':>32}"]
    for name, took in seconds.items():
        lines.append(f"{name:18}{spread(took):>22}{spread(ratios(seconds[OURS], took)):>32}")
    apart = max(float(np.abs(results[name] - results[OURS]).max()) for name in (GRAM, ROWS))
    notes = {
        "threads": str(torch.get_num_threads()),
        "agree": f"coefficients differ by at most {apart:.2g}, at scikit-learn's default tolerance",
        "rounds": f"{flags.rounds}, each once a round",
    }
    title = f"An elastic net of {flags.rows} rows of {D} features at {flags.values} penalties, float32, in memory"
    return Page(title, ("torch", "numpy", "scikit-learn"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
