"""Checks the pages of benchmarks about `linreg tune`: what they count, and that they run."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import choosing, forecasts
from linreg_pl.core.expected_loss import ExpectedLoss
from tests.commands import linreg


@pytest.mark.filterwarnings("ignore")  # Lightning's, of loaders
def test_page_of_forecasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table has a line, and all runs are counted."""
    monkeypatch.setattr(forecasts, "LONGEST", 300)
    threads = torch.get_num_threads()
    try:
        page = forecasts.page(forecasts.FLAGS.parse_args(["--runs=6", "--orders=2"]))
    finally:
        torch.set_num_threads(threads)
    [total] = [line for line in page.lines if line.startswith("all ")]
    assert total.count(" of 6, ") >= 2
    for words in ("diamonds", "made: heavy tails", "the bound alone", "learning_rate 0.1, momentum 0.5"):
        assert words in str(page)


def test_counts_of_forecasts() -> None:
    """A run that is to diverge has no place in a band; one that diverges against the prediction is outside of it."""
    low, high = (ExpectedLoss(mean, mean - 1, mean + 1) for mean in (1.0, 99.0))
    runs = [
        forecasts.Ended(low, False, 1.5, False, True),
        forecasts.Ended(low, False, 3.0, False, True),
        forecasts.Ended(high, True, 1.5, False, True),
        forecasts.Ended(low, False, np.inf, True, True),
    ]
    cells = forecasts.line("all", runs, runs[:1]).split("   ")
    assert [cell.strip() for cell in cells if "of" in cell] == ["1 of 3, 33.3%", "2 of 4, 50.0%", "1 of 1, 100.0%"]
    assert forecasts.by_bound(runs).strip() == "1 of 4, 25.0%"
    assert runs[1].deviations == pytest.approx(2 * 1.96)


@pytest.mark.parametrize("installed", [True, False])
def test_page_of_choosing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: bool) -> None:
    """Runs `linreg tune` as it is, and takes the figures of a search that was not run."""

    def forked(command: list[str], folder: Path) -> tuple[str, float, float]:
        if command[0] == sys.executable:
            return '{"loss": 3000.0}', 20.0, 40.0
        result = linreg(*command[1:], cwd=folder)
        assert result.code == 0
        return result.stdout, 2.0, 2.0

    (tmp_path / "optuna-5.0.0.dist-info").mkdir()
    monkeypatch.setattr(choosing, "timed", forked)
    monkeypatch.setattr(choosing, "peer", lambda: tmp_path if installed else None)
    monkeypatch.setattr(choosing, "JOBS", dict([*choosing.JOBS.items()][:1]))
    monkeypatch.setattr(choosing, "VARIED", {"learning_rate": [0.03, 0.1, 0.3]})
    text = str(choosing.page(choosing.FLAGS.parse_args(["--rounds=1"])))
    assert "diabetes, 442 rows" in text
    assert ("0.100 (0.100-0.100)     0.050 (0.050-0.050)" in text) == installed
    assert ("optuna 5.0.0" in text) == installed
    assert ("make bench-peers" in text) != installed
