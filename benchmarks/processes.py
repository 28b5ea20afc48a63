"""Measures what a user waits for: whole processes, from spawn to exit, beside what each of them can't do without.

    linreg --help, linreg runs, a mistyped command     beside `python -c pass`
    linreg solve, 442 rows                             beside `import torch`
    linreg fit, one step                               beside `import torch, lightning.pytorch`
    linreg solve, a Parquet file                       beside pyarrow reading it, and scikit-learn solving it

A round runs each program once; ratios are taken within a round. The first round is not counted: it fills the disk's
cache.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.page import ROOT, Page, flags_of, ratios, report_progress, run_program, show, spread
from benchmarks.streaming import NUM_FEATURES, write_parquet

NOTHING, TORCH, LIGHTNING = "python -c pass", "import torch", "import torch, lightning.pytorch"
HELP, RUNS, MISTYPED = "linreg --help", "linreg runs", "linreg slove"
SMALL, STEP, LARGE = "linreg solve, 442 rows", "linreg fit, one step", "linreg solve, Parquet"
READING, SKLEARN = "pyarrow reads the Parquet file", "scikit-learn solves it"
TARGETS = (
    (HELP, NOTHING, 10),
    (RUNS, NOTHING, 10),
    (MISTYPED, NOTHING, 10),
    (SMALL, TORCH, 1.5),
    (STEP, LIGHTNING, 1.1),
    (LARGE, READING, 2),
    (LARGE, SKLEARN, 0.3),
)
"""Two programs, and the most that the first may take of the second's time."""
OF_SKLEARN = """
import pyarrow.parquet
from sklearn.linear_model import LinearRegression
table = pyarrow.parquet.read_table("table.parquet")
LinearRegression().fit(table.drop_columns("y").to_pandas(), table["y"].to_numpy())
"""

FLAGS = flags_of("processes", rows=2_000_000, least=1000)


def programs() -> dict[str, list[str]]:
    """Returns the command of each program; its folder holds table.parquet."""
    linreg = str(Path(sys.executable).with_name("linreg"))
    table = ["--data", "TableDataModule", "--data.path"]
    diabetes = [*table, str(ROOT / "examples" / "diabetes.csv"), "--data.target", "progression"]
    python = {
        NOTHING: "pass",
        TORCH: TORCH,
        LIGHTNING: LIGHTNING,
        READING: "import pyarrow.parquet; pyarrow.parquet.read_table('table.parquet')",
        SKLEARN: OF_SKLEARN,
    }
    return {
        **{name: [sys.executable, "-c", code] for name, code in python.items()},
        HELP: [linreg, "--help"],
        MISTYPED: [linreg, "slove"],
        STEP: [linreg, "fit", "--trainer.max_steps", "1"],
        RUNS: [linreg, "runs"],
        SMALL: [linreg, "solve", *diabetes],
        LARGE: [linreg, "solve", *table, "table.parquet", "--data.target", "y"],
    }


def run(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Runs a program to its end; returns the seconds, the exit code, and what it said on stderr."""
    seconds, ended = run_program(command, folder)
    return seconds, ended.returncode, ended.stderr


def seconds_of(name: str, command: list[str], folder: Path) -> float:
    """Returns the seconds that a program takes.

    Raises:
        RuntimeError: it ended in another way than it should.
    """
    seconds, code, words = run(command, folder)
    if code != (2 if name == MISTYPED else 0):
        raise RuntimeError(f"{name}: exit code {code}; its last words:\n{words[-2000:]}")
    return seconds


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds of each program, and their ratios."""
    seconds: dict[str, list[float]] = {name: [] for name in programs()}
    with tempfile.TemporaryDirectory() as folder:
        write_parquet(Path(folder) / "table.parquet", flags.rows)
        for number in range(flags.rounds + 1):
            for name, command in programs().items():
                took = seconds_of(name, command, Path(folder))
                report_progress(f"round {number} of {flags.rounds}: {name}, {took:.2f} s")
                seconds[name] += [took] if number else []
    lines = [
        f"{'median (min-max)':56}{'seconds':>20}",
        *(f"{name:56}{spread(took):>20}" for name, took in seconds.items()),
    ]
    lines.append("")
    for ours, theirs, target in TARGETS:
        lines.append(
            f"{f'{ours} / {theirs}':56}{spread(ratios(seconds[ours], seconds[theirs])):>20}   target ≤ {target}"
        )
    title = f"Whole processes; the Parquet file has {flags.rows} rows of {NUM_FEATURES} features, float32"
    notes = {"rounds": f"{flags.rounds}, each program once a round, after one that is not counted"}
    return Page(title, ("torch", "lightning", "pyarrow", "scikit-learn", "scipy"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
