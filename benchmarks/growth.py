"""Measures how the cost of the exact pass and of an epoch of SGD grows, from 10 000 rows to 10 million.

    seconds(rows) = fixed + c · rows^slope

The fixed cost is what `FEW` rows take, which any batch holds many times over; it is taken off before the slope is drawn
through the logarithms, all of them of medians. One thread takes all: a short table has no work for two, and a long one
would look cheap beside it. Of an epoch the order of its rows is a part; of the exact pass, the solution.

Memory is that of a process of its own, which draws the rows in chunks while they go through the exact pass.
"""

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.page import ROOT, Page, flags_of, peak_memory, report_progress, show, silent_trainer, spread
from linreg_pl.core.optimum import optimum, penalty_rows
from linreg_pl.core.triangle import triangle_of

NUM_FEATURES = 8
CHUNK = 65_536
FEW = 10
SIZES = 4
"""Tables, each ten times as long as the one before."""

ENOUGH = 4_000_000
"""Rows, over which a short table is passed again and again: a clock needs something to count."""

TARGETS = {"slope": "1.0 ± 0.05", "memory": "≤ 1.1"}

FLAGS = flags_of("growth", rows=10_000_000, least=FEW * 10**SIZES, rounds=7)
FLAGS.add_argument("--stream", type=int, help=argparse.SUPPRESS)


def chunks(num_rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields x (n, D) and y (n, 1), drawn on demand."""
    generator = torch.Generator().manual_seed(0)
    for start in range(0, num_rows, CHUNK):
        x = torch.randn(min(CHUNK, num_rows - start), NUM_FEATURES, generator=generator)
        yield x, x.sum(dim=1, keepdim=True) + torch.randn(len(x), 1, generator=generator)


def passes_over(num_rows: int) -> int:
    """Returns how many passes make `ENOUGH` rows: 2 to 200."""
    return min(200, max(2, ENOUGH // num_rows))


def exact_pass(x: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds of the pass and the solution, as the median of some."""
    taken = []
    for _ in range(passes_over(len(x))):
        start = time.perf_counter()
        optimum(triangle_of([(x, y)]), penalty_rows(NUM_FEATURES, 0.0))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def epoch(x: torch.Tensor, y: torch.Tensor) -> float:
    """Seconds under Lightning, as the median of some; the first one, for which the run gets ready, is left out."""
    import lightning.pytorch as L  # noqa: N812 (its own documentation's name)
    import pyarrow as pa

    from linreg_pl import LinearRegression, TableDataModule
    from linreg_pl.training.executions import Executions

    class Timer(L.Callback):
        """When epochs begin, and when the last one has ended."""

        starts: list[float]

        def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.starts = []

        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.starts.append(time.perf_counter())

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.starts.append(time.perf_counter())

    columns = {f"x{index}": column.numpy() for index, column in enumerate(x.T)} | {"y": y[:, 0].numpy()}
    data, model, timer = (
        TableDataModule(pa.table(columns), "y"),
        LinearRegression.tutorial(NUM_FEATURES, learning_rate=1e-3),
        Timer(),
    )
    data.group_steps(Executions())
    trainer = silent_trainer(max_epochs=1 + passes_over(len(x)), callbacks=[timer])
    trainer.fit(model, data)
    return float(np.median(np.diff(timer.starts)[1:]))


MEASURED = {"exact pass": exact_pass, "epoch of SGD": epoch}


def streamed_memory(num_rows: int) -> float:
    """Returns the peak memory, in MB, of a process that draws rows and passes them through the exact pass."""
    command = [sys.executable, "-m", "benchmarks.growth", "--stream", str(num_rows)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def slope(rows: list[int], seconds: list[float], fixed: float) -> float:
    """Returns the slope of log(seconds - fixed) over log(rows), by least squares; NaN where the fixed cost hides it."""
    above = np.array(seconds) - fixed
    if (above <= 0).any():
        return float("nan")
    return float(np.polyfit(np.log(rows), np.log(above), 1)[0])


def measure(rounds: int, sizes: list[int]) -> dict[str, dict[int, list[float]]]:
    """Returns the seconds of each by the number of rows, round by round."""
    times: dict[str, dict[int, list[float]]] = {name: {rows: [] for rows in (FEW, *sizes)} for name in MEASURED}
    x, y = (torch.cat(parts) for parts in zip(*chunks(sizes[-1]), strict=True))
    for number in range(rounds):
        for name, job in MEASURED.items():
            for rows, seconds in times[name].items():
                seconds.append(job(x[:rows], y[:rows]))
            report_progress(f"round {number + 1} of {rounds}: {name}, {seconds[-1]:.2f} s for {rows} rows")
    return times


def figures(times: dict[str, dict[int, list[float]]], memory: dict[int, float]) -> list[str]:
    """Returns the lines of seconds, memory and slopes."""
    lines = [f"{'rows':>10}" + "".join(f"{f'{name}, ms':>28}" for name in times) + f"{'peak memory, MB':>18}"]
    for rows in (FEW, *memory):
        took = [spread([each * 1e3 for each in by_rows[rows]]) for by_rows in times.values()]
        peak = f"{memory[rows]:.0f}" if rows in memory else ""
        lines.append(f"{rows:>10}" + "".join(f"{each:>28}" for each in took) + f"{peak:>18}")
    lines.append("")
    for name, by_rows in times.items():
        fixed, *seconds = (statistics.median(took) for took in by_rows.values())
        found_slope = slope([*memory], seconds, fixed)
        shown = "-" if math.isnan(found_slope) else f"{found_slope:.2f}"
        lines.append(f"{f'slope, {name}':40}{shown:>18}   target {TARGETS['slope']}")
    *_, shorter, longest = memory
    ratio = memory[longest] / memory[shorter]
    lines.append(f"{f'memory, {longest} rows / {shorter}':40}{ratio:>18.2f}   target {TARGETS['memory']}")
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Measures seconds and memory by the number of rows."""
    torch.set_num_threads(1)
    sizes = [flags.rows // 10**power for power in reversed(range(SIZES))]
    times = measure(flags.rounds, sizes)
    memory = {rows: streamed_memory(rows) for rows in sizes}
    notes = {
        "fixed": f"what {FEW} rows take is taken off before the slope is drawn",
        "threads": "1",
        "rounds": f"{flags.rounds}, each once a round; memory once",
    }
    title = f"Growth with the rows: {NUM_FEATURES} features, float32, in memory"
    drawn = {name: {rows: statistics.median(took) for rows, took in by_rows.items()} for name, by_rows in times.items()}
    return Page(title, ("torch", "lightning", "numpy"), notes, figures(times, memory), drawn)


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.stream:
        torch.set_num_threads(1)
        triangle_of(chunks(flags.stream))
        print(peak_memory())
    else:
        show(page, flags)


if __name__ == "__main__":
    main()
