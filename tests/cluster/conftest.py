"""Prints the counts of all kills below the results."""

import pytest

from tests.cluster import kills


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, counts in kills.SERIES.items():
        terminalreporter.write_line(f"{name}: {counts}")
    if kills.SERIES:
        seconds = ", ".join(f"{name} {longest:.1f} s" for name, longest in kills.LONGEST.items())
        terminalreporter.write_line(f"longest time until all processes had ended: {seconds}")
