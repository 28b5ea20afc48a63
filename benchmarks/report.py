"""Measures all pages, each in a process of its own, and joins them in one report.

A page is a module `benchmarks.NAME` with `FLAGS` and `page(flags)`, and prints itself as `python -m benchmarks.NAME`.
"""

import datetime
import multiprocessing
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

from benchmarks.page import Page, environment, named, report_progress

FLAGS_OF = {  # by page: those of a report, and of a trial
    "tutorial": ("", "--rounds 1 --epochs 100"),
    "processes": ("", "--rounds 1 --rows 1000"),
    "table": ("--rounds 3", "--rounds 1 --rows 200000"),
    "grid": ("--rounds 3", "--rounds 1 --rows 50000"),
    "streaming": ("--rounds 3", "--rounds 1 --rows 163840"),
    "exact": ("", "--rounds 1 --rows 100000"),
    "path": ("", "--rounds 1 --rows 20000"),
    "elastic_net": ("--rounds 1", "--rounds 1 --rows 20000"),
    "gap": ("", "--rounds 1 --rows 100000"),
    "growth": ("", "--rounds 1 --rows 100000"),
    "forecasts": ("", "--runs 6 --orders 2"),
    "choosing": ("", "--rounds 1 --trials 3"),
    "equal_rows": ("", "--rounds 1 --rows 300000"),
    "vowpal": ("", "--rounds 1 --rows 163840"),
}
PACKAGES = ("torch", "lightning", "numpy", "scipy", "scikit-learn", "pyarrow")


def page_of(name: str, flags: str) -> Page:
    """Measures a page."""
    module = import_module(f"benchmarks.{name}")
    page: Page = module.page(module.FLAGS.parse_args(flags.split()))
    return page


def measured(names: Sequence[str], quick: bool) -> tuple[dict[str, Page], list[str]]:
    """Returns the pages, and the names of those that failed: one failure does not stop the others."""
    pages, failed = dict[str, Page](), []
    for name in names:
        report_progress(f"---- {name} ----")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            try:
                pages[name] = process.submit(page_of, name, FLAGS_OF[name][quick]).result()
            except Exception:
                traceback.print_exc()
                failed.append(name)
    return pages, failed


def report(pages: dict[str, Page], failed: list[str], picture: str) -> str:
    """Returns the report in Markdown: the machine once, then each page's notes and figures."""
    parts = [
        f"# Benchmarks, {datetime.date.today()}",
        fenced(named(environment(PACKAGES))),
        f"![Seconds until the answer is there, and how cost grows with the rows]({picture})",
    ]
    for name, page in pages.items():
        notes = [*named(page.notes), ""] if page.notes else []
        parts += [f"## {page.title}", f"`python -m benchmarks.{name}`", fenced([*notes, *page.lines])]
    if failed:
        parts.append(f"Failed, and left out: {', '.join(failed)}.")
    return "\n\n".join(parts) + "\n"


def fenced(lines: list[str]) -> str:
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])
