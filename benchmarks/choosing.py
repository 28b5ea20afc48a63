"""Chooses settings by `linreg tune`, and by a study of Optuna's on the same settings and rows.

linreg tune        predicts every combination, and runs the five best
Optuna             200 trials of its default sampler, each by `linreg_pl.fit` in the same process

Both are whole processes, timed from spawn to exit. Each round has other held-out rows, another order of the rows, and
another seed of the sampler. Optuna draws learning rates from the whole range. It is the one that `make bench-peers`
installs; without it there are no figures of it here.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.page import PEERS, ROOT, Page, at_least, ratios, report_progress, show, spread
from examples.make_tables import shipped

VARIED: dict[str, list[float]] = {
    "learning_rate": [1e-3, 1],
    "l2": [0.0, 1e-3, 1e-2, 1e-1],
    "momentum": [0.0, 0.5, 0.9],
}
"""The learning rates are a range; the others are lists."""
TUNE, OPTUNA = "linreg tune", "Optuna"
LOSS_TARGET, TIME_TARGET = 1.01, 0.05

FLAGS = argparse.ArgumentParser(prog="python -m benchmarks.choosing")
FLAGS.add_argument("--rounds", type=at_least(1), default=3, help="how often each searches")
FLAGS.add_argument("--trials", type=at_least(1), default=200, help="Optuna's, fewer to try this page out")
FLAGS.add_argument("--output", type=Path, help="file to write the page to, too")


@dataclass(frozen=True)
class Job:
    """A table, and how it is trained on."""

    path: Path
    target: str
    batch_size: int
    max_epochs: int


JOBS = {
    "diabetes, 442 rows": Job(ROOT / "examples" / "diabetes.csv", "progression", 50, 20),
    "diamonds, 53940 rows": Job(shipped("plotnine", "data/diamonds.csv"), "price", 500, 20),
}


@dataclass(frozen=True)
class Search:
    """What a search came to, and what it took."""

    loss: float  # mean squared error over the held-out rows
    seconds: float
    cpu_seconds: float


def peer() -> Path | None:
    """Returns the folder of packages that has Optuna, if there is one."""
    return next((package.parent for package in PEERS.glob("lib/python*/site-packages/optuna")), None)


def peer_version(packages: Path) -> str:
    """Returns the name and the version of Optuna."""
    return next(packages.glob("optuna-*.dist-info")).name.removesuffix(".dist-info").replace("-", " ")


def timed(command: list[str], folder: Path) -> tuple[str, float, float]:
    """Returns the output of a command, its seconds, and those of the processors.

    Raises:
        RuntimeError: it failed.
    """
    before, start = os.times(), time.perf_counter()
    answer = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    seconds, after = time.perf_counter() - start, os.times()
    if answer.returncode:
        raise RuntimeError(f"{command[0]}: {answer.stderr[-2000:]}")
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return answer.stdout, seconds, cpu_seconds


def tune(job: Job, seed: int) -> Search:
    """Searches with `linreg tune`."""
    flags = {
        "data": "TableDataModule",
        "data.path": job.path,
        "data.target": job.target,
        "data.val_fraction": 0.2,
        "data.batch_size": job.batch_size,
        "data.seed": seed,
        "trainer.max_epochs": job.max_epochs,
        **{f"tune.{name}": json.dumps(values) for name, values in VARIED.items()},
    }
    linreg = str(Path(sys.executable).with_name("linreg"))
    with tempfile.TemporaryDirectory() as folder:
        command = [linreg, "tune", *(f"--{name}={value}" for name, value in flags.items())]
        _, *seconds = timed(command, Path(folder))
        results = json.loads((Path(folder) / "tune_0" / "results.json").read_text())
    return Search(results["trials"][results["best"]]["measured"], *seconds)


def optuna(packages: Path, job: Job, seed: int, trials: int) -> Search:
    """Searches with Optuna."""
    fixed = {"val_fraction": 0.2, "batch_size": job.batch_size, "seed": seed, "max_epochs": job.max_epochs}
    settings: dict[str, Any] = {"path": str(job.path), "target": job.target, "trials": trials, "fixed": fixed}
    script = str(ROOT / "benchmarks" / "optuna_loop.py")
    command = [sys.executable, script, str(packages), json.dumps({**settings, "varied": VARIED})]
    output, *seconds = timed(command, ROOT)
    return Search(json.loads(output.splitlines()[-1])["loss"], *seconds)


def measure(job: Job, packages: Path | None, rounds: int, trials: int) -> dict[str, list[Search]]:
    """Returns the searches, round by round."""
    searches: dict[str, list[Search]] = {TUNE: [], **({OPTUNA: []} if packages else {})}
    for seed in range(rounds):
        searches[TUNE].append(tune(job, seed))
        if packages:
            searches[OPTUNA].append(optuna(packages, job, seed, trials))
        for name, ended in searches.items():
            report_progress(f"round {seed + 1} of {rounds}: {job.path.stem}, {name}: {ended[-1]}")
    return searches


def figures(searches: dict[str, list[Search]]) -> list[str]:
    """Returns the lines of a table's searches."""
    lines = [f"{'median (min-max)':24}{'held-out loss':>34}{'seconds':>24}{'CPU seconds':>24}"]
    columns = {
        name: [[each.loss for each in ended], [each.seconds for each in ended], [each.cpu_seconds for each in ended]]
        for name, ended in searches.items()
    }
    for name, values in columns.items():
        lines.append(f"{name:24}" + "".join(f"{spread(each):>{34 - 10 * bool(i)}}" for i, each in enumerate(values)))
    if OPTUNA in columns:
        losses, *seconds = (ratios(*both) for both in zip(columns[TUNE], columns[OPTUNA], strict=True))
        cells = [f"{spread(losses, 4):>34}", *(f"{spread(each, 3):>24}" for each in seconds)]
        lines.append(f"{f'{TUNE} / {OPTUNA}':24}{''.join(cells)}")
        lines.append(f"{'target':24}{f'≤ {LOSS_TARGET}':>34}" + 2 * f"{f'≤ {TIME_TARGET}':>24}")
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Measures the losses and the seconds of both, on each table."""
    packages = peer()
    lines = []
    for name, job in JOBS.items():
        epochs = f"{job.max_epochs} epochs of batches of {job.batch_size}"
        lines += [f"{name}, {epochs}", *figures(measure(job, packages, flags.rounds, flags.trials)), ""]
    skipped = f"{OPTUNA}: skipped, {PEERS.name} has none; install it with: make bench-peers"
    notes = {"peer": peer_version(packages) if packages else skipped, "rounds": f"{flags.rounds}, each once a round"}
    title = f"Settings chosen by five trials of linreg tune, and by {flags.trials} of Optuna's"
    return Page(title, ("torch", "lightning", "numpy"), notes, lines[:-1])


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
