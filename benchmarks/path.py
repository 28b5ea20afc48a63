"""Measures cross-validation of 50 values of l2 by five folds: its time beside the exact pass, and its memory.

exact pass     the triangle of rows in memory, and the solution from it
path           the triangles of five folds of the same rows, and the error of each l2 on each fold
streamed       the same as `linreg path` computes it for a Parquet file that is not held in memory, in a process of
               its own: the rows that it reads, divided by those of the file, and its peak memory. The first rows
               are read twice, to find the types of the columns.

Both passes take the rows in the parts in which the commands read a table.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.exact import measure
from benchmarks.page import ROOT, Page, flags_of, peak_memory, ratios, show, spread
from benchmarks.streaming import MOST_MEMORY, NUM_FEATURES, write_parquet

EXACT, PATH = "exact pass", "path"
RANGE = torch.logspace(-4, 2, 50, dtype=torch.float64)

FLAGS = flags_of("path", rows=5_000_000, least=1000)
FLAGS.add_argument("--streamed", type=Path, help=argparse.SUPPRESS)


def in_memory(rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the exact pass and of the path, round by round."""
    from linreg_pl.core.cross_validation import cross_validated
    from linreg_pl.core.folds import Folds, fold_triangles
    from linreg_pl.core.optimum import optimum, penalty_rows
    from linreg_pl.core.ridge_path import Posing
    from linreg_pl.core.threads import threads_that_pay
    from linreg_pl.core.triangle import triangle_of
    from linreg_pl.data.folds import FoldPlan
    from linreg_pl.data.loaders import EVALUATION_BATCH_SIZE
    from linreg_pl.data.table.fold_rows import numbered_rows

    generator, plan = torch.Generator().manual_seed(0), FoldPlan()
    x = torch.randn(rows, NUM_FEATURES, generator=generator)
    y = x @ torch.randn(NUM_FEATURES, 1, generator=generator) + torch.randn(rows, 1, generator=generator)

    def parts() -> Iterator[tuple[torch.Tensor, ...]]:
        return zip(x.split(EVALUATION_BATCH_SIZE), y.split(EVALUATION_BATCH_SIZE), strict=True)

    def path() -> object:
        triangles = fold_triangles(numbered_rows(parts(), plan, rows), plan.count)
        with threads_that_pay(NUM_FEATURES**3):
            return cross_validated(Folds(triangles), RANGE, Posing())

    jobs: dict[str, Callable[[], object]] = {
        EXACT: lambda: optimum(triangle_of(parts()), penalty_rows(NUM_FEATURES, 0.0)),
        PATH: path,
    }
    jobs[EXACT]()
    return measure(rounds, jobs)


def streamed(file: Path) -> dict[str, float]:
    """Reads the file as `linreg path` does; returns the passes over its rows, and the peak memory in MB."""
    from linreg_pl import TableDataModule
    from linreg_pl.data.folds import FoldPlan
    from linreg_pl.data.table.row_groups import ParquetTable
    from linreg_pl.exact.path import cross_validated_path
    from linreg_pl.training.module import LinearRegression

    num_rows, batches = 0, ParquetTable.batches

    def counted(*args: Any) -> Iterator[Any]:
        nonlocal num_rows
        for first, batch in batches(*args):
            num_rows += batch.num_rows
            yield first, batch

    ParquetTable.batches = counted  # type: ignore[method-assign, assignment]
    data = TableDataModule(str(file), "y", memory_limit=0)
    data.setup("path")
    result = cross_validated_path(data, LinearRegression(NUM_FEATURES).settings, FoldPlan(), RANGE.tolist())
    return {"passes": num_rows / result.num_rows, "memory": peak_memory()}


def measured_streamed(rows: int) -> dict[str, float]:
    """Measures in a process of its own, so that the peak memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        write_parquet(file, rows)
        command = [sys.executable, "-m", "benchmarks.path", "--streamed", str(file)]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"streamed: {answer.stderr[-2000:]}")
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return result


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds of both in memory, and the passes and the memory of a file."""
    seconds = in_memory(flags.rows, flags.rounds)
    rows_of_file = flags.rows * 4 // 5
    read = measured_streamed(rows_of_file)
    lines = [f"{'median (min-max)':26}{'seconds':>22}"]
    lines += [f"{name:26}{spread(took):>22}" for name, took in seconds.items()]
    lines += [
        f"{'path / exact pass':26}{spread(ratios(seconds[PATH], seconds[EXACT])):>22}   target ≤ 1.5",
        "",
        f"a Parquet file of {rows_of_file} rows, streamed:",
        f"{'passes over the rows':26}{read['passes']:>22.3f}   target 1",
        f"{'peak memory, MB':26}{read['memory']:>22.0f}   target < {MOST_MEMORY}",
    ]
    notes = {"threads": str(torch.get_num_threads()), "rounds": f"{flags.rounds}, each once a round"}
    title = f"Five folds and {len(RANGE)} values of l2, {flags.rows} rows of {NUM_FEATURES} features, float32"
    return Page(title, ("torch", "numpy", "pyarrow"), notes, lines)


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.streamed:
        print(json.dumps(streamed(flags.streamed)))
    else:
        show(page, flags)


if __name__ == "__main__":
    main()
