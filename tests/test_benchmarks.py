"""The benchmarks start, check what they measured, and print their ratios; how large these are is no test's business."""

import subprocess
import sys
from pathlib import Path


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
