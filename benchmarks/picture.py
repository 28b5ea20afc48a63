"""Draws the report's picture: seconds until the answer is there, and how the cost grows with the rows."""

import statistics
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from benchmarks.page import Page

SHADES = ("#9ecae1", "#4292c6", "#08306b")
"""Of the gaps: the darker, the nearer to the answer."""
COLOURS = ("#08306b", "#d94801")


def draw(pages: dict[str, Page], path: Path) -> None:
    """Draws the pages that were measured, as a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), width_ratios=(3, 2), layout="constrained")
    for axes, name, draw_page in ((left, "gap", draw_gap), (right, "growth", draw_growth)):
        if name in pages:
            draw_page(axes, pages[name])
        else:  # it failed
            axes.set_axis_off()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_gap(axes: Axes, page: Page) -> None:
    """Draws a line for each program and a dot for each gap; dots of the same time are side by side."""
    names = list(page.drawn)
    for place, name in enumerate(names):
        reached = {gap: statistics.median(took) for gap, took in page.drawn[name].items() if took}
        axes.plot(list(reached.values()), [place] * len(reached), color="#cccccc", linewidth=2, zorder=1)
        for index, (gap, seconds) in enumerate(reached.items()):
            shade = SHADES[list(page.drawn[name]).index(gap)]
            axes.scatter(seconds, place + 0.14 * (1 - index), s=60, color=shade, zorder=2)
    for gap, shade in zip(page.drawn[names[0]], SHADES, strict=True):
        axes.scatter([], [], s=60, color=shade, label=f"{float(gap):.0e}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds until J − J* is below this share of the variance explained")
    axes.legend(title="share", loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)
    finish(axes, page.title)


def draw_growth(axes: Axes, page: Page) -> None:
    """Draws seconds over rows, both on logarithmic axes."""
    for (name, seconds), colour in zip(page.drawn.items(), COLOURS, strict=True):
        axes.plot(list(seconds), list(seconds.values()), "o-", color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows")
    axes.set_ylabel("seconds")
    axes.legend(frameon=False)
    finish(axes, page.title)


def finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="both", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
