"""Measures the cost of a table larger than memory, beside the cost of only reading it.

    scan     a bare pyarrow scan of the same columns, whose batches are dropped
    epoch    an epoch of SGD under Lightning, the table streamed and shuffled
    QR       the pass before the first epoch: check, checksum, and triangle of all rows
    CSV      reading a CSV file into memory, beside pyarrow.csv.read_csv

Every measurement is a process of its own, so that its peak memory is its own. A round takes each once; ratios are taken
within a round, with as many threads for all.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet

from benchmarks.page import (
    ROOT,
    Page,
    at_least,
    flags_of,
    peak_memory,
    ratios,
    report_progress,
    show,
    silent_trainer,
    spread,
)

NUM_FEATURES = 32
ROW_GROUP = 131_072
BATCH_SIZE = 16_384
LONGER = 4
"""How much longer the second file is, whose peak memory is to be the same."""

TARGETS = {"epoch / scan": 0.7, "QR / scan": 0.4, "CSV / read_csv": 0.8}
MOST_MEMORY = 800

FLAGS = flags_of("streaming", rows=4_000_000, least=10 * BATCH_SIZE)
FLAGS.add_argument("--threads", type=at_least(1), default=os.cpu_count(), help="of pyarrow and torch alike")
FLAGS.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)


def write_tables(folder: Path, num_rows: int) -> None:
    """Writes table.parquet, longer.parquet and table.csv, the last with a tenth of the rows."""
    write_parquet(folder / "table.parquet", num_rows)
    write_parquet(folder / "longer.parquet", num_rows * LONGER)
    part = pyarrow.parquet.read_table(folder / "table.parquet").slice(0, num_rows // 10)
    pyarrow.csv.write_csv(part, folder / "table.csv")


def write_parquet(path: Path, num_rows: int) -> None:
    """Writes normal features x0, x1, …, and y, their sum plus noise as large as one of them."""
    names = [*(f"x{i}" for i in range(NUM_FEATURES)), "y"]
    schema = pa.schema([(name, pa.float32()) for name in names])
    generator = np.random.default_rng(0)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, num_rows, ROW_GROUP):
            rows = min(ROW_GROUP, num_rows - start)
            x = generator.standard_normal((NUM_FEATURES, rows), dtype=np.float32)
            y = x.sum(axis=0) + generator.standard_normal(rows, dtype=np.float32)
            writer.write_table(pa.table([*x, y], schema=schema))


# ---- what is measured, each in a process of its own; they return rows a second ----


def scan(folder: Path) -> float:
    start = time.perf_counter()
    rows: int = sum(batch.num_rows for batch in pyarrow.dataset.dataset(folder / "table.parquet").to_batches())
    return rows / (time.perf_counter() - start)


def epoch(folder: Path, name: str = "table", passes: int = 1) -> float:
    import lightning.pytorch as L  # noqa: N812 (its own documentation's name)

    from linreg_pl import LinearRegression, TableDataModule

    class Timer(L.Callback):
        """From the first batch that is asked for to the last that is trained on."""

        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.start = time.perf_counter()

        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.seconds = time.perf_counter() - self.start

    data = TableDataModule(str(folder / f"{name}.parquet"), "y", batch_size=BATCH_SIZE, memory_limit=0)
    model, timer = LinearRegression.tutorial(NUM_FEATURES, learning_rate=0.1), Timer()
    trainer = silent_trainer(max_epochs=passes, callbacks=[timer])
    trainer.fit(model, data)
    if abs(float(model.W.detach().mean()) - 1) > 0.2:
        raise RuntimeError(f"nothing was learnt: {model.W}")
    return data.steps_per_epoch * BATCH_SIZE / timer.seconds


def longer_epoch(folder: Path) -> float:
    return epoch(folder, "longer")


def qr(folder: Path) -> float:
    from linreg_pl import TableDataModule

    data = TableDataModule(str(folder / "table.parquet"), "y", batch_size=BATCH_SIZE, memory_limit=0)
    start = time.perf_counter()
    data.setup("fit")
    return data.num_rows_to_fit / (time.perf_counter() - start)


def read_csv(folder: Path) -> float:
    start = time.perf_counter()
    rows: int = pyarrow.csv.read_csv(folder / "table.csv").num_rows
    return rows / (time.perf_counter() - start)


def our_csv(folder: Path) -> float:
    from linreg_pl import TableDataModule

    start = time.perf_counter()
    data = TableDataModule(str(folder / "table.csv"), "y")
    data.setup("fit")
    return data.num_rows_to_fit / (time.perf_counter() - start)


MEASURED: dict[str, Callable[[Path], float]] = {
    "scan": scan,
    "epoch": epoch,
    "longer epoch": longer_epoch,
    "QR": qr,
    "read_csv": read_csv,
    "CSV": our_csv,
}


def measure(name: str, folder: Path, threads: int) -> None:
    """Prints one measurement as JSON."""
    import torch

    warnings.simplefilter("ignore")
    pa.set_cpu_count(threads)
    torch.set_num_threads(threads)
    speed = MEASURED[name](folder)
    print(json.dumps({"speed": speed, "memory": peak_memory()}))


def measured(name: str, folder: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.streaming", "--measure", name, str(folder), "--threads", str(threads)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{name}: {answer.stderr[-2000:]}")
    result: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    report_progress(f"{name}: {result['speed'] / 1e6:.2f} M rows/s, peak {result['memory']:.0f} MB")
    return result


def figures(rounds: list[dict[str, dict[str, float]]]) -> list[str]:
    """Returns the lines of speeds, memory and ratios."""
    lines = [f"{'median (min-max)':16} {'M rows/s':>24} {'peak memory, MB':>24}"]
    for name in MEASURED:
        speed = spread([taken[name]["speed"] / 1e6 for taken in rounds])
        lines.append(f"{name:16} {speed:>24} {spread([taken[name]['memory'] for taken in rounds], 0):>24}")
    lines.append("")
    for ratio, target in TARGETS.items():
        values = ratios(*([taken[name]["speed"] for taken in rounds] for name in ratio.split(" / ")))
        lines.append(f"{ratio:36} {spread(values):>20}   target ≥ {target}")
    memory = ratios(*([taken[name]["memory"] for taken in rounds] for name in ("longer epoch", "epoch")))
    lines.append(f"{f'memory, {LONGER} times the rows / once':36} {spread(memory):>20}   target ≤ 1.1")
    most = [taken["epoch"]["memory"] for taken in rounds]
    lines.append(f"{'peak memory, MB':36} {spread(most, 0):>20}   target < {MOST_MEMORY}")
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Measures speed and memory of each, and their ratios."""
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name), flags.rows)
        rounds = [{each: measured(each, Path(name), flags.threads) for each in MEASURED} for _ in range(flags.rounds)]
    title = f"A Parquet file of {flags.rows} rows, {NUM_FEATURES + 1} columns of float32, row groups of {ROW_GROUP}"
    notes = {"threads": str(flags.threads), "rounds": f"{flags.rounds}, each once a round"}
    return Page(title, ("pyarrow", "torch", "lightning"), notes, figures(rounds))


def main() -> None:
    flags = FLAGS.parse_args()
    if flags.measure:
        measure(flags.measure[0], Path(flags.measure[1]), flags.threads)
    else:
        show(page, flags)


if __name__ == "__main__":
    main()
