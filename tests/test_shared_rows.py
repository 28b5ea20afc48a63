"""The processes of a world share the rows of a table: the same answer as one gives, every row read once.

Pipes connect the processes here; `tests/test_processes.py` starts them as a user does.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from linreg_pl import LinearRegression, TableDataModule
from linreg_pl.core.world import ALONE, World
from linreg_pl.data.folds import FoldPlan
from linreg_pl.data.table.row_groups import ParquetTable
from linreg_pl.exact import path, solution
from tests.forked_world import in_world

NUM_ROWS = 3000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder with one table as Parquet, and with missing values as CSV and as Feather."""
    folder, generator = tmp_path_factory.mktemp("tables"), np.random.default_rng(5)
    x, color = generator.standard_normal((NUM_ROWS, 3)) + 100, generator.choice(["red", "green", "blue"], NUM_ROWS)
    y = x @ [1.0, -2.0, 3.0] + 2 * (color == "red") + generator.standard_normal(NUM_ROWS)
    columns: dict[str, Any] = {f"x{index}": column for index, column in enumerate(x.T)}
    columns |= {"color": color, "w": generator.random(NUM_ROWS) + 0.1, "g": generator.integers(0, 30, NUM_ROWS), "y": y}
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet", row_group_size=400)
    pyarrow.parquet.write_table(pa.table(columns).slice(0, 50), folder / "small.parquet")
    columns["x1"] = pa.array(x[:, 1], mask=generator.random(NUM_ROWS) < 0.05)
    columns["color"] = [f'"{name}\n, it is"' if name == "blue" else name for name in color]
    pyarrow.feather.write_feather(pa.table(columns), folder / "t.feather", chunksize=500)
    pyarrow.csv.write_csv(pa.table(columns), folder / "t.csv")
    return folder


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the numbers and texts of nested dicts and lists, each with its place."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, f"{name}/{key}")
    else:
        yield name, value


def assert_same(several: Any, one: Any, rel: float = 1e-11) -> None:
    """Checks all entries: rounding differs between triangles that are merged in another order."""
    several, one = dict(leaves(several)), dict(leaves(one))
    assert several.keys() == one.keys()
    for name, value in one.items():
        is_number = isinstance(value, float)
        assert several[name] == (pytest.approx(value, rel=rel, abs=1e-13) if is_number else value), name


SOLVED: dict[str, dict[str, Any]] = {
    "streamed, with weights, held-out rows and HC3": {
        "path": "t.parquet",
        "memory_limit": 0,
        "weight": "w",
        "val_fraction": 0.2,
        "exclude": ["g"],
        "batch_size": 100,
        "robust": "HC3",
    },
    "clusters": {"path": "t.parquet", "memory_limit": 0, "shuffle": False, "batch_size": 1000, "cluster": "g"},
    "CSV with texts and missing values": {"path": "t.csv"},
    "imputed": {"path": "t.csv", "missing": "mean", "drop_first": True, "l2": 0.01},
    "Feather": {"path": "t.feather", "missing": "indicator", "batch_size": 500},
    "a process without rows": {"path": "small.parquet"},
}


def solved(folder: Path, settings: dict[str, Any], world: World) -> dict[str, Any]:
    """Returns what `linreg solve --json` prints in one process of a world."""
    settings = {**settings, "path": str(folder / settings["path"]), "target": "y"}
    robust, cluster, l2 = (settings.pop(name, None) for name in ("robust", "cluster", "l2"))
    data = TableDataModule(**settings)
    data.world = world
    if cluster is not None:
        data.set_aside([cluster])
    model = LinearRegression(data.num_features, l2=l2 or 0.0)
    data.setup("solve")
    return solution.solve(data, model.settings, robust, cluster).to_dict()


@pytest.mark.parametrize(("size", "settings"), list(zip([3, 2, 3, 2, 2, 2], SOLVED.values(), strict=True)), ids=SOLVED)
def test_solve(size: int, settings: dict[str, Any], folder: Path) -> None:
    one = solved(folder, settings, ALONE)
    several = in_world(size, partial(solved, folder, settings))
    assert several == [several[0]] * size
    assert_same(several[0], one)
    for ours, alone in ((several[0]["coefficients"][name], each) for name, each in one["coefficients"].items()):
        if alone["standard_error"] is not None:
            assert abs(ours["estimate"] - alone["estimate"]) <= 1e-12 * alone["standard_error"]


PATHS: dict[str, tuple[dict[str, Any], FoldPlan]] = {
    "folds at random": ({"path": "t.parquet", "memory_limit": 0}, FoldPlan()),
    "folds of groups": ({"path": "t.parquet"}, FoldPlan(by="g")),
    "blocks in order": ({"path": "t.csv"}, FoldPlan(in_order=True)),
}


def searched(folder: Path, settings: dict[str, Any], folds: FoldPlan, world: World) -> dict[str, Any]:
    """Returns what `linreg path --json` prints in one process of a world."""
    data = TableDataModule(**{**settings, "path": str(folder / settings["path"]), "target": "y"})
    data.world = world
    if folds.by is not None:
        data.set_aside([folds.by])
    model = LinearRegression(data.num_features)
    data.setup("path")
    return path.cross_validated_path(data, model.settings, folds, [0.001, 0.1, 1.0], None).to_dict()


@pytest.mark.parametrize(("settings", "folds"), PATHS.values(), ids=PATHS)
def test_path(settings: dict[str, Any], folds: FoldPlan, folder: Path) -> None:
    one, several = searched(folder, settings, folds, ALONE), in_world(3, partial(searched, folder, settings, folds))
    assert several == [several[0]] * 3
    assert_same(several[0], one)


def remarks_of_folds(path: Path, world: World) -> list[str]:
    """Returns the remarks of one process of a world after it has read folds of groups."""
    data = TableDataModule(str(path), "y", missing="drop")
    data.world = world
    data.set_aside(["g"])
    data.setup("path")
    data.folds(FoldPlan(by="g"))
    return data.remarks


def test_groups_in_order(tmp_path: Path) -> None:
    """Each process has fewer groups than there are folds, and a row without one; both count for all rows together."""
    groups = [None if row in (5, 95) else f"g{row // 17}" for row in range(100)]
    numbers = np.arange(100.0)
    table = pa.table({"x": numbers % 7, "g": groups, "y": numbers % 5})
    pyarrow.parquet.write_table(table, tmp_path / "g.parquet", row_group_size=25)
    alone = remarks_of_folds(tmp_path / "g.parquet", ALONE)
    assert alone == ["dropped rows without a value in 'g': 2"]
    assert in_world(2, partial(remarks_of_folds, tmp_path / "g.parquet")) == [alone, alone]


def num_rows_read(folder: Path, world: World) -> int:
    """Returns how many rows of a Parquet file one process of a world reads to solve."""
    count, real = 0, ParquetTable.batches

    def batches(table: ParquetTable, groups: Any, columns: Any, keeps_codes: bool = False) -> Iterator[Any]:
        nonlocal count
        for first, batch in real(table, groups, columns, keeps_codes):
            count += batch.num_rows
            yield first, batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParquetTable, "batches", batches)
        settings = {"path": "t.parquet", "memory_limit": 0, "batch_size": NUM_ROWS, "exclude": ["color"]}
        solved(folder, settings, world)
    return count


def test_each_row_is_read_once_in_the_world(folder: Path) -> None:
    """Groups have 400 rows, and a batch of all rows is no sample, so that each pass is over all of them."""
    alone, several = num_rows_read(folder, ALONE), in_world(2, partial(num_rows_read, folder))
    assert sum(several) == alone + 400  # each process looks at the first of its groups for empty columns
    assert min(several) >= 0.4 * alone
