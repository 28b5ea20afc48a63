"""Measures the rows a second at which a table in memory trains, by its width and the size of its batches.

    linreg fit          curves and checkpoints on; rows in their order, and shuffled at every epoch
    bare PyTorch loop   autograd and an update by hand, nothing else, rows in their order

Tables of 1, 32 and 512 features, of some 160 MB or 5 000 000 rows; batches of 256 to 65 536 rows. A round has each of
them once. `linreg fit` is a process of its own, and its rows a second are those of its loop.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.page import Page, flags_of, ratios, report_progress, show, spread
from benchmarks.table import bare, linreg, rate, rows, write_parquet

WIDTHS = (1, 32, 512)
BATCH_SIZES = (256, 1024, 4096, 16_384, 65_536)
BYTES = 160e6
MOST_ROWS = 5_000_000
MOST_STEPS = 20_000
ROWS_TO_TRAIN = 40_000_000  # of 32 features; of more columns fewer

FLAGS = flags_of("grid", MOST_ROWS, 50_000, rounds=3)

Cell = tuple[int, int, str]  # features, batch size, program


def num_rows(width: int, share: float) -> int:
    """Returns the number of rows of a table with so many features."""
    return int(share * min(MOST_ROWS, BYTES / 4 / width))


def epochs(width: int, size: int, share: float) -> int:
    """Returns the number of epochs that makes a run last some seconds."""
    steps_per_epoch = num_rows(width, share) // size
    steps = min(MOST_STEPS, share * ROWS_TO_TRAIN * 32 / max(32, width) / size)
    return max(1, round(steps / steps_per_epoch))


def measure(rounds: int, share: float, folder: Path) -> dict[Cell, list[float]]:
    """Returns the rows a second of each program, round by round."""
    measured: dict[Cell, list[float]] = {}
    for width in WIDTHS:
        x, y = rows(num_rows(width, share), width)
        path = folder / f"{width}.parquet"
        write_parquet(path, x, y)
        for number in range(rounds):
            for size in (size for size in BATCH_SIZES if size <= len(x)):
                times = epochs(width, size, share)
                trained = times * (len(x) // size) * size
                work = {
                    "bare loop": partial(rate, trained, partial(bare, x, y, size, times)),
                    "in order": partial(linreg, path, len(x), size, False, times),
                    "shuffled": partial(linreg, path, len(x), size, True, times),
                }
                for name, run in work.items():
                    speed = run()
                    measured.setdefault((width, size, name), []).append(speed)
                    place = f"round {number + 1} of {rounds}: {width} features, batch {size}"
                    report_progress(f"{place}: {name}, {speed / 1e6:.2f} M rows/s")
    return measured


def lines_of(measured: dict[Cell, list[float]]) -> list[str]:
    """Returns a line for each width and batch size."""
    lines = [
        f"{'features':>8} {'batch':>6} {'bare loop':>22} {'in order':>22} {'shuffled':>22} {'in order / bare':>20}"
    ]
    for width, size in dict.fromkeys((width, size) for width, size, _ in measured):
        speeds = {name: measured[width, size, name] for name in ("bare loop", "in order", "shuffled")}
        cells = [f"{spread([value / 1e6 for value in values]):>22}" for values in speeds.values()]
        ratio = spread(ratios(speeds["in order"], speeds["bare loop"]))
        lines.append(f"{width:>8} {size:>6} {' '.join(cells)} {ratio:>20}")
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Measures the rows a second of each program, and the ratio to the bare loop."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(flags.rounds, flags.rows / MOST_ROWS, Path(folder))
    notes = {"rounds": f"{flags.rounds}, each once a round"}
    title = "Tables in memory, float32, by width and batch size: M rows/s, median (min-max)"
    return Page(title, ("torch", "lightning", "numpy"), notes, lines_of(measured))


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
