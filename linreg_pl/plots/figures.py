"""What does a run look like? Each function draws one thing about it; `pictures` makes whole figures of them.

curve       loss and gap at every point of the curves, and the gap that was to be expected
fit         the data, the fitted line and the exact one; with several features, what is predicted beside what is
residuals   what is left of y, by prediction, and how it is spread
path        the way of two coefficients over the cost surface
"""

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from linreg_pl.plots.run_data import Record

REAL, EXPECTED, OTHER, ROWS, GOAL = "#0072B2", "#D55E00", "#009E73", "#777777", "#F0E442"
"""Okabe and Ito's colours, which the colour-blind can tell apart: of what is, of what should be, and of a third."""

MOST_ROWS = 2000
"""Rows of the data that are drawn; more are thinned evenly."""

MOST_TARGETS = 4
"""Targets that are drawn."""

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
    """All that can be drawn of a run, by name."""
    with matplotlib.rc_context(STYLE):
        return {name: figure for name, figure in _pictures(record) if figure is not None}


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
    """The losses, beside the smallest that all rows together can have."""
    for tag, colour in (("train/loss", REAL), ("val/loss", OTHER)):
        if tag in record.curves:
            axes.plot(*record.curves[tag].T, color=colour, label=tag)
    exact = record.solution.problem.optimum.objective
    if exact > 0:
        axes.axhline(exact, color=EXPECTED, linestyle="--", label=f"exact: {exact:.6g}")
    axes.set(title="loss J", xlabel=steps_label(record))
    scale(axes)
    axes.legend()


def draw_gap(axes: Axes, record: Record, colour: str = REAL, label: str = "this run") -> None:
    """The gap to the exact answer, beside its forecast."""
    real, expected = record.curves["gap/objective"], record.forecast_of_gap
    expected = expected[expected[:, 1].isfinite()]
    axes.plot(*real.T, color=colour, label=label)
    axes.plot(*expected.T, color=EXPECTED, linestyle="--", label="forecast")
    axes.set(title="gap J − J* over all rows", xlabel=steps_label(record))
    scale(axes)
    # A forecast knows no rounding and no noise: it may go far below what was seen, or above it, which no axis can show.
    seen = real[real[:, 1] > 0, 1]
    if len(seen):
        bottom = max(float(expected[:, 1].min()), float(seen.min()) / 100)
        axes.set_ylim(bottom / 2, 5 * max(float(expected[0, 1]), float(seen.max())))
    axes.legend()


def scale(axes: Axes) -> None:
    """Makes the y-axis logarithmic, if there is anything to be seen on it then."""
    if any((np.asarray(line.get_ydata()) > 0).any() for line in axes.lines):
        axes.set_yscale("log")


def steps_label(record: Record) -> str:
    """What the x-axis counts."""
    return f"optimizer steps ({record.solution.problem.steps_per_epoch} an epoch)"


def _fit(record: Record) -> Figure:
    draw = draw_line if record.data.num_features == 1 else draw_predictions
    targets = range(min(MOST_TARGETS, record.data.num_targets))
    figure = Figure(figsize=(5.5 * len(targets), 4.4))
    for target, axes in zip(targets, figure.subplots(1, len(targets), squeeze=False)[0], strict=True):
        draw(axes, record, target)
    return figure


def draw_line(axes: Axes, record: Record, target: int = 0) -> None:
    """Rows of the one feature and a target, with the fitted line and the exact one."""
    x, y, *_ = record.rows
    draw_rows(axes, x[:, 0], y[:, target])
    ends = torch.stack([x.min(), x.max()])
    optimum = record.solution.problem.optimum
    for (W, b), colour, line, label in (
        (record.solution.model.coefficients(), REAL, "-", "fitted"),
        ((optimum.W, optimum.b), EXPECTED, "--", "exact"),
    ):
        slope, intercept = float(W[0, target]), float(b[target])
        axes.plot(ends, slope * ends + intercept, color=colour, linestyle=line, label=label)
    axes.set(title="data and line", xlabel=record.data.feature_names[0], ylabel=record.data.target_names[target])
    axes.legend()


def draw_predictions(axes: Axes, record: Record, target: int = 0) -> None:
    """What is predicted of a target, and what it is; on the diagonal both are the same."""
    predicted, y = record.predictions[:, target], record.rows[1][:, target]
    draw_rows(axes, predicted, y)
    ends = torch.stack([predicted.min(), predicted.max()])
    axes.plot(ends, ends, color=EXPECTED, linestyle="--", label="predicted = actual")
    name = record.data.target_names[target]
    axes.set(title="predicted and actual", xlabel=f"{name}, predicted", ylabel=f"{name}, actual")
    axes.legend()


def draw_rows(axes: Axes, x: Tensor, y: Tensor) -> None:
    """A dot for each row, or for every so many."""
    every = -(-len(x) // MOST_ROWS)
    label = "rows" if every == 1 else f"rows, one in {every}"
    axes.plot(x[::every], y[::every], ".", color=ROWS, markersize=3, alpha=0.6, label=label, rasterized=True)


def _residuals(record: Record) -> Figure:
    targets = range(min(MOST_TARGETS, record.data.num_targets))
    figure = Figure(figsize=(11, 3.8 * len(targets)))
    for target, (left, right) in zip(targets, figure.subplots(len(targets), 2, squeeze=False), strict=True):
        name, predicted = record.data.target_names[target], record.predictions[:, target]
        left_over = record.rows[1][:, target] - predicted
        left.axhline(0, color=EXPECTED, linestyle="--")
        draw_rows(left, predicted, left_over)
        left.set(title="residuals by prediction", xlabel=f"{name}, predicted", ylabel="actual − predicted")
        weights = record.rows[2][:, 0] if len(record.rows) > 2 else torch.ones_like(left_over)
        right.hist(left_over.numpy(), bins=40, weights=weights.numpy(), color=REAL)
        deviation = float((weights * left_over.square()).mean().sqrt())
        right.set(title=f"residuals: root mean square {deviation:.4g}", xlabel="actual − predicted", ylabel="rows")
    return figure


def _path(record: Record) -> Figure | None:
    if record.path is None:
        return None
    figure = Figure(figsize=(6.6, 4.8))
    draw_path(figure.subplots(), record)
    return figure


def draw_path(axes: Axes, record: Record) -> None:
    """The run's way on the surface of J over the two coefficients that are trained."""
    path, problem = record.path, record.solution.problem
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
    axes.plot(*exact.flip(0), "*", **(line | {"color": EXPECTED}), markersize=18, label="exact")
    axes.plot(*path[0].flip(0), "o", **line, markersize=9, label="start")
    axes.plot(*path[-1].flip(0), "s", **line, markersize=6, label="end")
    second, first = record.solution.coefficient_names
    of = " of standardized x" if record.solution.model.standardize else ""
    axes.set(title="the run's way on the cost surface", xlabel=f"{first}{of}", ylabel=f"{second}{of}")
    axes.legend(facecolor="#bbbbbb", framealpha=0.9)


def _bounds(points: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper ends (2,) of a box around points (n, 2), with room."""
    low, high = points.amin(0), points.amax(0)
    room = 0.1 * (high - low).clamp(min=1e-6 * high.abs().clamp(min=1e-6))
    return low - room, high + room


def _surface(
    factor: Tensor, exact: Tensor, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First and second coefficient and J - J* above them, on a grid whose points do not fall on the minimum."""
    first, second = np.linspace(low[1], high[1], 400), np.linspace(low[0], high[0], 400)
    W, b = np.meshgrid(first, second)
    errors = np.stack([b.ravel(), W.ravel()]) - exact.numpy()[:, None]
    gaps = np.square(factor.numpy() @ errors).sum(axis=0).reshape(W.shape)
    return W, b, np.maximum(gaps, np.finfo(float).tiny)
