"""Draws a cross-validated path: a picture, and curves of the coefficients over the penalty for TensorBoard."""

import json
import math
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from linreg_pl.exact.path import PathResult
from linreg_pl.plots.figures import STYLE, Colour
from linreg_pl.plots.plot import png
from linreg_pl.runs.durable_files import write_durably
from linreg_pl.runs.tensorboard_logger import EVENTS


def write_path(result: PathResult, folder: Path) -> list[Path]:
    """Writes `path.png`, `path.json` and TensorBoard's curves into a folder, in place of an earlier path's.

    A curve's step is 1000 · log10(value), as TensorBoard's x-axis has whole numbers only.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = list(folder.glob(f"{EVENTS}.*")) if (folder / "path.json").exists() else []
    files = {"path.png": png(picture(result)), "path.json": json.dumps(result.to_dict(), indent=2).encode()}
    for name, content in files.items():
        write_durably(folder / name, content)
    for path in earlier:
        path.unlink()
    tagged = {"path/error": result.errors, "path/gcv": result.gcv, "path/df": result.degrees_of_freedom}
    tagged |= {f"coefficients/{name}": values for name, values in curves(result, result.W).items()}
    with SummaryWriter(str(folder)) as writer:
        for tag, values in tagged.items():
            for penalty, value in zip(result.values.tolist(), values, strict=True):
                if penalty > 0:
                    writer.add_scalar(tag, value, round(1000 * math.log10(penalty)))
    return [folder / name for name in files]


def curves(result: PathResult, W: Tensor) -> dict[str, list[float]]:
    """Returns the curves of W (L, D, K) by name: the feature's, after the target's if there are several."""
    targets = result.columns.target_names
    return {
        name if len(targets) == 1 else f"{target}/{name}": W[:, d, k].tolist()
        for k, target in enumerate(targets)
        for d, name in enumerate(result.columns.feature_names)
    }


def picture(result: PathResult) -> Figure:
    """Draws the errors over the penalty beside the coefficients, of standardized size."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4))
        left, right = figure.subplots(1, 2)
        draw_errors(left, result)
        draw_coefficients(right, result)
        for axes in (left, right):
            axes.set(xlabel=result.axis.name, xscale="log" if result.values[-1] > 0 else "linear")
    return figure


def draw_errors(axes: Axes, result: PathResult) -> None:
    """Draws the cross-validated error with its standard errors, GCV, and both choices."""
    axes.errorbar(
        result.values, result.errors, result.standard_errors, color=Colour.ACTUAL, label="cross-validated", capsize=2
    )
    axes.plot(result.values, result.gcv, color=Colour.OTHER, linestyle=":", label="GCV")
    for value, line, label in ((result.best, "-", "best"), (result.within_one_standard_error, "--", "within one s.e.")):
        axes.axvline(value, color=Colour.EXPECTED, linestyle=line, linewidth=1, label=f"{label}: {value:.4g}")
    axes.set(title="mean squared error of rows held out")
    axes.legend()


def draw_coefficients(axes: Axes, result: PathResult, most_names: int = 10) -> None:
    """Draws each feature's coefficient times the feature's standard deviation."""
    standardized = curves(result, result.W * result.solutions.deviations.unsqueeze(1))
    for name, values in sorted(standardized.items(), key=lambda curve: -curve[1][0]):  # as the curves begin
        axes.plot(result.values, values, label=name)
    axes.axhline(0, color=Colour.ROWS, linewidth=0.8)
    axes.axvline(result.within_one_standard_error, color=Colour.EXPECTED, linestyle="--", linewidth=1)
    axes.set(title="coefficients, per standard deviation of the feature")
    if len(standardized) <= most_names:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
