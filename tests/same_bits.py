"""Checks that the command still computes the same bits: records twelve jobs, and compares them later.

    python -m tests.same_bits record FOLDER         runs the jobs and writes their numbers to FOLDER/JOB.json
    python -m tests.same_bits compare FOLDER        runs them again and prints what differs first; exits 1 if any does
    python -m tests.same_bits compare FOLDER JOB …  does so for some of them

Each job is a real process, or several. A recording holds numbers and no words: of the last checkpoint, the curves,
report.json, predictions and printed results. The script imports nothing of linreg_pl, so it runs unchanged on any
version. A recording belongs to one machine: another processor may sum in another order.
"""

import argparse
import hashlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LINREG = (sys.executable, "-m", "linreg_pl")
DIABETES = Path(__file__).parent.parent / "examples" / "diabetes.csv"
SECONDS_AT_MOST = 300
AT_ONCE = 2
"""Jobs that run at the same time; they spend most of it on the import of Lightning."""

NUMBER = re.compile(r"(?<![\w/.])[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|inf|nan)(?![\w/])")
"""A number that a command prints; the 2 of `test/r2` is part of a name."""

Values = dict[str, str]
"""The place of each number, and its bits as text."""

TABLE = ("--data", "TableDataModule", "--data.path", "table.csv")
ON_DIABETES = ("--data", "TableDataModule", "--data.path", "diabetes.csv", "--data.target", "progression")
CONSTANT = ("--model.schedule", "constant", "--model.learning_rate", "0.01")


class JobError(Exception):
    """Reports a job that could not do what it tests."""


# ---- processes ----


def environment() -> dict[str, str]:
    """Returns the environment without LINREG_…, which would set flags of every job."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LINREG_")}


def linreg(folder: Path, *args: str) -> str:
    """Runs `linreg args…` in a folder; returns what it prints."""
    done = subprocess.run(
        (*LINREG, *args), cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS_AT_MOST
    )
    if done.returncode != 0:
        raise JobError(f"linreg {' '.join(args)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout


def fit(folder: Path, *args: str) -> Any:
    """Fits; returns the numbers of the new run."""
    run = folder / "lightning_logs" / f"version_{len(list((folder / 'lightning_logs').glob('version_*')))}"
    linreg(folder, "fit", *args)
    return numbers_in(run)


def resume(run: Path, *args: str) -> Any:
    """Resumes a run; returns its numbers."""
    folder = run.parent.parent
    linreg(folder, "fit", "--resume", str(run.relative_to(folder)), *args)
    return numbers_in(run)


def fit_and_kill(run: Path, *args: str) -> None:
    """Starts a fit that writes into `run`, and kills it when it has two checkpoints."""
    silent = subprocess.DEVNULL
    process = subprocess.Popen((*LINREG, "fit", *args), cwd=run.parent.parent, env=environment(), stdout=silent)
    try:
        end = time.monotonic() + SECONDS_AT_MOST
        while len(list(run.glob("checkpoints/step=*.ckpt"))) < 2 and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        process.kill()
    if process.wait() != -signal.SIGKILL or (run / "report.json").exists():
        raise JobError("the run was over before it could be killed")


# ---- numbers ----


def numbers_in(run: Path) -> Any:
    """Reads the numbers of a run's folder: last checkpoint, report, and the points `{step: value}` of each curve."""
    last = max(run.glob("checkpoints/step=*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=")))
    checkpoint = torch.load(last, weights_only=True)
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    return {
        "checkpoint": {key: checkpoint[key] for key in ("global_step", "state_dict", "optimizer_states")},
        "report": json.loads((run / "report.json").read_text()),
        "curves": {
            tag: [{event.step: event.value} for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        },
    }


def last_checkpoint(run: Path) -> str:
    """Returns the path of a run's last checkpoint, from the folder in which commands run."""
    step = json.loads((run / "report.json").read_text())["global_step"]
    return str((run / "checkpoints" / f"step={step}.ckpt").relative_to(run.parent.parent))


def printed(text: str) -> list[float]:
    """Returns the numbers in a text."""
    return [float(number) for number in NUMBER.findall(text)]


def predictions(path: Path) -> Any:
    """Reads a file of predictions: its rows, and a digest of all its bytes."""
    contents = path.read_bytes()
    rows = pq.read_table(path).to_pydict() if path.suffix == ".parquet" else contents.splitlines()
    return {"rows": rows, "bytes": hashlib.sha256(contents).hexdigest().encode()}


def values(nest: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yields each number in nested dicts and lists with its place; a tensor is one value, and text is left out."""
    if isinstance(nest, dict | list | tuple):
        for key, part in nest.items() if isinstance(nest, dict) else enumerate(nest):
            yield from values(part, f"{place}/{key}" if place else str(key))
    elif isinstance(nest, torch.Tensor):
        yield place, f"{nest.dtype} {list(nest.shape)} {nest.numpy().tobytes().hex()}"
    elif isinstance(nest, bytes):
        yield place, nest.decode("latin-1")
    elif isinstance(nest, float):
        yield place, nest.hex()
    elif nest is None or isinstance(nest, int):
        yield place, repr(nest)


# ---- tables ----


def write_table(path: Path) -> None:
    """Writes 1500 rows with two targets, a weight, and two columns of text; some of the features are missing."""
    random = np.random.RandomState(1)
    a, b, c, noise = random.randn(4, 1500)
    weight, color, size = random.randint(0, 5, 1500), random.randint(0, 4, 1500), random.randint(0, 3, 1500)
    gap_in_b, gap_in_color = random.rand(2, 1500) < 0.04
    y = 2 * a - 30 * b + color + noise + 7
    z = c - a + 3 * (size == 1) - noise
    lines = ["a,b,c,color,size,weight,y,z"]
    for i in range(1500):
        gappy_b = "" if gap_in_b[i] else f"{20 * b[i] + 5:.4f}"
        gappy_color = "" if gap_in_color[i] else ("red", "green", "blue", "black")[color[i]]
        words = f"{gappy_color},{('small', 'large', 'middle')[size[i]]}"
        lines.append(f"{a[i]:.5f},{gappy_b},{100 * c[i]:.3f},{words},{weight[i]},{y[i]:.5f},{z[i]:.5f}")
    path.write_text("\n".join(lines) + "\n")


def write_large_table(path: Path) -> None:
    """Writes 60 000 rows of 160 features in 6 row groups: 38 MB in float32, more than one window to shuffle in."""
    random = np.random.RandomState(2)
    features = random.randint(-50, 50, (60_000, 160)).astype(np.int8)
    y = features[:, :20] @ random.randint(-9, 10, 20) / 10 + random.randn(60_000)
    columns = {f"x{i}": features[:, i] if i % 2 else features[:, i] / 8 for i in range(160)}
    pq.write_table(pa.table({**columns, "y": y}), path, row_group_size=10_000)


# ---- jobs: each works in a folder of its own with diabetes.csv and table.csv ----


def tutorial(folder: Path) -> Any:
    return fit(folder)


def defaults(folder: Path) -> Any:
    return fit(folder, *ON_DIABETES)


def schedules(folder: Path) -> Any:
    common = ("--data.batch_size", "100", "--model.standardize", "true", "--model.momentum", "0.8")
    one_cycle = ("--model.schedule", "one_cycle", "--model.tail_averaging", "0.4", "--trainer.max_epochs", "150")
    cosine = ("--model.schedule", "cosine", "--model.tail_averaging", "0.1", "--model.l2", "0.01")
    return {
        "one_cycle": fit(folder, *ON_DIABETES, *common, *one_cycle, "--trainer.log_every_n_steps", "7"),
        "cosine": fit(folder, *ON_DIABETES, *common, *cosine),
    }


def weights(folder: Path) -> Any:
    return fit(folder, *TABLE, "--data.target", "z", "--data.features", "[a, c]", "--data.weight", "weight")


def two_targets(folder: Path) -> Any:
    flags = ("--data.target", "[y, z]", "--data.features", "[a, b, c]", "--data.missing", "drop")
    return fit(folder, *TABLE, *flags, "--data.batch_size", "400")


def categories(folder: Path) -> Any:
    flags = ("--data.target", "y", "--data.missing", "mean", "--data.drop_first", "true", "--data.weight", "weight")
    return {
        "in memory": fit(folder, *TABLE, *flags, "--data.val_fraction", "0.2"),
        "streamed": fit(folder, *TABLE, *flags, "--data.batch_size", "200", "--data.memory_limit", "0"),
    }


def streamed(folder: Path) -> Any:
    write_large_table(folder / "large.parquet")
    data = ("--data", "TableDataModule", "--data.path", "large.parquet", "--data.target", "y")
    return fit(folder, *data, "--data.memory_limit", "0", "--data.val_fraction", "0.1", "--trainer.max_epochs", "4")


def resumed(folder: Path) -> Any:
    """Stops one run within an epoch and kills another; resumed, both end like runs that were never stopped."""
    cut, killed = (folder / "lightning_logs" / f"version_{version}" for version in (1, 3))
    short = (*ON_DIABETES, *CONSTANT, "--data.batch_size", "100", "--trainer.log_every_n_steps", "3")
    sparse = ("--checkpoint_every_n_epochs", "400", "--trainer.log_every_n_steps", "400")
    held_out = ("--data.val_fraction", "0.1", "--trainer.check_val_every_n_epoch", "100")
    long = (*ON_DIABETES, *held_out, *sparse, "--data.batch_size", "100", "--trainer.max_epochs", "8000")
    runs = {"cut, untouched": fit(folder, *short, "--trainer.max_steps", "83")}
    linreg(folder, "fit", *short, "--trainer.max_steps", "22")
    runs["cut, resumed"] = resume(cut, "--trainer.max_steps", "83")
    runs["killed, untouched"] = fit(folder, *long)
    fit_and_kill(killed, *long)
    runs["killed, resumed"] = resume(killed)
    for name in ("cut", "killed"):
        whole, parts = (dict(values(runs[f"{name}, {end}"])) for end in ("untouched", "resumed"))
        if whole != parts:
            raise JobError(f"resumed after it was {name}: {difference(whole, parts)}")
    return runs


def held_out(folder: Path) -> Any:
    data = ("--data.batch_size", "100", "--data.val_fraction", "0.2", "--data.test_fraction", "0.1")
    stop = ("--trainer.callbacks", "EarlyStopping", "--trainer.callbacks.monitor", "val/loss")
    patience = ("--trainer.callbacks.patience", "8", "--trainer.max_epochs", "400")
    numbers = {"fit": fit(folder, *ON_DIABETES, *CONSTANT, *data, *stop, *patience)}
    checkpoint = last_checkpoint(folder / "lightning_logs" / "version_0")
    for command in ("validate", "test"):
        numbers[command] = printed(linreg(folder, command, "--ckpt_path", checkpoint))
    return numbers


def solve(folder: Path) -> Any:
    jobs = {
        "tutorial": (),
        "diabetes": (*ON_DIABETES, "--model.l2", "0"),
        "rate": (*ON_DIABETES, "--model.learning_rate", "auto", "--data.batch_size", "100"),
    }
    return {name: json.loads(linreg(folder, "solve", "--json", *flags)) for name, flags in jobs.items()}


def predict(folder: Path) -> Any:
    linreg(folder, "fit", *ON_DIABETES)
    common = ("--ckpt_path", last_checkpoint(folder / "lightning_logs" / "version_0"), "--interval", "0.95")
    linreg(folder, "predict", *common, "--keep_columns", "[age, bmi]", "--output", "some.csv")
    linreg(folder, "predict", *common, "--keep_columns", "all", "--output", "all.parquet")
    return {name: predictions(folder / name) for name in ("some.csv", "all.parquet")}


def penalised(folder: Path) -> Any:
    """Uses the settings of tests/golden/penalised.npz."""
    data = ("--data.num_rows", "70", "--data.batch_size", "16", "--data.seed", "2", "--trainer.max_epochs", "50")
    flags = (*data, "--model.learning_rate", "1e-4", "--model.l2", "0.5", "--trainer.log_every_n_steps", "4")
    return {
        "float32": fit(folder, *flags),
        "float64": fit(folder, *flags, "--trainer.precision", "64-true"),
        "folded": fit(folder, *flags, "--trainer.precision", "64-true", "--model.fold_bias", "true"),
    }


Job = Callable[[Path], Any]
JOBS: dict[str, Job] = {
    job.__name__: job
    for job in (
        *(tutorial, defaults, schedules, weights, two_targets, categories),
        *(streamed, resumed, held_out, solve, predict, penalised),
    )
}


# ---- recordings ----


def numbers_of(job: Job) -> Values:
    """Runs a job in a folder of its own; returns its numbers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(DIABETES, folder / "diabetes.csv")
        write_table(folder / "table.csv")
        return dict(values(job(folder)))


def difference(before: Values, now: Values) -> str:
    """Says what differs first; empty if nothing does."""
    places = [place for place in {**before, **now} if before.get(place) != now.get(place)]
    if not places:
        return ""
    pair = [numbers.get(places[0], "missing") for numbers in (before, now)]
    unlike = next((i for i, (one, other) in enumerate(zip(*pair, strict=False)) if one != other), 0)
    start = max(0, unlike - 40)
    was, is_now = (f"{'…' if start else ''}{number[start : start + 80]}" for number in pair)
    return f"{places[0]} was {was}, is {is_now}; {len(places)} of {len(before)} values differ"


def outcome(action: str, folder: Path, name: str) -> str:
    """Runs a job, and records it or compares it: returns `recorded`, `same`, or what is wrong."""
    path = folder / f"{name}.json"
    try:
        before = json.loads(path.read_text()) if action == "compare" else {}
        now = numbers_of(JOBS[name])
        if action == "compare":
            return difference(before, now) or "same"
        path.write_text(json.dumps(now, indent=0) + "\n")
        return "recorded"
    except Exception as error:  # one job that fails does not hide the others
        return f"failed: {type(error).__name__}: {error}"


def main() -> int:
    """Records or compares; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["record", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("jobs", nargs="*", metavar="job", help=f"of {', '.join(JOBS)}; all if none is named")
    asked = parser.parse_args()
    if unknown := set(asked.jobs) - set(JOBS):
        parser.error(f"there is no job {', '.join(sorted(unknown))}")
    asked.folder.mkdir(parents=True, exist_ok=True)
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # its reader warns of every resumption
    jobs, is_fine = asked.jobs or list(JOBS), True
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, result in zip(jobs, pool.map(partial(outcome, asked.action, asked.folder), jobs), strict=True):
            print(f"{name:12} {result}", flush=True)
            is_fine &= result in ("recorded", "same")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
