"""What does the tutorial's job cost with everything on, beside the least that PyTorch needs, and beside TensorFlow?

    linreg fit        curves, checkpoints, printed lines, and the progress bar, drawn in a terminal
    bare PyTorch loop autograd and an update by hand, printed lines only
    TensorFlow graph  the tutorial's own program, on the TensorFlow that `make bench-peers` installs

Every program is a process of its own. A round runs each of them once, so that what else the machine does falls on all;
ratios are taken within a round. The first runs, one epoch each, are not counted: they fill the disk's cache.

    loop seconds      of the training loop alone, as the program says
    process seconds   from spawn to exit, imports included
"""

import argparse
import datetime
import errno
import os
import platform
import pty
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import job

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers"

LINREG, BARE, TENSORFLOW = "linreg fit", "bare PyTorch loop", "TensorFlow graph"

LOOP_TARGET = 1.2
"""Loop of `linreg fit`, everything on, over the bare loop, which does nothing but descend."""
PROCESS_TARGET = 0.9
"""Whole process of `linreg fit` over that of the program which it replaces."""

W_TOLERANCE = 1e-3
"""The error of W halves every 51.7 epochs, so 612 epochs come this near; the job's noise leaves 1e-5 in the end."""


@dataclass(frozen=True)
class Run:
    """What one process took."""

    process_seconds: float
    loop_seconds: float


def programs(epochs: int) -> dict[str, list[str]]:
    """The command of each program that can run here."""
    here = Path(sys.executable)
    commands = {
        LINREG: [
            str(here.with_name("linreg")),
            "fit",
            f"--trainer.max_epochs={epochs}",
            "--trainer.default_root_dir=runs",
            "--trainer.callbacks+=benchmarks.loop_timer.LoopTimer",
        ],
        BARE: [str(here), "-m", "benchmarks.bare_loop", f"--epochs={epochs}"],
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
        raise RuntimeError(f"{name}: W is {W} at the end, {job.SLOPE} was to be found within {W_TOLERANCE}")
    return Run(seconds, float(result["loop_seconds"]))


def run_in_terminal(command: list[str], folder: Path) -> tuple[float, int, str]:
    """Seconds from spawn to exit, exit code, and all that was shown, without colours and cursor movements.

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
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    return seconds, code, re.sub(r"[\r\n]+", "\n", plain)


def require_everything_on(folder: Path, output: str, epochs: int) -> None:
    """Looks for what a run with everything on leaves behind, beside the printed lines.

    Raises:
        RuntimeError: a part of it is missing.
    """
    steps = epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    found = {
        "the last checkpoint": any(folder.glob(f"runs/lightning_logs/version_0/checkpoints/step={steps}.ckpt")),
        "the curves": any(folder.glob("runs/lightning_logs/version_0/events.out.tfevents.*")),
        "the progress bar": "steps/s" in output,
    }
    missing = [part for part, is_there in found.items() if not is_there]
    if missing:
        raise RuntimeError(f"{LINREG}: without {' and '.join(missing)}; its last words:\n{output[-2000:]}")


def measure(rounds: int, epochs: int) -> dict[str, list[Run]]:
    """`rounds` runs of each program, taken in turns."""
    for name, command in programs(1).items():
        timed_run(name, command, 1)
    runs: dict[str, list[Run]] = {name: [] for name in programs(epochs)}
    for number in range(rounds):
        for name, command in programs(epochs).items():
            run = timed_run(name, command, epochs)
            runs[name].append(run)
            took = f"process {run.process_seconds:.2f} s, loop {run.loop_seconds:.2f} s"
            print(f"round {number + 1} of {rounds}: {name}, {took}", file=sys.stderr)
    return runs


def header(load: float, epochs: int) -> list[str]:
    """Machine, date, versions, job."""
    steps = epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    ours = ", ".join(f"{name} {installed_version(name)}" for name in ("torch", "lightning", "numpy", "scipy"))
    lines = [
        f"The tutorial's job: {job.NUM_ROWS} rows in batches of {job.BATCH_SIZE}, {epochs} epochs, {steps} steps",
        "",
        f"date      {datetime.date.today()}",
        f"machine   {cpu_model()}, {os.cpu_count()} cores, {platform.system()}; load {load:.2f} before the first run",
        f"python    {platform.python_version()}, {ours}",
    ]
    if TENSORFLOW in programs(epochs):
        return [*lines, f"peer      {peer_versions()}"]
    return [
        *lines,
        f"peer      {TENSORFLOW}: skipped, {PEERS.name} is not installed; install it with: make bench-peers",
    ]


def installed_version(name: str) -> str:
    """Of a package, which need not be there: scipy comes with the development tools only, and importing Lightning
    imports it then, which lengthens the whole process by about 0.7 s.
    """
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """The processor's name, as Linux gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return model[1] if model else platform.processor() or platform.machine()


def peer_versions() -> str:
    """Versions in the peers' environment, as its own interpreter gives them; TensorFlow itself is not imported."""
    question = (
        "import platform; from importlib.metadata import PackageNotFoundError, version as v;"
        "print('python', platform.python_version() + ', tensorflow-cpu', v('tensorflow-cpu') + ', numpy', v('numpy'))"
    )
    answer = subprocess.run([PEERS / "bin" / "python", "-c", question], capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def table(runs: dict[str, list[Run]], epochs: int) -> list[str]:
    """A line a program."""
    steps = epochs * (job.NUM_ROWS // job.BATCH_SIZE)
    lines = [f"{'median (min-max)':20} {'process s':>20} {'loop s':>20} {'µs a step':>20}"]
    for name, taken in runs.items():
        process = spread([run.process_seconds for run in taken])
        loop = spread([run.loop_seconds for run in taken])
        step = spread([run.loop_seconds / steps * 1e6 for run in taken], decimals=0)
        lines.append(f"{name:20} {process:>20} {loop:>20} {step:>20}")
    return lines


def ratios(runs: dict[str, list[Run]]) -> list[str]:
    """The two numbers that matter, each taken within a round."""
    loop = [ours.loop_seconds / bare.loop_seconds for ours, bare in zip(runs[LINREG], runs[BARE], strict=True)]
    lines = [f"loop / bare loop                               {spread(loop):>18}   target ≤ {LOOP_TARGET}"]
    if TENSORFLOW in runs:
        pairs = zip(runs[LINREG], runs[TENSORFLOW], strict=True)
        process = [ours.process_seconds / theirs.process_seconds for ours, theirs in pairs]
        lines += [f"whole process / TensorFlow's whole process     {spread(process):>18}   target ≤ {PROCESS_TARGET}"]
    return lines


def spread(values: Sequence[float], decimals: int = 2) -> str:
    """Median, and the least and largest value."""
    median, least, largest = statistics.median(values), min(values), max(values)
    return f"{median:.{decimals}f} ({least:.{decimals}f}-{largest:.{decimals}f})"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tutorial")
    parser.add_argument("--rounds", type=int, default=5, help="how often each program runs")
    parser.add_argument("--epochs", type=int, default=job.EPOCHS, help="a shorter job, to try this page out")
    parser.add_argument("--output", type=Path, help="file to write the report to, too")
    flags = parser.parse_args()
    if flags.rounds < 1 or flags.epochs < 1:
        parser.error("--rounds and --epochs are whole numbers, 1 or more")
    load = os.getloadavg()[0]
    runs = measure(flags.rounds, flags.epochs)
    lines = [*header(load, flags.epochs), f"rounds    {flags.rounds}, each program once a round", ""]
    report = "\n".join([*lines, *table(runs, flags.epochs), "", *ratios(runs)]) + "\n"
    print(report, end="")
    if flags.output:
        flags.output.write_text(report)


if __name__ == "__main__":
    main()
