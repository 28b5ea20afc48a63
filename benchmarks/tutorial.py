"""Measures the tutorial's job with everything on, beside a bare PyTorch loop and TensorFlow.

    linreg fit        curves, checkpoints, printed lines, and the progress bar, drawn in a terminal
    bare PyTorch loop autograd and an update by hand, printed lines only
    TensorFlow graph  the tutorial's own program, on the TensorFlow that `make bench-peers` installs

Every program is a process of its own. A round runs each of them once, so that what else the machine does falls on all;
ratios are taken within a round. The first runs, one epoch each, are not counted: they fill the disk's cache.

    loop seconds      of the training loop alone, as the program says
    process seconds   from spawn to exit, imports included
"""

import argparse
import errno
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import job
from benchmarks.page import PEERS, ROOT, Page, at_least, ratios, report_progress, show, spread

LINREG, BARE, TENSORFLOW = "linreg fit", "bare PyTorch loop", "TensorFlow graph"

LOOP_TARGET = 1.2
"""Loop of `linreg fit`, everything on, over the bare loop, which does nothing but descend."""
PROCESS_TARGET = 0.9
"""Whole process of `linreg fit` over that of the program which it replaces."""

W_TOLERANCE = 1e-3
"""The error of W halves every 51.7 epochs, so 612 epochs come this near; the job's noise leaves 1e-5 in the end."""

FLAGS = argparse.ArgumentParser(prog="python -m benchmarks.tutorial")
FLAGS.add_argument("--rounds", type=at_least(1), default=5, help="how often each program runs")
FLAGS.add_argument("--epochs", type=at_least(1), default=job.EPOCHS, help="a shorter job, to try this page out")
FLAGS.add_argument("--output", type=Path, help="file to write the page to, too")


@dataclass(frozen=True)
class Run:
    """What one process took."""

    process_seconds: float
    loop_seconds: float


def programs(epochs: int) -> dict[str, list[str]]:
    """Returns the command of each program that can run on this machine."""
    interpreter = Path(sys.executable)
    commands = {
        LINREG: [
            str(interpreter.with_name("linreg")),
            "fit",
            f"--trainer.max_epochs={epochs}",
            "--trainer.default_root_dir=runs",
            "--trainer.callbacks+=benchmarks.loop_timer.LoopTimer",
        ],
        BARE: [str(interpreter), "-m", "benchmarks.bare_loop", f"--epochs={epochs}"],
    }
    if (PEERS / "installed").exists():
        peer = str(PEERS / "bin" / "python")
        commands[TENSORFLOW] = [peer, "-m", "benchmarks.tensorflow_loop", f"--epochs={epochs}"]
    return commands


def timed_run(name: str, command: list[str], epochs: int) -> Run:
    """Runs a program to its end in a terminal and a folder of its own.

    Raises:
        RuntimeError: it failed, or did not do the whole job.
    """
    with tempfile.TemporaryDirectory() as folder:
        seconds, code, output = run_in_terminal(command, Path(folder))
        result = dict(re.findall(r"^(W|loop_seconds) (\S+)$", output, re.MULTILINE))
        if code != 0 or len(result) != 2:
            raise RuntimeError(f"{name}: exit code {code}; its last words:\n{output[-2000:]}")
        lines = re.findall(r"epoch +(\d+) +loss", output)
        if lines != [str(epoch) for epoch in range(0, epochs, job.DISPLAY_EVERY_N_EPOCHS)]:
            raise RuntimeError(f"{name}: printed lines for the epochs {lines} of {epochs}")
        if name == LINREG:
            require_everything_on(Path(folder), output, epochs)
    W = float(result["W"])
    if epochs == job.EPOCHS and abs(W - job.SLOPE) > W_TOLERANCE:
        raise RuntimeError(f"{name}: W is {W} at the end, {job.SLOPE} was expected within {W_TOLERANCE}")
    return Run(seconds, float(result["loop_seconds"]))


def run_in_terminal(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Returns the seconds from spawn to exit, the exit code, and the output without colours and cursor movements.

    A terminal, because a progress bar draws in nothing else.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LINREG")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    ours, theirs = pty.openpty()
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := os.read(ours, 65_536):
            shown += chunk
    except OSError as error:  # how Linux says that the last process has left the terminal
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(ours)
    code = process.wait()
    seconds = time.monotonic() - start
    return seconds, code, plain(shown.decode(errors="replace"))


def plain(shown: str) -> str:
    """Returns what a terminal was sent, without colours and cursor movements."""
    return re.sub(r"[\r\n]+", "\n", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown))


def require_everything_on(folder: Path, output: str, epochs: int) -> None:
    """Checks that a run with everything on left its files and drew its bar.

    Raises:
        RuntimeError: a part of it is missing.
    """
    steps = epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    parts = {
        "the last checkpoint": any(folder.glob(f"runs/lightning_logs/version_0/checkpoints/step={steps}.ckpt")),
        "the curves": any(folder.glob("runs/lightning_logs/version_0/events.out.tfevents.*")),
        "the progress bar": "steps/s" in output,
    }
    missing = [part for part, exists in parts.items() if not exists]
    if missing:
        raise RuntimeError(f"{LINREG}: without {' and '.join(missing)}; its last words:\n{output[-2000:]}")


def measure(rounds: int, epochs: int) -> dict[str, list[Run]]:
    """Runs each program `rounds` times, in turns."""
    for name, command in programs(1).items() if rounds > 1 else ():  # a single round is a trial
        timed_run(name, command, 1)
    runs: dict[str, list[Run]] = {name: [] for name in programs(epochs)}
    for number in range(rounds):
        for name, command in programs(epochs).items():
            run = timed_run(name, command, epochs)
            runs[name].append(run)
            took = f"process {run.process_seconds:.2f} s, loop {run.loop_seconds:.2f} s"
            report_progress(f"round {number + 1} of {rounds}: {name}, {took}")
    return runs


def peer_versions() -> str:
    """Returns the versions in the peers' environment, without importing TensorFlow."""
    question = (
        "import platform; from importlib.metadata import PackageNotFoundError, version as v;"
        "print('python', platform.python_version() + ', tensorflow-cpu', v('tensorflow-cpu') + ', numpy', v('numpy'))"
    )
    answer = subprocess.run([PEERS / "bin" / "python", "-c", question], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def table(runs: dict[str, list[Run]], epochs: int) -> list[str]:
    """Returns a line for each program."""
    steps = epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    lines = [f"{'median (min-max)':20} {'process s':>20} {'loop s':>20} {'µs a step':>20}"]
    for name, taken in runs.items():
        process = spread([run.process_seconds for run in taken])
        loop = spread([run.loop_seconds for run in taken])
        step = spread([run.loop_seconds / steps * 1e6 for run in taken], decimals=0)
        lines.append(f"{name:20} {process:>20} {loop:>20} {step:>20}")
    return lines


def ratios_of(runs: dict[str, list[Run]]) -> list[str]:
    """Returns the two ratios that have a target, each taken within a round."""
    loop = ratios(*([run.loop_seconds for run in runs[name]] for name in (LINREG, BARE)))
    lines = [f"loop / bare loop                               {spread(loop):>18}   target ≤ {LOOP_TARGET}"]
    if TENSORFLOW in runs:
        process = ratios(*([run.process_seconds for run in runs[name]] for name in (LINREG, TENSORFLOW)))
        lines += [f"whole process / TensorFlow's whole process     {spread(process):>18}   target ≤ {PROCESS_TARGET}"]
    return lines


def page(flags: argparse.Namespace) -> Page:
    """Measures the seconds of each program, and the two ratios."""
    epochs, steps = flags.epochs, flags.epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    runs = measure(flags.rounds, epochs)
    skipped = f"{TENSORFLOW}: skipped, {PEERS.name} is not installed; install it with: make bench-peers"
    notes = {
        "peer": peer_versions() if TENSORFLOW in runs else skipped,
        "rounds": f"{flags.rounds}, each program once a round",
    }
    title = f"The tutorial's job: {job.NUM_ROWS} rows in batches of {job.BATCH_SIZE}, {epochs} epochs, {steps} steps"
    lines = [*table(runs, epochs), "", *ratios_of(runs)]
    return Page(title, ("torch", "lightning", "numpy", "scipy"), notes, lines)


if __name__ == "__main__":
    show(page, FLAGS.parse_args())
