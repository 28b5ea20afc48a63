"""The benchmarks start, check what they measured, and print their ratios; how large these are is no test's business."""

import subprocess
import sys
from pathlib import Path


def test_tutorials_page(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    command = (sys.executable, "-m", "benchmarks.tutorial", "--rounds", "1", "--epochs", "20", "--output", str(report))
    result = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for words in ("linreg fit", "bare PyTorch loop", "loop / bare loop", "torch 2."):
        assert words in report.read_text()
        assert words in result.stdout
    assert "TensorFlow" in result.stdout, "measured, or said to be skipped"
