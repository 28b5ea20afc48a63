"""Measures the rows a second of Vowpal Wabbit, beside an epoch of a streamed table.

    linreg_pl, Parquet        an epoch of SGD under Lightning, the table streamed and shuffled (`benchmarks.streaming`)
    linreg_pl, CSV            reading a CSV file into memory, to the end of the checks
    Vowpal Wabbit, cache      one pass with its defaults over the binary cache that it made before
    Vowpal Wabbit, text       one pass over its text format, as any first one is

The rows are the same; those of the CSV file are held, and an epoch comes after that. Vowpal Wabbit is the one that
`make bench-peers` installs; without it there are no figures of it here.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from benchmarks.page import PEERS, ROOT, Page, flags_of, ratios, report_progress, show, spread
from benchmarks.streaming import BATCH_SIZE, NUM_FEATURES, measured, write_parquet

PARQUET, CSV, CACHE, TEXT = "linreg_pl, Parquet", "linreg_pl, CSV", "Vowpal Wabbit, cache", "Vowpal Wabbit, text"

RATIOS = ((PARQUET, CACHE), (CSV, TEXT))

FLAGS = flags_of("vowpal", rows=500_000, least=10 * BATCH_SIZE, rounds=3)


def peer() -> Path | None:
    """Returns the interpreter that has Vowpal Wabbit, if there is one."""
    python = PEERS / "bin" / "python"
    question: list[str | Path] = [
        python,
        "-c",
        "import importlib.util as i, sys; sys.exit(i.find_spec('vowpalwabbit') is None)",
    ]
    return python if python.exists() and subprocess.run(question).returncode == 0 else None


def peer_version(python: Path) -> str:
    question = "from importlib.metadata import version; print(version('vowpalwabbit'))"
    answer = subprocess.run([python, "-c", question], capture_output=True, text=True, check=True)
    return f"vowpalwabbit {answer.stdout.strip()}"


def write_text(folder: Path) -> None:
    """Writes table.vw, with the rows of table.parquet: `y | x0:… x1:… …`."""
    with (folder / "table.vw").open("wb") as file:
        for rows in pyarrow.parquet.ParquetFile(folder / "table.parquet").iter_batches():
            *x, y = (column.cast(pa.string()) for column in rows.columns)
            features = [pa.compute.binary_join_element_wise(f"x{i}", column, ":") for i, column in enumerate(x)]
            lines = pa.compute.binary_join_element_wise(y, "|", *features, " ")
            file.write("\n".join(lines.to_pylist()).encode() + b"\n")


def vowpal(python: Path, folder: Path, num_rows: int) -> dict[str, float]:
    """Returns the rows a second from text and from the cache.

    Raises:
        RuntimeError: it failed, or learnt nothing.
    """
    command: list[str | Path] = [python, ROOT / "benchmarks" / "vowpal_loop.py", folder / "table.vw"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"Vowpal Wabbit: {answer.stderr[-2000:]}")
    result = json.loads(answer.stdout.splitlines()[-1])
    if abs(result["weight"] - 1) > 0.2:
        raise RuntimeError(f"Vowpal Wabbit: the weight of x0 is {result['weight']}, where 1 was expected")
    return {CACHE: num_rows / result["cache"], TEXT: num_rows / result["text"]}


def measure(rounds: int, num_rows: int, folder: Path, python: Path | None) -> dict[str, list[float]]:
    """Returns the rows a second, round by round."""
    write_parquet(folder / "table.parquet", num_rows)
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(folder / "table.parquet"), folder / "table.csv")
    rates: dict[str, list[float]] = {PARQUET: [], CSV: []}
    if python is not None:
        write_text(folder)
        rates |= {CACHE: [], TEXT: []}
    for number in range(rounds):
        speeds = {
            name: measured(job, folder, os.cpu_count() or 1)["speed"]
            for name, job in ((PARQUET, "epoch"), (CSV, "CSV"))
        }
        if python is not None:
            speeds |= vowpal(python, folder, num_rows)
        for name, speed in speeds.items():
            rates[name].append(speed)
            report_progress(f"round {number + 1} of {rounds}: {name}, {speed / 1e6:.2f} M rows/s")
    return rates


def page(flags: argparse.Namespace) -> Page:
    """Measures the rows a second, and the ratios."""
    python = peer()
    with tempfile.TemporaryDirectory() as folder:
        rates = measure(flags.rounds, flags.rows, Path(folder), python)
    skipped = f"Vowpal Wabbit: skipped, {PEERS.name} has none; install it with: make bench-peers"
    notes = {
        "peer": peer_version(python) if python else skipped,
        "rounds": f"{flags.rounds}, each once a round",
    }
    lines = [f"{'M rows/s, median (min-max)':27}"]
    lines += [f"{name:27}{spread([each / 1e6 for each in speeds]):>20}" for name, speeds in rates.items()]
    lines.append("")
    for ours, theirs in RATIOS:
        if theirs in rates:
            lines.append(f"{f'{ours} / {theirs}':47}{spread(ratios(rates[ours], rates[theirs])):>18}")
    title = f"Vowpal Wabbit: {flags.rows} rows of {NUM_FEATURES} features, streamed"
    return Page(title, ("torch", "lightning", "pyarrow"), notes, lines, rates)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
