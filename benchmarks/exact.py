"""What does the exact answer cost, beside scikit-learn's solvers? Rows a second, on a table in memory.

    exact pass         the triangle of the rows, and the solution from it: condition, gap, standard errors and all
    Ridge              scikit-learn's Ridge(solver="cholesky"), which squares the columns, in float32
    LinearRegression   scikit-learn's, by an SVD
    refinement         the second pass of `linreg solve`, in twice the precision

A round runs each once, so that what else the machine does falls on all; ratios are taken within a round.

    python -m benchmarks.exact [--rows 5000000] [--features 32] [--rounds 5]
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import sklearn
import torch
from sklearn.linear_model import LinearRegression, Ridge

from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.refinement import refined
from linreg_pl.core.triangle import triangle_of

EXACT, RIDGE, LEAST_SQUARES, REFINEMENT = "exact pass", "Ridge", "LinearRegression", "refinement"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("rows", 5_000_000), ("features", 32), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.rows, args.features, generator=generator)
    y = x @ torch.randn(args.features, 1, generator=generator) + torch.randn(args.rows, 1, generator=generator)

    def exact() -> object:
        return optimum(triangle_of([(x, y)]), penalty_rows(args.features, 0.0))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    solution = optimum(triangle_of([(x, y)]), penalty_rows(args.features, 0.0))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    jobs: dict[str, Callable[[], object]] = {
        EXACT: exact,
        RIDGE: lambda: Ridge(solver="cholesky").fit(x.numpy(), y.numpy()),
        LEAST_SQUARES: lambda: LinearRegression().fit(x.numpy(), y.numpy()),
        REFINEMENT: lambda: refined(solution, [(x, y)]),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(args.rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            seconds[name].append(time.perf_counter() - start)
    print(f"{args.rows} rows x {args.features} features, float32, in memory; {args.rounds} rounds")
    print(f"torch {torch.__version__} on {torch.get_num_threads()} threads, scikit-learn {sklearn.__version__}")
    print(f"the exact pass adds {grown / 1024:.0f} MB to the process")
    print(f"{'':18}{'M rows/s':>10}{'exact pass is':>16}{'least':>8}{'most':>8}")
    for name, took in seconds.items():
        ratios = [other / ours for other, ours in zip(took, seconds[EXACT], strict=True)]
        speed = args.rows / statistics.median(took) / 1e6
        print(f"{name:18}{speed:>10.2f}{statistics.median(ratios):>14.2f} x{min(ratios):>8.2f}{max(ratios):>8.2f}")


if __name__ == "__main__":
    main()
