"""The benchmarks start, check what they measured, and print their ratios; how large these are is no test's business."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import accuracy


def test_page_of_streaming() -> None:
    """The smallest table that it takes."""
    command = (sys.executable, "-m", "benchmarks.streaming", "--rounds", "1", "--rows", "163840", "--threads", "1")
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("epoch / scan", "QR / scan", "CSV / read_csv", "peak memory, MB", "pyarrow 2"):
        assert words in result.stdout


def test_tutorials_page(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    command = (sys.executable, "-m", "benchmarks.tutorial", "--rounds", "1", "--epochs", "20", "--output", str(report))
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("linreg fit", "bare PyTorch loop", "loop / bare loop", "torch 2."):
        assert words in report.read_text()
        assert words in result.stdout
    assert "TensorFlow" in result.stdout, "measured, or said to be skipped"


def test_accuracys_page_is_what_is_measured() -> None:
    """To a digit and a half, as another processor's sums round in another order; 0 or less is no number of digits."""
    page = (Path(__file__).parent.parent / "docs" / "accuracy.md").read_text().splitlines()
    written = [line for line in page if line.startswith("|")]
    for line, measured in zip(written, accuracy.table(), strict=True):
        if line.startswith(("| |", "|--")):
            assert line == measured
            continue
        name, *figures = line.strip("| ").split(" | ")
        expected_name, *expected = measured.strip("| ").split(" | ")
        assert name == expected_name
        shown, found = ([max(float(figure), 0.0) for figure in some] for some in (figures, expected))
        assert shown == pytest.approx(found, abs=1.5), name


def test_tables_page(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "benchmarks.table", "--rounds", "1", "--rows", "20000")
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("linreg fit, shuffled, batch 16384", "bare PyTorch loop, batch 4096", "/ one read", "SGDRegressor"):
        assert words in result.stdout
