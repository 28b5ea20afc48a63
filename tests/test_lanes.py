"""Windows of a streamed table have rows of all its parts, whatever the number of processes; each reads its own rows."""

import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from linreg_pl import TableDataModule
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.random_streams import Purpose, stream
from linreg_pl.data.table import lanes
from linreg_pl.data.table.lanes import Lanes, number_of_lanes
from linreg_pl.data.table.row_groups import ArrowTable, ParquetTable
from linreg_pl.data.table.streamed import StreamedRows
from linreg_pl.runs.folder import checkpoints
from tests.commands import linreg
from tests.forked_world import in_world
from tests.ranks import ranks
from tests.runs import RUN, assert_same_run, newest
from tests.sabotage import SignalInPhase, patch
from tests.test_fit_processes import STREAMED, write_parquet

NUM_ROWS = 1003
GROUPS = [1, 160, 37, 250, 8, 90, 0, 155, 99, 203]
WINDOW = 130


def write(folder: Path, name: str) -> Path:
    """Writes rows with their numbers in x, of which some lack y: in CSV or in unequal row groups."""
    number = np.arange(float(NUM_ROWS))
    table, path = pa.table({"x": number, "y": pa.array(number, mask=number % 7 == 3)}), folder / name
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
        return path
    with pyarrow.parquet.ParquetWriter(path, table.schema) as writer:
        for start, stop in pairwise(np.cumsum([0, *GROUPS])):
            writer.write_table(table.slice(start, stop - start))
    return path


def drawn(path: Path, world: World, state: dict[str, Any] | None = None, **settings: Any) -> list[list[float]]:
    """Returns one process's rows of the batches of two epochs."""
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(ArrowTable, "rows_in_group", 70)
        patches.setattr(StreamedRows, "window_bytes", 4 * 2 * WINDOW)
        data = TableDataModule(str(path), "y", batch_size=50, memory_limit=0, missing="drop", seed=3, **settings)
        data.world = world
        if state is not None:
            data.adopt(state)
        data.setup("fit")
        return [
            data.batch(epoch, index)[0].flatten().tolist() for epoch in (0, 1) for index in range(data.steps_per_epoch)
        ]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_same_batches_in_any_number_of_processes(name: str, tmp_path: Path) -> None:
    """Each process has its part of the table, of which all batches have rows."""
    path = write(tmp_path, name)
    alone = drawn(path, ALONE, val_fraction=0.1)
    for size in (2, 3):
        shares = in_world(size, partial(drawn, path, val_fraction=0.1))
        for whole, *parts in zip(alone, *shares, strict=True):
            assert sorted(whole) == sorted(chain(*parts))
            assert all(parts)
        spans = [(min(map(min, share)), max(map(max, share))) for share in shares]
        assert all(last < first for (_, last), (first, _) in pairwise(spans))


def test_run_without_lanes_goes_on_as_before(tmp_path: Path) -> None:
    """Its checkpoint says that rows are streamed. The groups of an epoch follow each other, cut into windows."""
    path = write(tmp_path, "t.parquet")
    numbers = np.arange(float(NUM_ROWS))
    groups = [group[group % 7 != 3] for group in np.split(numbers, np.cumsum(GROUPS)[:-1])]
    expected = list[list[float]]()
    for epoch in (0, 1):
        rows = np.concatenate([groups[index] for index in stream(3, Purpose.GROUP_ORDER, epoch).permutation(10)])
        windows = [rows[start : start + WINDOW] for start in range(0, len(rows), WINDOW)]
        order = [
            window[stream(3, Purpose.ROW_ORDER, epoch, number).permutation(len(window))]
            for number, window in enumerate(windows)
        ]
        batches = np.concatenate(order)[: len(rows) // 50 * 50].reshape(-1, 50)
        expected += batches.tolist()
    state = {"streams": True, "checksum_type": "float64"}
    assert drawn(path, ALONE, state) == expected
    assert drawn(path, ALONE) != expected


@pytest.mark.parametrize("window_rows", [1, 7, WINDOW, 5000])
@pytest.mark.parametrize("count", [1, 2, 4, 10])
def test_windows(window_rows: int, count: int) -> None:
    """Each row is in one window, and windows have the same share of each lane, rounded up to whole rows."""
    group_rows = np.array(GROUPS)
    windows = Lanes(group_rows, count, window_rows)
    lane_rows = [sum(GROUPS[lane.start : lane.stop]) for lane in windows.groups]
    assert sum(lane_rows) == NUM_ROWS
    spans = [windows.span(number) for number in range(windows.num_windows)]
    assert [start for start, _ in spans] == [0, *(stop for _, stop in spans[:-1])]
    assert spans[-1][1] == NUM_ROWS
    shares, taken = np.array(lane_rows) * window_rows / NUM_ROWS, np.zeros(count, dtype=int)
    for number, (start, stop) in enumerate(spans):
        assert 0 < stop - start < window_rows + count
        sizes = np.diff([*windows.offsets[number], stop - start])
        taken += sizes
        assert (sizes < shares + 1).all()
        assert ((sizes >= shares) | (taken == lane_rows)).all()
        assert windows.windows(start, stop) == range(number, number + 1)
        assert windows.windows(start, start + 1) == windows.windows(stop - 1, stop) == range(number, number + 1)
    assert windows.windows(0, NUM_ROWS) == range(windows.num_windows)


def test_number_of_lanes() -> None:
    """All lanes together hold at most 128 MB, of float64; a scan reads 131,072 rows or more."""
    assert number_of_lanes([100] * 1000, 4) == lanes.MOST_LANES
    assert number_of_lanes([100] * 5, 4) == 5
    assert number_of_lanes([131_072] * 50, 33) == 3
    assert number_of_lanes([1_000_000] * 50, 33) == 1
    assert number_of_lanes([100] * 50, 2000) == 1
    assert number_of_lanes([], 2) == 1


# ---- runs ----

JOB = (*STREAMED, "--trainer.max_epochs", "10", "--trainer.precision", "64-true")


@dataclass
class SmallWindows:
    """Makes windows of 100 rows, and writes the numbers of the row groups that this process reads to a file."""

    log: Path
    most_lanes: int = 16
    then: Callable[[], None] | None = None

    def __call__(self) -> None:
        patch(StreamedRows, "window_bytes", 4 * 12 * 100)
        patch(lanes, "MOST_LANES", self.most_lanes)
        real = ParquetTable.batches

        def batches(table: ParquetTable, groups: Any, *rest: Any) -> Iterator[Any]:
            with self.log.open("a") as log:
                print(*groups, file=log)
            return real(table, groups, *rest)

        patch(ParquetTable, "batches", batches)
        if self.then is not None:
            self.then()


def run(folder: Path, size: int, *flags: str, most_lanes: int = 16, then: Any = None) -> list[int]:
    """Runs or resumes the job in some processes; returns their exit codes."""

    def before(rank: int) -> SmallWindows:
        return SmallWindows(folder / f"groups-{rank}", most_lanes, (then or {}).get(rank))

    if size == 1:
        return [linreg("fit", *flags, cwd=folder, before=before(0)).code]
    return [result.code for result in ranks(size, "fit", *flags, cwd=folder, before=before)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Returns a function that gives the folder of the job's uninterrupted run in some processes."""
    folders: dict[tuple[int, int], Path] = {}

    def finished(size: int, most_lanes: int = 16) -> Path:
        if (size, most_lanes) not in folders:
            folder = folders[size, most_lanes] = tmp_path_factory.mktemp(f"whole_{size}")
            write_parquet(folder)
            assert run(folder, size, *JOB, most_lanes=most_lanes) == [0] * size
        return folders[size, most_lanes]

    return finished


def groups_read(folder: Path, rank: int) -> set[int]:
    """Returns the row groups that a process has read."""
    return {int(group) for group in (folder / f"groups-{rank}").read_text().split()}


@pytest.mark.parametrize("size", [2, 3])
def test_processes_read_their_own_groups(size: int, whole: Callable[..., Path]) -> None:
    read = [groups_read(whole(size), rank) for rank in range(size)]
    assert groups_read(whole(1), 0) == set(range(5)) == set().union(*read)
    assert sum(map(len, read)) == 5
    W, other = (newest(whole(count))["state_dict"]["W"] for count in (1, size))
    assert torch.linalg.norm(W - other) <= 1e-12 * torch.linalg.norm(W)  # float64, of spacing 2e-16


def test_lanes_are_kept_in_the_run(whole: Callable[..., Path], tmp_path: Path) -> None:
    """A run of two lanes that is killed goes on with them, though a new one would have five; with one it differs."""
    folder, other = tmp_path / "killed", tmp_path / "one_lane"
    folder.mkdir()
    write_parquet(folder)
    kill = {1: SignalInPhase(signal.SIGTERM, "mid-epoch", step=14)}
    assert run(folder, 2, *JOB, most_lanes=2, then=kill) == [143, 2]
    shutil.copytree(folder, other)
    assert run(folder, 2, "--resume", "auto") == [0, 0]
    assert_same_run(whole(2, 2), folder)
    path = checkpoints(other / RUN)[-1]
    contents = torch.load(path, weights_only=True)
    assert contents["TableDataModule"]["lanes"] == 2
    contents["TableDataModule"]["lanes"] = 1
    torch.save(contents, path)
    assert run(other, 2, "--resume", "auto") == [0, 0]
    W, altered = newest(folder)["state_dict"]["W"], newest(other)["state_dict"]["W"]
    assert torch.linalg.norm(W - altered) > 1e-4 * torch.linalg.norm(W)
