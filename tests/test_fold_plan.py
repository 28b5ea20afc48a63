"""Rows, groups and blocks are divided into folds; tables give the same triangles in memory and streamed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit

from linreg_pl import InputError, SyntheticDataModule, TableDataModule
from linreg_pl.core.triangle import triangle_of
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.table import rows
from linreg_pl.data.table.row_groups import ParquetTable


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_random_folds_are_of_equal_size(count: int) -> None:
    numbers = FoldPlan(count).of_rows(0, 1003, 1003)
    sizes = torch.bincount(numbers, minlength=count)
    assert sizes.max() - sizes.min() <= 1
    assert not torch.equal(numbers, FoldPlan(count, seed=1).of_rows(0, 1003, 1003))


def test_fold_depends_on_the_number_of_a_row_alone() -> None:
    plan, pieces, first = FoldPlan(5), [], 0
    for size in (1, 7, 0, 30, 4, 58):
        pieces.append(plan.of_rows(first, size, 100))
        first += size
    assert torch.equal(torch.cat(pieces), plan.of_rows(0, 100, 100))
    assert torch.equal(torch.cat(pieces), plan.of_rows(0, 200, 200)[:100])


def test_every_place_gets_every_fold() -> None:
    """Whatever the period of the rows, no fold follows it."""
    numbers = FoldPlan(5).of_rows(0, 50_000, 50_000).reshape(-1, 5)
    for place in range(5):
        assert torch.bincount(numbers[:, place]).tolist() == pytest.approx([2000] * 5, abs=200)


@pytest.mark.parametrize("total", [6, 20, 23])
def test_blocks_in_order(total: int) -> None:
    numbers = FoldPlan(5, in_order=True).of_rows(0, total, total).numpy()
    for fold, (train, test) in enumerate(TimeSeriesSplit(5).split(np.zeros(total)), 1):
        assert np.flatnonzero(numbers == fold).tolist() == test.tolist()
        assert np.flatnonzero(numbers < fold).tolist() == train.tolist()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 1}, "folds.count is 1"),
        ({"seed": -1}, "folds.seed is -1"),
        ({"by": "a", "in_order": True}, "not both"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FoldPlan(**settings)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table of 3000 rows with a group, a weight and gaps; returns its path."""

    def write(gaps: bool = False) -> Path:
        random = np.random.default_rng(0)
        x = 1e4 + random.normal(size=(3000, 2))
        columns: dict[str, np.ndarray] = {"a": x[:, 0], "b": x[:, 1], "y": x @ [1.0, 2.0] + random.normal(size=3000)}
        columns |= {"w": random.integers(1, 4, 3000).astype(float), "who": random.integers(0, 40, 3000) * 1.0}
        if gaps:
            columns["a"][::7] = np.nan
        path = tmp_path / "table.parquet"
        pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=500)
        return path

    return write


@pytest.mark.parametrize("plan", [FoldPlan(), FoldPlan(by="who"), FoldPlan(3, in_order=True)], ids=str)
@pytest.mark.parametrize("gaps", [False, True])
def test_streamed_and_in_memory(plan: FoldPlan, gaps: bool, write: Callable[..., Path]) -> None:
    path, results = write(gaps), []
    for limit, stage in ((1, "path"), (0, "path"), (0, "solve"), (1, "fit")):
        data = TableDataModule(str(path), "y", weight="w", memory_limit=limit)
        data.set_aside(["who"])
        data.setup(stage)
        results.append(data.folds(plan).triangles)
    for others in results[1:]:
        for triangle, other in zip(results[0], others, strict=True):
            assert torch.equal(triangle.R, other.R)
            assert (triangle.num_rows, triangle.total_weight) == (other.num_rows, other.total_weight)
    assert sum(triangle.num_rows for triangle in results[0]) == (2571 if gaps else 3000)


def test_folds_of_groups(write: Callable[..., Path]) -> None:
    path = write()
    table = pyarrow.parquet.read_table(path).to_pandas()
    data = TableDataModule(str(path), "y", weight="w")
    data.set_aside(["who"])
    data.setup("path")
    triangles = data.folds(FoldPlan(4, by="who")).triangles
    order = {who: number for number, who in enumerate(table["who"].unique())}
    folds = FoldPlan(4).at_random(0, len(order)).numpy()[table["who"].map(order)]
    for fold, triangle in enumerate(triangles):
        chosen = table[folds == fold]
        x, y, w = (torch.tensor(chosen[names].to_numpy()) for names in (["a", "b"], ["y"], ["w"]))
        expected = triangle_of([(x, y, w)], triangle.center)
        torch.testing.assert_close(triangle.R.T @ triangle.R, expected.R.T @ expected.R, rtol=1e-9, atol=1e-6)


def test_prepared_rows_stay_prepared(write: Callable[..., Path]) -> None:
    data = TableDataModule(str(write()), "y", weight="w")
    data.setup("fit")
    before = data.folds(FoldPlan()).triangles
    data.prepare(None, torch.float32)
    batch = data.batch(0, 0)
    after = data.folds(FoldPlan()).triangles
    assert all(torch.equal(one.R, other.R) for one, other in zip(before, after, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(batch, data.batch(0, 0), strict=True))


def test_streamed_table_is_read_once(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    num_rows, batches = 0, ParquetTable.batches

    def counted(*args: Any) -> Any:
        nonlocal num_rows
        for first, batch in batches(*args):
            num_rows += batch.num_rows
            yield first, batch

    monkeypatch.setattr(ParquetTable, "batches", counted)
    monkeypatch.setattr(rows, "EVALUATION_BATCH_SIZE", 300)
    data = TableDataModule(str(write()), "y", weight="w", memory_limit=0)
    data.setup("path")
    data.folds(FoldPlan())
    assert 3000 <= num_rows <= 4500, "all rows, and 1500 for the types of the columns and a first estimate of the means"


def test_rows_that_cannot_be_folded(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match="new noise at every epoch"):
        SyntheticDataModule().folds(FoldPlan())
    data = TableDataModule(str(write()), "y", weight="w")
    data.setup("path")
    for plan, words in (
        (FoldPlan(by="nobody"), "--folds.by"),
        (FoldPlan(1000, by="who"), "folds.by has 40 values .* column, or --folds.count 40$"),
        (FoldPlan(by="y"), "folds.by is 'y', a target"),
    ):
        with pytest.raises(InputError, match=words):
            data.folds(plan)
    few = TableDataModule(pa.table({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 4.0]}), "y")
    few.setup("path")
    with pytest.raises(InputError, match="3 rows for 5 folds"):
        few.folds(FoldPlan())


def test_rows_without_a_group() -> None:
    """Folds drop them where rows with a missing value are dropped, and are those of the other rows."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(60, 2)), columns=["x", "y"]).assign(who=[f"g{k % 6}" for k in range(60)])
    frame.loc[[3, 17], "who"] = None

    def triangles(table: pd.DataFrame, missing: Any) -> tuple[list[torch.Tensor], list[str]]:
        data = TableDataModule(table, "y", exclude=["who"], missing=missing)
        data.setup("path")
        origin = torch.zeros(2, dtype=torch.float64)
        folds = data.folds(FoldPlan(by="who")).triangles
        return [triangle.centered_at(origin).R for triangle in folds], data.remarks

    with pytest.raises(InputError, match="row 4: the value is missing, so the row has no group") as refused:
        triangles(frame, None)
    assert refused.value.flags == {"missing": "drop"}
    kept, remarks = triangles(frame, "drop")
    for one, other in zip(kept, triangles(frame.dropna(), "drop")[0], strict=True):
        torch.testing.assert_close(one.T @ one, other.T @ other)
    assert remarks == ["dropped rows without a value in 'who': 2"]
