"""Checks that the benchmarks run, check their results and print their ratios; no test asserts a speed."""

import contextlib
import io
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from sklearn.linear_model import LinearRegression

from benchmarks import (
    accuracy,
    equal_rows,
    gap,
    grid,
    growth,
    picture,
    processes,
    report,
    streaming,
    table,
    tutorial,
    vowpal,
)
from benchmarks.page import Page, flags_of, rounded, show, spread
from tests.commands import context, linreg
from tests.test_cli import in_terminal


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks each `linreg fit` from a process that has imported it."""

    def run(command: list[str], folder: Path) -> tuple[float, int, str]:
        result = linreg(*command[1:], cwd=folder)
        return 0.0, result.code, result.stdout + result.stderr

    monkeypatch.setattr(table, "run_in_terminal", run)


@pytest.mark.filterwarnings("ignore")  # Lightning's, of loaders
def test_page_of_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes each measurement on a small table, and one in a process of its own, as the page does."""
    monkeypatch.setattr(streaming, "BATCH_SIZE", 1024)
    streaming.write_tables(tmp_path, 30_000)
    speeds = {name: measure(tmp_path) for name, measure in streaming.MEASURED.items()}
    assert min(speeds.values()) > 0
    alone = streaming.measured("scan", tmp_path, threads=1)
    assert alone["memory"] > 50, "in MB, of Python with torch and pyarrow"
    lines = "\n".join(streaming.figures([{name: {**alone, "speed": speed} for name, speed in speeds.items()}]))
    for words in ("epoch / scan", "QR / scan", "CSV / read_csv", "peak memory, MB"):
        assert words in lines


def test_page_of_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks `linreg fit` in a terminal, starts the bare loop, and leaves TensorFlow out, which takes the longest."""
    started = tutorial.run_in_terminal

    def run(command: list[str], folder: Path) -> tuple[float, int, str]:
        if command[1] != "fit":
            return started(command, folder)
        code, drawn = in_terminal(*command[1:], cwd=folder)
        return 1.0, code, tutorial.plain(drawn)

    monkeypatch.setattr(tutorial, "run_in_terminal", run)
    monkeypatch.setattr(tutorial, "PEERS", tmp_path)
    text = str(tutorial.page(tutorial.FLAGS.parse_args(["--rounds=1", "--epochs=20"])))
    for words in ("linreg fit", "bare PyTorch loop", "loop / bare loop", "torch 2.", "TensorFlow graph: skipped"):
        assert words in text


def test_page_of_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks each command, and runs the code of the others here: starting all from nothing takes a minute."""

    def run(command: list[str], folder: Path) -> tuple[float, int, str]:
        if command[1] == "-c":
            monkeypatch.chdir(folder)
            exec(command[2], {})
            monkeypatch.chdir(tmp_path)
            return 2.0, 0, ""
        result = linreg(*command[1:], cwd=folder)
        return 3.0, result.code, result.stderr

    monkeypatch.setattr(processes, "run", run)
    lines = processes.page(processes.FLAGS.parse_args(["--rounds=1", "--rows=1000"])).lines
    for ours, theirs, target in processes.TARGETS:
        assert f"{f'{ours} / {theirs}':56}    1.50 (1.50-1.50)   target ≤ {target}" in lines
    with pytest.raises(RuntimeError, match="exit code 2; its last words:\nlinreg: there is no command"):
        processes.seconds_of("another", ["linreg", "slove"], tmp_path)


def test_page_of_equal_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forks one `linreg solve` for all programs but pyarrow's, which runs here."""
    solved = cache(partial(linreg, *equal_rows.SOLVE))

    def run(name: str, command: list[str], folder: Path) -> tuple[float, str]:
        if name != equal_rows.GROUPED:
            return 2.0, solved(cwd=folder).stdout
        printed = io.StringIO()
        monkeypatch.chdir(folder)
        with contextlib.redirect_stdout(printed):
            exec(command[2], {})
        return 4.0, printed.getvalue()

    monkeypatch.setattr(equal_rows, "run", run)
    monkeypatch.setattr(equal_rows, "peer", lambda: None)  # whether it is installed or not
    page = equal_rows.page(equal_rows.FLAGS.parse_args(["--rounds=1", "--rows=300000"]))
    assert f"{equal_rows.GROUPED:28}      4.00 (4.00-4.00)                    0.50 (0.50-0.50)" in page.lines


def test_page_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = flags_of("some", rows=10, least=5).parse_args(["--rows=7", f"--output={tmp_path / 'page.txt'}"])
    show(lambda flags: Page(f"{flags.rows} rows", ("torch",), {"peer": "none"}, ["1.00 "]), flags)
    written = (tmp_path / "page.txt").read_text()
    assert capsys.readouterr().out == written
    title, _, date, machine, python, peer, _, line = written.splitlines()
    assert (title, peer, line) == ("7 rows", "peer      none", "1.00")
    assert (date[:4], machine[:7]) == ("date", "machine")
    assert "torch 2." in python


@pytest.mark.parametrize(
    ("value", "decimals", "printed"),
    [
        (12.345, 2, "12.35"),
        (0.1, 2, "0.10"),
        (0.012, 2, "0.012"),
        (1.2e-5, 2, "0.000012"),
        (0, 2, "0.00"),
        (4, 0, "4.0"),
    ],
)
def test_speeds_have_two_digits(value: float, decimals: int, printed: str) -> None:
    """However slow a machine is, a page never shows its speed as 0.00."""
    assert rounded(value, decimals) == printed


def test_spread() -> None:
    assert spread([3.0, 0.0021, 1.5]) == "1.50 (0.0021-3.00)"


@pytest.mark.parametrize("text", ["4", "-1", "many"])
def test_smallest_table(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags_of("some", rows=10, least=5).parse_args([f"--rows={text}"])
    assert f"{text}: give a whole number from 5 on" in capsys.readouterr().err


def test_accuracy_page() -> None:
    """Compares to a digit and a half: other processors round in another order. 0 or less means no right digit."""
    page = (Path(__file__).parent.parent / "docs" / "accuracy.md").read_text().splitlines()
    written = [line for line in page if line.startswith("|")]
    for line, measured in zip(written, accuracy.table(), strict=True):
        if line.startswith(("| |", "|--")):
            assert line == measured
            continue
        name, *figures = line.strip("| ").split(" | ")
        expected_name, *expected = measured.strip("| ").split(" | ")
        assert name == expected_name
        shown, computed = ([max(float(figure), 0.0) for figure in some] for some in (figures, expected))
        assert shown == pytest.approx(computed, abs=1.5), name


@pytest.mark.usefixtures("forked")
def test_page_of_table() -> None:
    text = str(table.page(table.FLAGS.parse_args(["--rounds", "1", "--rows", "20000"])))
    for words in ("linreg fit, shuffled, batch 16384", "bare PyTorch loop, batch 4096", "/ one read", "SGDRegressor"):
        assert words in text


@pytest.mark.usefixtures("forked")
def test_page_of_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures two cells of fifteen: each takes two processes."""
    monkeypatch.setattr(grid, "WIDTHS", (3,))
    monkeypatch.setattr(grid, "BATCH_SIZES", (256, 1024, 65_536))
    lines = grid.page(grid.FLAGS.parse_args(["--rounds", "1", "--rows", "50000"])).lines
    assert [line.split()[:2] for line in lines[1:]] == [["3", "256"], ["3", "1024"]]  # of 50 000 rows
    assert all(float(cell) > 0 for line in lines[1:] for cell in line.split()[2::2])


# ---- time until the answer is near ----


def test_gap() -> None:
    """Compares with scikit-learn's solution and with means in float64: J - J* loses eight of sixteen digits."""
    rows = gap.Rows.drawn(3000)
    x, y = rows.x.astype(np.float64), rows.y.astype(np.float64)
    best = LinearRegression(tol=1e-14).fit(x / x.std(axis=0), y)
    W, b = best.coef_ / x.std(axis=0), best.intercept_
    J = [np.mean((x @ (W * share) + b + shift - y) ** 2) for share, shift in ((1, 0), (1.001, 0), (1, 0.01))]
    measured = gap.Gap(rows.x, rows.y)
    explained = y.var() - J[0]
    assert measured.variance_explained == pytest.approx(explained, rel=1e-9)
    assert measured((W, b)) < 1e-12
    for cost, share in zip(J[1:], (measured((W * 1.001, b)), measured((W, b + 0.01))), strict=True):
        assert share == pytest.approx((cost - J[0]) / explained, rel=1e-6)


def test_clock_runs_for_the_program_only(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.gap.time.perf_counter", lambda: now[0])

    def program() -> Iterator[float]:
        for share in (0.5, 0.005, 0.0005, 0.00005):
            now[0] += 1
            yield share

    def looked_at(share: float) -> float:
        now[0] += 100
        return share

    assert gap.seconds_to((1e-2, 1e-4, 1e-6), program(), looked_at) == {1e-2: 2, 1e-4: 4}  # type: ignore[arg-type]


def test_length_within_gap_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gap, "LENGTHS", (1, 2, 3, 4))
    ends = {1: 1e-3, 2: 1e-1, 3: 1e-3, 4: 1e-5}
    lengths = gap.lengths_to(lambda _, epochs: iter([ends[epochs]]), None, lambda end: end)  # type: ignore
    assert lengths == {1e-2: 3, 1e-4: 4}


@pytest.mark.filterwarnings("ignore")
def test_page_of_gap() -> None:
    """Solvers reach all gaps at once; descent gets nearer in more time."""
    page = gap.page(gap.FLAGS.parse_args(["--rounds=1", "--rows=60000"]))
    assert list(page.drawn) == list(gap.PROGRAMS)
    for name in (gap.EXACT, gap.RIDGE, gap.LEAST_SQUARES, gap.LSTSQ):
        (once,) = set(map(tuple, page.drawn[name].values()))
        assert len(once) == 1, f"{name} reaches all gaps at once"
    for name in (gap.SGD, gap.BARE, gap.REGRESSOR):
        assert len(page.drawn[name]["0.01"]) == 1, name
    for words in ("to 1e-06", "exact pass / faster of SGDRegressor and Ridge", "SGD / SGDRegressor", "lightning 2."):
        assert words in str(page)


# ---- growth ----


def test_slope_without_fixed_cost() -> None:
    rows = [100, 1000, 10_000, 100_000]
    assert growth.slope(rows, [0.5 + 2e-6 * count**1.1 for count in rows], 0.5) == pytest.approx(1.1, rel=1e-9)
    assert np.isnan(growth.slope(rows, [0.5, 0.6, 0.7, 0.8], 0.5))


def test_growth_chunks() -> None:
    parts = list(growth.chunks(100_000))
    assert [len(x) for x, _ in parts] == [65_536, 34_464]
    assert parts[0][0].shape[1] == growth.NUM_FEATURES


@pytest.mark.filterwarnings("ignore")
def test_page_of_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "ENOUGH", 1)
    monkeypatch.setattr(growth, "streamed_memory", lambda rows: 200 + rows * 1e-5)
    threads = torch.get_num_threads()
    try:
        page = growth.page(growth.FLAGS.parse_args(["--rounds=1", "--rows=100000"]))
    finally:
        torch.set_num_threads(threads)
    for name in growth.MEASURED:
        assert list(page.drawn[name]) == [10, 100, 1000, 10_000, 100_000]
    for words in ("slope, exact pass", "slope, epoch of SGD", "memory, 100000 rows / 10000", "1.00   target ≤ 1.1"):
        assert words in str(page)


def test_streamed_memory() -> None:
    assert 50 < growth.streamed_memory(1000) < 2000, "MB, of Python with torch"


# ---- Vowpal Wabbit ----


def test_vowpal_text(tmp_path: Path) -> None:
    streaming.write_parquet(tmp_path / "table.parquet", 50)
    vowpal.write_text(tmp_path)
    columns = pyarrow.parquet.read_table(tmp_path / "table.parquet").to_pydict()
    lines = (tmp_path / "table.vw").read_text().splitlines()
    assert len(lines) == 50
    for row, line in enumerate(lines):
        y, features = line.split(" | ")
        columns_of_line = {"y": y} | dict(feature.split(":") for feature in features.split())
        assert {name: np.float32(text) for name, text in columns_of_line.items()} == {
            name: np.float32(values[row]) for name, values in columns.items()
        }


@pytest.mark.parametrize("installed", [True, False])
def test_page_of_vowpal(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    monkeypatch.setattr(vowpal, "peer", lambda: Path(sys.executable) if installed else None)
    monkeypatch.setattr(vowpal, "peer_version", lambda python: "vowpalwabbit 9")
    monkeypatch.setattr(vowpal, "write_parquet", lambda path, rows: streaming.write_parquet(path, 10))
    monkeypatch.setattr(vowpal, "measured", lambda name, folder, threads: {"speed": 2e6})
    monkeypatch.setattr(vowpal, "vowpal", lambda *_: {vowpal.CACHE: 1e6, vowpal.TEXT: 4e6})
    text = str(vowpal.page(vowpal.FLAGS.parse_args(["--rounds=2"])))
    assert "linreg_pl, Parquet             2.00 (2.00-2.00)" in text
    assert ("linreg_pl, CSV / Vowpal Wabbit, text             0.50 (0.50-0.50)" in text) == installed
    assert ("make bench-peers" in text) != installed


# ---- the report ----


def test_failing_page_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures the smallest page, in a process of its own, and one that does not exist; both are forked."""
    monkeypatch.setattr(report, "multiprocessing", SimpleNamespace(get_context=lambda _: context))
    monkeypatch.setattr(report, "FLAGS_OF", {"exact": ("", "--rounds 1 --rows 300"), "not_there": ("", "")})
    pages, failed = report.measured(list(report.FLAGS_OF), quick=True)
    assert failed == ["not_there"]
    text = report.report(pages, failed, "picture.png")
    for words in ("machine", "![", "(picture.png)", "The exact answer of 300 rows", "Failed, and left out: not_there"):
        assert words in text


def test_flags_of_pages() -> None:
    """Parses the flags of the report and of a trial."""
    for name, both in report.FLAGS_OF.items():
        module = __import__(f"benchmarks.{name}", fromlist=["FLAGS"])
        for flags in both:
            assert not hasattr(module, "FLAGS") or module.FLAGS.parse_args(flags.split())


def test_picture(tmp_path: Path) -> None:
    """Draws programs that never reach a gap, and leaves out pages that failed."""
    seconds = {"0.01": [1.0, 2.0], "0.0001": [3.0], "1e-06": []}
    of_gap = Page("gap", (), {}, [], {"here": seconds, "nowhere": {gap: [] for gap in seconds}})
    of_growth = Page("growth", (), {}, [], {"pass": {10: 0.1, 100: 1.0}, "epoch": {10: 0.2, 100: 2.0}})
    for number, pages in enumerate(({"gap": of_gap, "growth": of_growth}, {"gap": of_gap}, {})):
        picture.draw(pages, tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").read_bytes().startswith(b"\x89PNG")
