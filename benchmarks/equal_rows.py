"""Measures the exact solution of a table with few distinct rows of features, whole processes, from a Parquet file.

    linreg solve                  which collapses equal rows
    linreg solve, all rows        the same without collapsing them
    group-by and lstsq            pyarrow sums y and y² over each distinct row, and NumPy solves for one-hot columns:
                                  coefficients and standard errors, without a look at what the columns are
    DuckDB and lstsq              the same sums by a query, `GROUP BY` the features
    pyarrow reads the file        no program can solve rows that it does not read

Two columns of texts, of 12 and 50 categories, and two of small integers. A round runs each once; ratios are taken
within a round. All coefficients must agree. DuckDB is the one that `make bench-peers` installs; without it there are no
figures of it here.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.page import PEERS, Page, flags_of, ratios, report_progress, run_program, show, spread

COLLAPSED, ALL_ROWS = "linreg solve", "linreg solve, all rows"
GROUPED, DUCKDB, READING = "group-by and lstsq", "DuckDB and lstsq", "pyarrow reads the file"
SOLVE = ["solve", "--data", "TableDataModule", "--data.path", "table.parquet", "--data.target", "y"]
SOLVE += ["--data.drop_first", "true", "--json"]
WITHOUT = f"""
from linreg_pl.cli.main import main
from linreg_pl.data.table import equal_rows
equal_rows.LEAST_VALUES = float("inf")
raise SystemExit(main({SOLVE}))
"""
BY_ARROW = """
import pyarrow.compute
import pyarrow.parquet
table = pyarrow.parquet.read_table("table.parquet", read_dictionary=["kind", "shop"]).unify_dictionaries()
table = table.append_column("squares", pyarrow.compute.multiply(table["y"], table["y"]))
aggregates = [("y", "count"), ("y", "sum"), ("squares", "sum")]
table = table.group_by(["kind", "shop", "day", "hour"]).aggregate(aggregates).combine_chunks()
names = ["kind", "shop", "day", "hour", "n", "total", "squares"]
groups = {name: column.to_numpy() for name, column in zip(names, table.columns)}
"""
BY_DUCKDB = """
import duckdb
query = "SELECT kind, shop, day, hour, count(*) AS n, sum(y) AS total, sum(y * y) AS squares FROM 'table.parquet'"
groups = duckdb.sql(f"{query} GROUP BY kind, shop, day, hour").fetchnumpy()
"""
LSTSQ = """
import json
import numpy as np
columns, names = [np.ones(len(groups["n"]))], ["intercept"]
for name in ("kind", "shop"):
    labels, codes = np.unique(np.asarray(groups[name]).astype(str), return_inverse=True)
    columns += [(codes == code).astype(float) for code in range(1, len(labels))]
    names += [f"{name}={label}" for label in labels[1:]]
columns += [groups[name].astype(float) for name in ("day", "hour")]
root = np.sqrt(groups["n"])
x, y = np.stack(columns, axis=1) * root[:, None], groups["total"] / root
W, *_ = np.linalg.lstsq(x, y)
rss = groups["squares"].sum() - (y**2).sum() + ((y - x @ W) ** 2).sum()
variances = np.diag(np.linalg.inv(x.T @ x)) * rss / (groups["n"].sum() - len(W))
print(json.dumps(dict(zip([*names, "day", "hour"], W))))
"""

FLAGS = flags_of("equal_rows", rows=10_000_000, least=300_000, rounds=3)


def write_table(path: Path, num_rows: int, at_once: int = 1_000_000) -> None:
    """Writes the table: a few of its rows at a time."""
    generator = np.random.default_rng(0)
    sizes = {"kind": 12, "shop": 50, "day": 7, "hour": 24}
    effects = {name: generator.standard_normal(size) for name, size in sizes.items()}
    schema = pa.schema([("kind", pa.string()), ("shop", pa.string()), ("day", pa.int64()), ("hour", pa.int64())])
    with pyarrow.parquet.ParquetWriter(path, schema.append(pa.field("y", pa.float64()))) as writer:
        for start in range(0, num_rows, at_once):
            count = min(at_once, num_rows - start)
            codes = {name: generator.integers(0, size, count) for name, size in sizes.items()}
            y = effects["kind"][codes["kind"]] + effects["shop"][codes["shop"]] + generator.standard_normal(count)
            texts = [
                pa.DictionaryArray.from_arrays(codes[name], [f"{name} {code}" for code in range(sizes[name])])
                for name in ("kind", "shop")
            ]
            columns = [*(each.cast(pa.string()) for each in texts), codes["day"], codes["hour"]]
            writer.write_table(pa.table([*columns, y + 0.1 * codes["day"] - 0.02 * codes["hour"]], writer.schema))


def peer() -> Path | None:
    """Returns the folder of the peers' packages, if DuckDB is one."""
    return next((package.parent for package in PEERS.glob("lib/python*/site-packages/duckdb")), None)


def peer_version(packages: Path) -> str:
    (metadata,) = packages.glob("duckdb-*.dist-info")
    return metadata.name.removesuffix(".dist-info").replace("-", " ")


def programs() -> dict[str, list[str]]:
    """Returns the command of each program; its folder holds table.parquet."""
    read = "import pyarrow.parquet; pyarrow.parquet.read_table('table.parquet')"
    python = {ALL_ROWS: WITHOUT, GROUPED: BY_ARROW + LSTSQ, READING: read}
    commands = {name: [sys.executable, "-c", code] for name, code in python.items()}
    if peer():
        commands[DUCKDB] = [str(PEERS / "bin" / "python"), "-c", BY_DUCKDB + LSTSQ]
    return {COLLAPSED: [str(Path(sys.executable).with_name("linreg")), *SOLVE], **commands}


def run(name: str, command: list[str], folder: Path) -> tuple[float, str]:
    """Runs a program to its end; returns the seconds, and what it printed.

    Raises:
        RuntimeError: it failed.
    """
    seconds, ended = run_program(command, folder)
    if ended.returncode != 0:
        raise RuntimeError(f"{name}: exit code {ended.returncode}; its last words:\n{ended.stderr[-2000:]}")
    return seconds, ended.stdout


def coefficients(name: str, output: str) -> dict[str, float]:
    """Returns the coefficients that a program prints."""
    printed = json.loads(output)
    if name in (GROUPED, DUCKDB):
        return {each: value for each, value in printed.items() if each != "intercept"}
    return {each: entry["estimate"] for each, entry in printed["coefficients"].items()}


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds of each program, and their ratios.

    Raises:
        RuntimeError: a program failed, or its coefficients are others.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs()}
    answers = dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder) / "table.parquet", flags.rows)
        for number in range(flags.rounds):
            for name, command in programs().items():
                took, output = run(name, command, Path(folder))
                seconds[name].append(took)
                report_progress(f"round {number + 1} of {flags.rounds}: {name}, {took:.2f} s")
                if name != READING:
                    answers[name] = coefficients(name, output)
    largest = max(
        abs(answers[COLLAPSED][name] - answers[each][name]) for each in answers for name in answers[COLLAPSED]
    )
    if largest > 1e-9:
        raise RuntimeError(f"the coefficients differ by up to {largest:.1e}")
    lines = [f"{'seconds, median (min-max)':28}{'':22}{'linreg solve takes … of its time':>36}"]
    for name, times in seconds.items():
        lines.append(f"{name:28}{spread(times):>22}{spread(ratios(seconds[COLLAPSED], times)):>36}")
    packages, skipped = peer(), f"DuckDB: skipped, {PEERS.name} has none; install it with: make bench-peers"
    notes = {
        "peer": peer_version(packages) if packages else skipped,
        "rounds": f"{flags.rounds}, each program once a round",
        "digits": f"coefficients differ by {largest:.1e}",
    }
    title = f"A table with few distinct rows of features: {flags.rows} rows, 4 columns, 100800 distinct rows at most"
    return Page(title, ("torch", "pyarrow", "numpy"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
