"""At how many rows a second does a table in memory train, by its width and the size of its batches?

    linreg fit          curves and checkpoints on; rows in their order, and shuffled at every epoch
    bare PyTorch loop   autograd and an update by hand, nothing else, rows in their order

Tables of 1, 32 and 512 features, of some 160 MB or 5 000 000 rows; batches of 256 to 65 536 rows. A round has each of
them once. `linreg fit` is a process of its own, and its rows a second are those of its loop.
"""

import argparse
import datetime
import os
import platform
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.table import bare, linreg, rate, rows, write_parquet
from benchmarks.tutorial import cpu_model, installed_version, spread

WIDTHS = (1, 32, 512)
BATCH_SIZES = (256, 1024, 4096, 16_384, 65_536)
BYTES = 160e6
MOST_ROWS = 5_000_000
MOST_STEPS = 20_000
ROWS_TO_TRAIN = 40_000_000  # of 32 features; of more columns fewer

Cell = tuple[int, int, str]  # features, batch size, program


def num_rows(width: int, share: float) -> int:
    """Of a table of so many features."""
    return int(share * min(MOST_ROWS, BYTES / 4 / width))


def epochs(width: int, size: int, share: float) -> int:
    """So many that a run takes seconds."""
    steps_per_epoch = num_rows(width, share) // size
    steps = min(MOST_STEPS, share * ROWS_TO_TRAIN * 32 / max(32, width) / size)
    return max(1, round(steps / steps_per_epoch))


def measure(rounds: int, share: float, folder: Path) -> dict[Cell, list[float]]:
    """Rows a second of each, round by round."""
    found: dict[Cell, list[float]] = {}
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
                    found.setdefault((width, size, name), []).append(speed)
                    place = f"round {number + 1} of {rounds}: {width} features, batch {size}"
                    print(f"{place}: {name}, {speed / 1e6:.2f} M rows/s", file=sys.stderr)
    return found


def report(found: dict[Cell, list[float]]) -> list[str]:
    """A line for each width and batch size."""
    lines = [
        f"{'features':>8} {'batch':>6} {'bare loop':>22} {'in order':>22} {'shuffled':>22} {'in order / bare':>20}"
    ]
    for width, size in dict.fromkeys((width, size) for width, size, _ in found):
        speeds = {name: found[width, size, name] for name in ("bare loop", "in order", "shuffled")}
        cells = [spread([value / 1e6 for value in values]) for values in speeds.values()]
        ratio = [ours / bare for ours, bare in zip(speeds["in order"], speeds["bare loop"], strict=True)]
        lines.append(f"{width:>8} {size:>6} {cells[0]:>22} {cells[1]:>22} {cells[2]:>22} {spread(ratio):>20}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows, to try this page out")
    parser.add_argument("--output", type=Path, help="file to write the report to, too")
    flags = parser.parse_args()
    if flags.rounds < 1 or not 0 < flags.share <= 1:
        parser.error("--rounds is 1 or more, --share above 0 and at most 1")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(flags.rounds, flags.share, Path(folder))
    versions = ", ".join(f"{name} {installed_version(name)}" for name in ("torch", "lightning", "numpy"))
    lines = [
        "Tables in memory, float32: M rows/s, median (min-max)",
        "",
        f"date      {datetime.date.today()}",
        f"machine   {cpu_model()}, {os.cpu_count()} cores, {platform.system()}; load {load:.2f} before the first run",
        f"python    {platform.python_version()}, {versions}",
        f"rounds    {flags.rounds}, each once a round",
        "",
        *report(found),
    ]
    page = "\n".join(lines) + "\n"
    print(page, end="")
    if flags.output:
        flags.output.write_text(page)


if __name__ == "__main__":
    main()
