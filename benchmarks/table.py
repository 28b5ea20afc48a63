"""Measures the rows a second at which a large table trains, beside other programs and one read of the memory.

    linreg fit          in memory, curves and checkpoints on; rows in their order, and shuffled at every epoch
    bare PyTorch loop   autograd and an update by hand, nothing else, rows in their order
    one read            the sum of all features: no program can train on rows that it does not read
    SGDRegressor        scikit-learn's, one row at a time, where it is installed; rows in their order, and shuffled

5 000 000 rows of 32 float32 features. A round has each of them once, and ratios are taken within a round. `linreg fit`
is a process of its own, and its rows a second are those of its loop (`--exact false`: the exact answer takes a pass of
its own before that, which `benchmarks.exact` measures). The others work on the same rows in this process.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch

from benchmarks.page import Page, flags_of, installed_version, ratios, report_progress, show, spread
from benchmarks.tutorial import run_in_terminal

NUM_ROWS = 5_000_000
NUM_FEATURES = 32
BATCH_SIZES = (4096, 16_384)
EPOCHS = 20
LEARNING_RATE = 0.01

TARGETS = {  # by ratio, in words
    "rows in order, batch 4096 / bare loop": 1.3,
    "rows in order, batch 16384 / one read": 0.22,
    "rows in order, batch 4096 / SGDRegressor": 3.5,
    "shuffled, batch 4096 / SGDRegressor, shuffled": 10.0,
}

FLAGS = flags_of("table", NUM_ROWS, max(BATCH_SIZES))


def rows(number: int, width: int = NUM_FEATURES) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws x (number, width), standard normal, and y (number, 1), a line through them with noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(number, width, generator=generator)
    y = x @ torch.linspace(-1, 1, width).unsqueeze(1) + 0.1 * torch.randn(number, 1, generator=generator)
    return x, y


def write_parquet(path: Path, x: torch.Tensor, y: torch.Tensor) -> None:
    """Writes a table of x0, x1, … and y."""
    columns = {f"x{index}": column.numpy() for index, column in enumerate(x.T)} | {"y": y[:, 0].numpy()}
    pyarrow.parquet.write_table(pa.table(columns), path, compression=None)


def linreg(path: Path, num_rows: int, batch_size: int, shuffle: bool, epochs: int = EPOCHS) -> float:
    """Returns the rows a second of `linreg fit` with plain SGD, as all others do it.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(str(Path(sys.executable).with_name("linreg")), "fit", "--data=TableDataModule", f"--data.path={path}"),
            *("--data.target=y", f"--data.batch_size={batch_size}", f"--data.shuffle={shuffle}", "--exact=false"),
            *(f"--model.learning_rate={LEARNING_RATE}", "--model.l2=1e-6", f"--trainer.max_epochs={epochs}"),
            *("--model.standardize=false", "--model.momentum=0", "--model.schedule=constant"),
            f"--checkpoint_every_n_epochs={-(-epochs // 2)}",
            "--trainer.callbacks+=benchmarks.loop_timer.LoopTimer",
        ]
        _, code, output = run_in_terminal(command, Path(folder))
    match = re.search(r"^loop_seconds (\S+)$", output, re.MULTILINE)
    if code != 0 or not match:
        raise RuntimeError(f"linreg fit: exit code {code}; its last words:\n{output[-2000:]}")
    return epochs * (num_rows // batch_size) * batch_size / float(match[1])


def read(x: torch.Tensor) -> None:
    """Reads x as often as `linreg fit` does."""
    for _ in range(EPOCHS):
        x.sum()


def bare(x: torch.Tensor, y: torch.Tensor, batch_size: int, epochs: int = EPOCHS) -> None:
    """Trains for as many epochs with autograd."""
    W, b = torch.zeros(x.shape[1], 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    firsts = range(0, len(x) - batch_size + 1, batch_size)
    for first in [*firsts] * epochs:
        batch = slice(first, first + batch_size)
        cost = (x[batch] @ W + b - y[batch]).square().mean() + 1e-6 * W.square().sum()
        grad_W, grad_b = torch.autograd.grad(cost, (W, b))
        with torch.no_grad():
            W -= LEARNING_RATE * grad_W
            b -= LEARNING_RATE * grad_b


def sgd_regressor(x: np.ndarray, y: np.ndarray, shuffle: bool) -> None:
    """Trains one epoch with scikit-learn, without its own stopping rule."""
    from sklearn.linear_model import SGDRegressor

    SGDRegressor(max_iter=1, tol=None, shuffle=shuffle, learning_rate="constant", eta0=1e-4).fit(x, y)


def rate(num_rows: int, work: Callable[[], object]) -> float:
    """Returns the rows a second of some work on all rows."""
    start = time.monotonic()
    work()
    return num_rows / (time.monotonic() - start)


def measure(rounds: int, num_rows: int, folder: Path) -> dict[str, list[float]]:
    """Returns the rows a second of each program, round by round."""
    x, y = rows(num_rows)
    path = folder / "table.parquet"
    write_parquet(path, x, y)
    orders = {"rows in order": False, "shuffled": True}
    work: dict[str, Callable[[], float]] = {"one read": partial(rate, EPOCHS * num_rows, partial(read, x))}
    for size in BATCH_SIZES:
        work[f"bare PyTorch loop, batch {size}"] = partial(rate, EPOCHS * num_rows, partial(bare, x, y, size))
        for words, shuffle in orders.items():
            work[f"linreg fit, {words}, batch {size}"] = partial(linreg, path, num_rows, size, shuffle)
    if installed_version("scikit-learn") != "not installed":
        sgd_regressor(x[:100].numpy(), y[:100, 0].numpy(), False)  # its import is not its speed
        for words, shuffle in orders.items():
            epoch = partial(sgd_regressor, x.numpy(), y[:, 0].numpy(), shuffle)
            work[f"SGDRegressor, {words}"] = partial(rate, num_rows, epoch)
    rates: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name, run in work.items():
            rates[name].append(run())
            report_progress(f"round {number + 1} of {rounds}: {name}, {rates[name][-1] / 1e6:.1f} M rows/s")
    return rates


def compared(rates: dict[str, list[float]]) -> list[str]:
    """Returns the ratios that have a target, each taken within a round."""
    pairs = {
        "rows in order, batch 4096 / bare loop": ("rows in order, batch 4096", "bare PyTorch loop, batch 4096"),
        "rows in order, batch 16384 / one read": ("rows in order, batch 16384", "one read"),
        "rows in order, batch 4096 / SGDRegressor": ("rows in order, batch 4096", "SGDRegressor, rows in order"),
        "shuffled, batch 4096 / SGDRegressor, shuffled": ("shuffled, batch 4096", "SGDRegressor, shuffled"),
    }
    return [
        f"{words:47} {spread(ratios(rates[f'linreg fit, {ours}'], rates[theirs])):>18}   target ≥ {TARGETS[words]}"
        for words, (ours, theirs) in pairs.items()
        if theirs in rates
    ]


def page(flags: argparse.Namespace) -> Page:
    """Measures the rows a second of each program, and the ratios that have a target."""
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(flags.rounds, flags.rows, Path(folder))
    lines = [
        f"{'M rows/s, median (min-max)':43}",
        *(f"{name:43} {spread([value / 1e6 for value in values], decimals=1):>22}" for name, values in rates.items()),
        "",
        *compared(rates),
    ]
    notes = {"rounds": f"{flags.rounds}, each once a round; {EPOCHS} epochs, of SGDRegressor one"}
    title = f"A table in memory: {flags.rows} rows of {NUM_FEATURES} features, float32"
    return Page(title, ("torch", "lightning", "numpy", "scikit-learn"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
