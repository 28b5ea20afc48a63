"""Draws the pictures of the README, docs/choosing.md and docs/why-the-bias-hardly-moves.md: `make figures`.

It also writes the table of docs/choosing.md.

Trains the runs with the command itself, in a minute. Equal runs give equal pictures, to the bit.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from linreg_pl.core.statistics import shown_coefficients
from linreg_pl.plots.figures import STYLE, Colour, draw_gap, draw_loss, draw_path
from linreg_pl.plots.plot import png
from linreg_pl.plots.run_data import Record, record

DOCS = Path(__file__).parent
LINREG = Path(sys.executable).with_name("linreg")

RUNS = {
    "as it is": "",
    "folded": "--model.fold_bias true",
    "standardized": "--model.standardize true --model.learning_rate auto"
    " --trainer.max_epochs 20 --trainer.log_every_n_steps 1",
    "in float64": "--trainer.precision 64-true",
}

RUNS_ON_TABLE = {
    "plain": "--model.standardize false --model.precondition false --model.schedule constant --trainer.max_epochs 2000",
    "standardized": "--model.precondition false --model.schedule constant --trainer.max_epochs 2000",
    "preconditioned": "--model.schedule constant --trainer.max_epochs 10",
}


def main() -> None:
    """Trains the runs, draws the pictures and prints their sizes."""
    with tempfile.TemporaryDirectory() as folder, matplotlib.rc_context(STYLE):
        records = {}
        for name, flags in RUNS.items():
            records[name] = trained(Path(folder), flags)
        in_float64 = records.pop("in float64")
        thermometers(table := Path(folder) / "thermometers.csv")
        data = f"--data TableDataModule --data.path {table} --data.target consumption"
        on_table = {
            name: trained(Path(folder), f"{data} {flags} --trainer.log_every_n_steps 1")
            for name, flags in RUNS_ON_TABLE.items()
        }
        for name, figure in (
            ("curves", curves(records["as it is"])),
            ("bias-paths", paths(records)),
            ("bias-gaps", gaps(records)),
            ("bias-rounding", rounding(records["as it is"], in_float64)),
            ("bias-preconditioned", gaps(on_table)),
            ("choosing", rates(Path(folder))),
        ):
            path = DOCS / f"{name}.png"
            path.write_bytes(png(figure))
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def trained(folder: Path, flags: str) -> Record:
    """Trains a run in this folder with these flags."""
    subprocess.run([LINREG, "fit", *flags.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    newest = max((folder / "lightning_logs").iterdir(), key=lambda run: int(run.name.removeprefix("version_")))
    return record(newest)


def thermometers(path: Path) -> None:
    """Writes a table of 1000 days: two thermometers that agree to a tenth of a degree, and a house's consumption."""
    random = np.random.default_rng(0)
    temperature = random.normal(15, 8, 1000)
    first, second = (temperature + random.normal(0, 0.1, 1000) for _ in range(2))
    consumption = 1.5 * first + 0.5 * second + 3 + random.normal(0, 1, 1000)
    rows = [f"{a:.3f},{b:.3f},{y:.3f}\n" for a, b, y in zip(first, second, consumption, strict=True)]
    path.write_text("first,second,consumption\n" + "".join(rows))


def curves(run: Record) -> Figure:
    """Draws the loss, W and b of the tutorial's run, each beside its exact value."""
    figure = Figure(figsize=(12, 3.4), layout=ConstrainedLayoutEngine(wspace=0.06))
    of_loss, *of_parameters = figure.subplots(1, 3)
    draw_loss(of_loss, run)
    for axes, name, exact in zip(of_parameters, "Wb", shown_coefficients(run.problem.optimum), strict=True):
        axes.plot(*run.curves[f"params/{name}"].T, color=Colour.ACTUAL, label=f"params/{name}")
        axes.axhline(float(exact), color=Colour.EXPECTED, linestyle="--", label=f"exact: {float(exact):.6g}")
        axes.set(title={"W": "weight W", "b": "bias b"}[name], xlabel=of_loss.get_xlabel())
        axes.margins(y=0.1)
        axes.legend(loc="center right")
    return figure


def rates(folder: Path) -> Figure:
    """Draws the predicted and the measured loss of the tutorial's job over nine decades of learning rates."""
    decades = [f"1e-{power}" for power in range(16, 6, -1)]
    flags = f"--tune.learning_rate [{','.join(decades)}] --tune.trials 10 --tune.diverging true"
    subprocess.run([LINREG, "tune", *flags.split()], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    trials = json.loads((folder / "tune_0" / "results.json").read_text())["trials"]
    trials.sort(key=lambda trial: trial["settings"]["learning_rate"])
    write_table([f"| {decade} | {cells(trial)} |" for decade, trial in zip(decades, trials, strict=True)])
    ended = [trial for trial in trials if trial["mean"]]
    rate, mean, low, high, measured = np.array(
        [(t["settings"]["learning_rate"], t["mean"], t["low"], t["high"], t["measured"]) for t in ended]
    ).T
    bound = max(rate) * 10**0.5
    figure = Figure(figsize=(12, 4), layout=ConstrainedLayoutEngine(wspace=0.06))
    for axes, shown in zip(figure.subplots(1, 2), (slice(None), mean < 1), strict=True):
        axes.fill_between(rate[shown], low[shown], high[shown], color=Colour.EXPECTED, alpha=0.3, label="95% band")
        axes.plot(rate[shown], mean[shown], color=Colour.EXPECTED, linestyle="--", label="predicted")
        axes.plot(rate[shown], measured[shown], "o", color=Colour.ACTUAL, label="measured")
        axes.set(xscale="log", xlabel="learning rate")
    left, right = figure.axes
    left.axvspan(bound, 1e-7, color=Colour.OTHER, alpha=0.3, label="diverges")
    left.set(yscale="log", title="loss after 2000 epochs")
    left.legend(loc="lower left")
    right.set_title("the three best")
    return figure


def cells(trial: dict[str, Any]) -> str:
    """Returns a trial's cells of the table in docs/choosing.md: the predicted loss, its band and the measured one."""
    measured = "diverges" if trial["measured"] is None else f"{trial['measured']:.6g}"
    if trial["diverges"]:
        return f"diverges | – | {measured}"
    return f"{trial['mean']:.6g} | {trial['low']:.6g} … {trial['high']:.6g} | {measured}".replace("e+0", "e")


def write_table(rows: list[str]) -> None:
    """Writes the rows of the table in docs/choosing.md."""
    page = DOCS / "choosing.md"
    heading = "| learning rate | predicted loss | 95% band | measured |\n|---|---|---|---|\n"
    before, after = page.read_text().split(heading)
    page.write_text(before + heading + "\n".join(rows) + after[after.index("\n\n") :])


def paths(records: dict[str, Record]) -> Figure:
    """Draws each run's path of (W, b) on its cost surface."""
    figure = Figure(figsize=(15, 4.4), layout=ConstrainedLayoutEngine(wspace=0.06))
    for (name, run), axes in zip(records.items(), figure.subplots(1, len(records)), strict=True):
        draw_path(axes, run)
        axes.set_title(name)
        if name == "standardized":
            axes.set_aspect("equal")  # both coefficients are in y's units
            axes.get_legend().remove()
    return figure


def gaps(records: dict[str, Record]) -> Figure:
    """Draws each run's gap beside its forecast."""
    figure = Figure(figsize=(15, 4))
    for (name, run), axes in zip(records.items(), figure.subplots(1, len(records)), strict=True):
        draw_gap(axes, run)
        axes.set_title(f"{name}: gap J − J*")
    return figure


def rounding(in_float32: Record, in_float64: Record) -> Figure:
    """Draws the gap of the same run in two precisions."""
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    axes.plot(*in_float32.curves["gap/objective"].T, color=Colour.OTHER, label="in float32, as it is")
    draw_gap(axes, in_float64, label="in float64")
    return figure


if __name__ == "__main__":
    main()
