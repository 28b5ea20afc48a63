"""The command as a user meets it: real processes, real folders."""

from pathlib import Path

from tests.commands import linreg

SHORT = ("fit", "--trainer.max_epochs", "3", "--display_every_n_epochs", "1")


def test_fit_prints_the_tutorials_line(tmp_path: Path) -> None:
    result = linreg(*SHORT, cwd=tmp_path)
    assert result.code == 0, result.stderr
    assert result.stderr == ""
