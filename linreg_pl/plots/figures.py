"""Draws the figures of a run: each function draws one plot, and `pictures` combines them into whole figures.

curve       loss and gap at every point of the curves, and the forecast of the gap
fit         the data, the fitted line and the exact one; with several features, actual against predicted values
residuals   the residuals by prediction, and their histogram
path        the path of two coefficients on the cost surface
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from linreg_pl.plots.run_data import Record


class Colour(StrEnum):
    """Okabe and Ito's colours, which colour-blind people can distinguish, and a grey."""

    ACTUAL = "#0072B2"
    EXPECTED = "#D55E00"
    OTHER = "#009E73"
    ROWS = "#777777"


MOST_TARGETS = 4
"""Targets that are drawn, at most."""

STYLE: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.formatter.limits": (-4, 5),  # longer numbers run into each other
    "legend.edgecolor": "none",
    "lines.linewidth": 1.6,
}


def pictures(record: Record) -> dict[str, Figure]:
    """Draws everything that can be drawn of a run; returns the figures by name."""
    with matplotlib.rc_context(STYLE):
        return {name: figure for name, figure in _pictures(record) if figure is not None}


def panels(record: Record) -> dict[str, Figure]:
    """Draws each plot as a figure of its own, as narrow pages need it; returns the figures by what they show."""
    draws: dict[str, Callable[[Axes], None]] = {}
    draw_fit, several = draw_line if record.data.num_features == 1 else draw_predictions, record.data.num_targets > 1
    for target in range(min(MOST_TARGETS, record.data.num_targets)):
        name = f" of {record.data.target_names[target]}" if several else ""
        draws |= {
            ("rows and line" if draw_fit is draw_line else "predicted and actual values") + name: partial(
                draw_fit, record=record, target=target
            ),
            f"residuals by prediction{name}": partial(draw_residuals, record=record, target=target),
            f"distribution of the residuals{name}": partial(draw_histogram, record=record, target=target),
        }
    if "train/loss" in record.curves:
        draws["loss at each step"] = partial(draw_loss, record=record)
    if "gap/objective" in record.curves:
        draws["gap to the exact loss, and its forecast"] = partial(draw_gap, record=record)
    if record.path is not None:
        draws["path of the two coefficients on the cost surface"] = partial(draw_path, record=record)
    figures = {}
    with matplotlib.rc_context(STYLE):
        for name, draw in draws.items():
            figures[name] = Figure(figsize=(5.5, 4))
            draw(figures[name].subplots())
    return figures


def _pictures(record: Record) -> Iterator[tuple[str, Figure | None]]:
    yield "curve", _curve(record)
    yield "fit", _fit(record)
    yield "residuals", _residuals(record)
    yield "path", _path(record)


def _curve(record: Record) -> Figure | None:
    drawn = [draw for draw, tag in ((draw_loss, "train/loss"), (draw_gap, "gap/objective")) if tag in record.curves]
    if not drawn:
        return None
    figure = Figure(figsize=(5.5 * len(drawn), 4))
    for draw, axes in zip(drawn, figure.subplots(1, len(drawn), squeeze=False)[0], strict=True):
        draw(axes, record)
    return figure


def draw_loss(axes: Axes, record: Record) -> None:
    """Draws the losses, and the smallest loss over all rows."""
    for tag, colour in (("train/loss", Colour.ACTUAL), ("val/loss", Colour.OTHER)):
        if tag in record.curves:
            axes.plot(*record.curves[tag].T, color=colour, label=tag)
    exact = record.problem.optimum.objective
    if exact > 0:
        axes.axhline(exact, color=Colour.EXPECTED, linestyle="--", label=f"exact: {exact:.6g}")
    axes.set(title="loss J", xlabel=steps_label(record))
    scale(axes)
    axes.legend()


def draw_gap(axes: Axes, record: Record, colour: str = Colour.ACTUAL, label: str = "this run") -> None:
    """Draws the gap to the exact solution, and its forecast."""
    actual, expected = record.curves["gap/objective"], record.forecast_of_gap
    expected = expected[expected[:, 1].isfinite()]
    axes.plot(*actual.T, color=colour, label=label)
    axes.plot(*expected.T, color=Colour.EXPECTED, linestyle="--", label="forecast")
    axes.set(title="gap J − J* over all rows", xlabel=steps_label(record))
    scale(axes)
    # The forecast ignores rounding and noise, so it may lie orders of magnitude off the run: the axis follows the run.
    positive = actual[actual[:, 1] > 0, 1]
    if len(positive):
        bottom = max(float(expected[:, 1].min()), float(positive.min()) / 100)
        axes.set_ylim(bottom / 2, 5 * max(float(expected[0, 1]), float(positive.max())))
    axes.legend()


def scale(axes: Axes) -> None:
    """Makes the y-axis logarithmic, if any value is positive."""
    if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
        axes.set_yscale("log")


def steps_label(record: Record) -> str:
    """Returns the label of the x-axis."""
    return f"optimizer steps ({record.problem.steps_per_epoch} an epoch)"


def _fit(record: Record) -> Figure:
    draw = draw_line if record.data.num_features == 1 else draw_predictions
    targets = range(min(MOST_TARGETS, record.data.num_targets))
    figure = Figure(figsize=(5.5 * len(targets), 4.4))
    for target, axes in zip(targets, figure.subplots(1, len(targets), squeeze=False)[0], strict=True):
        draw(axes, record, target)
    return figure


def draw_line(axes: Axes, record: Record, target: int = 0) -> None:
    """Draws the rows of the one feature and a target, with the fitted line and the exact one."""
    x, y, *_ = record.rows
    draw_rows(axes, x[:, 0], y[:, target])
    ends = torch.stack([x.min(), x.max()])
    optimum = record.problem.optimum
    for (W, b), colour, line, label in (
        (record.model.coefficients(), Colour.ACTUAL, "-", "fitted"),
        ((optimum.W, optimum.b), Colour.EXPECTED, "--", "exact"),
    ):
        slope, intercept = float(W[0, target]), float(b[target])
        axes.plot(ends, slope * ends + intercept, color=colour, linestyle=line, label=label)
    axes.set(title="data and line", xlabel=record.data.feature_names[0], ylabel=record.data.target_names[target])
    axes.legend()


def draw_predictions(axes: Axes, record: Record, target: int = 0) -> None:
    """Draws a target's actual values against its predictions, with the diagonal where both are equal."""
    predicted, y = record.predictions[:, target], record.rows[1][:, target]
    draw_rows(axes, predicted, y)
    ends = torch.stack([predicted.min(), predicted.max()])
    axes.plot(ends, ends, color=Colour.EXPECTED, linestyle="--", label="predicted = actual")
    name = record.data.target_names[target]
    axes.set(title="predicted and actual", xlabel=f"{name}, predicted", ylabel=f"{name}, actual")
    axes.legend()


def draw_rows(axes: Axes, x: Tensor, y: Tensor) -> None:
    """Draws a dot for each row; of more than 2000 rows, evenly spaced ones."""
    every = -(-len(x) // 2000)
    label = "rows" if every == 1 else f"rows, one in {every}"
    axes.plot(x[::every], y[::every], ".", color=Colour.ROWS, markersize=3, alpha=0.6, label=label, rasterized=True)


def _residuals(record: Record) -> Figure:
    targets = range(min(MOST_TARGETS, record.data.num_targets))
    figure = Figure(figsize=(11, 3.8 * len(targets)))
    for target, (left, right) in zip(targets, figure.subplots(len(targets), 2, squeeze=False), strict=True):
        draw_residuals(left, record, target)
        draw_histogram(right, record, target)
    return figure


def draw_residuals(axes: Axes, record: Record, target: int = 0) -> None:
    """Draws a target's residuals against its predictions."""
    name, predicted = record.data.target_names[target], record.predictions[:, target]
    axes.axhline(0, color=Colour.EXPECTED, linestyle="--")
    draw_rows(axes, predicted, record.rows[1][:, target] - predicted)
    axes.set(title="residuals by prediction", xlabel=f"{name}, predicted", ylabel="actual − predicted")


def draw_histogram(axes: Axes, record: Record, target: int = 0) -> None:
    """Draws how a target's residuals are distributed."""
    residuals = record.rows[1][:, target] - record.predictions[:, target]
    weights = record.rows[2][:, 0] if len(record.rows) > 2 else torch.ones_like(residuals)
    axes.hist(residuals.numpy(), bins=40, weights=weights.numpy(), color=Colour.ACTUAL)
    deviation = float((weights * residuals.square()).mean().sqrt())
    axes.set(title=f"residuals: root mean square {deviation:.4g}", xlabel="actual − predicted", ylabel="rows")


def _path(record: Record) -> Figure | None:
    if record.path is None:
        return None
    figure = Figure(figsize=(6.6, 4.8))
    draw_path(figure.subplots(), record)
    return figure


def draw_path(axes: Axes, record: Record) -> None:
    """Draws the run's path on the surface of J over the two coefficients that are trained."""
    path, problem = record.path, record.problem
    assert path is not None, "there are two coefficients"
    exact = (problem.scaling.inverse @ problem.optimum.theta.high)[problem.optimum.free, 0]
    low, high = (bound.numpy() for bound in _bounds(torch.cat([path, exact.unsqueeze(0)])))
    surface = _surface(problem.optimum.factor_of(problem.scaling), exact, low, high)
    powers = np.arange(np.floor(np.log10(surface[2].min())), np.ceil(np.log10(surface[2].max())) + 1)
    filled = axes.contourf(*surface, levels=10.0**powers, norm=LogNorm(), cmap="cividis")
    axes.contour(*surface, levels=10.0**powers, colors="white", linewidths=0.4)
    bar = axes.get_figure().colorbar(filled, ax=axes, label="gap J − J*")  # type: ignore[union-attr]
    bar.ax.set_yscale("log")

    line: dict[str, Any] = {"color": "white", "markeredgecolor": "black", "linestyle": "none", "zorder": 3}
    axes.plot(path[:, 1], path[:, 0], "-", color="black", linewidth=3)
    axes.plot(path[:, 1], path[:, 0], ".-", color="white", linewidth=1.2, markersize=5, label="the run's points")
    axes.plot(*exact.flip(0), "*", **(line | {"color": Colour.EXPECTED}), markersize=18, label="exact")
    axes.plot(*path[0].flip(0), "o", **line, markersize=9, label="start")
    axes.plot(*path[-1].flip(0), "s", **line, markersize=6, label="end")
    second, first = record.convergence.coefficient_names
    units = " of standardized x" if record.model.standardize else ""
    axes.set(title="the run's way on the cost surface", xlabel=f"{first}{units}", ylabel=f"{second}{units}")
    axes.legend(facecolor="#bbbbbb", framealpha=0.9)


def _bounds(points: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the lower and upper ends (2,) of a box around points (n, 2), with a margin."""
    low, high = points.amin(0), points.amax(0)
    margin = 0.1 * (high - low).clamp(min=1e-6 * high.abs().clamp(min=1e-6))
    return low - margin, high + margin


def _surface(
    factor: Tensor, exact: Tensor, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes J - J* on a grid of both coefficients; returns them and the gaps, which are positive."""
    first, second = np.linspace(low[1], high[1], 400), np.linspace(low[0], high[0], 400)
    W, b = np.meshgrid(first, second)
    errors = np.stack([b.ravel(), W.ravel()]) - exact.numpy()[:, None]
    gaps = np.square(factor.numpy() @ errors).sum(axis=0).reshape(W.shape)
    return W, b, np.maximum(gaps, np.finfo(float).tiny)
