"""The progress bar of a pass over the rows: shown at a terminal if the pass is long, and removed at its end."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from linreg_pl.callbacks.pass_bar import PassBar
from linreg_pl.callbacks.progress_bar import RunBar
from tests.commands import linreg
from tests.test_cli import in_terminal

NUM_ROWS = 150_000


@dataclass
class SecondsBeforeBar:
    """Shows the bar of a pass after this many seconds, and then every frame."""

    seconds: float

    def __call__(self) -> None:
        PassBar.seconds_before_pass_shows = PassBar.seconds_between_updates = self.seconds


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).standard_normal(NUM_ROWS)
    content = pa.table({"x": x, "z": x**2, "y": 2 * x})
    pyarrow.csv.write_csv(content, tmp_path / "t.csv")
    pyarrow.parquet.write_table(content, tmp_path / "t.parquet", row_group_size=10_000)
    return tmp_path


def table(name: str, *more: str) -> tuple[str, ...]:
    return ("--data", "TableDataModule", "--data.path", name, "--data.target", "y", *more)


STREAMED = ("--data.memory_limit", "0", "--data.batch_size", "10000")


def shown(drawn: str) -> list[tuple[str, str]]:
    """Returns the numbers of rows in each frame: so far, and in total."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    return re.findall(r"([\d,]+)(?: of ([\d,]+))? rows +[━╸╺]", text)


@pytest.mark.parametrize(
    ("command", "passes", "unknown"),
    [
        (("solve", *table("t.parquet", *STREAMED)), 3, False),  # check and triangle; batches; refinement
        (("solve", *table("t.csv")), 5, True),  # the file, as numbers, triangle, batches, refinement
        (("fit", *table("t.parquet", *STREAMED, "--data.missing", "drop"), "--trainer.max_epochs", "3"), 4, False),
    ],
    ids=["a streamed table", "a file of text", "a streamed run with rows to drop"],
)
def test_passes_are_counted(command: tuple[str, ...], passes: int, unknown: bool, folder: Path) -> None:
    code, drawn = in_terminal(*command, cwd=folder, before=SecondsBeforeBar(0))
    assert code == 0, drawn
    rows = [(int(done.replace(",", "")), of_all) for done, of_all in shown(drawn)]
    assert {of_all for _, of_all in rows} == ({"150,000", ""} if unknown else {"150,000"})
    starts = 1 + sum(after[0] < before[0] for before, after in pairwise(rows))
    assert starts <= passes, "each pass has one bar, and training's own reading none"
    assert max(done for done, _ in rows) > NUM_ROWS / 2
    assert drawn.rfind("\x1b[?25h") > drawn.rfind("\x1b[?25l"), "the cursor comes back"


@pytest.mark.parametrize("more", [(), ("--trainer.enable_progress_bar", "false")], ids=["over at once", "unwanted"])
def test_no_bar_if_short_or_unwanted(more: tuple[str, ...], folder: Path) -> None:
    bar = SecondsBeforeBar(0 if more else 1e9)
    code, drawn = in_terminal("solve", *table("t.parquet", *STREAMED, *more), cwd=folder, before=bar)
    assert code == 0, drawn
    assert shown(drawn) == []
    assert "\x1b[?25l" not in drawn


def test_no_bar_without_a_terminal(folder: Path) -> None:
    result = linreg("solve", *table("t.parquet", *STREAMED), cwd=folder, before=SecondsBeforeBar(0))
    assert (result.code, result.stderr) == (0, "")
    assert "━" not in result.stdout


def test_nested_and_abandoned_passes() -> None:
    watch: Callable[..., Iterator[int]] = RunBar().watch
    inner = watch(watch(range(5), 10, int), 10, int)
    assert list(inner) == [0, 1, 2, 3, 4]
    left = watch(range(5), 10, int)
    assert next(left) == 0
    del left
    assert list(watch([10], 10, int)) == [10]
