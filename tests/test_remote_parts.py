"""Parquet files in a store of which only the parts that are read are fetched, each once."""

import io
import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from linreg_pl import InputError, TableDataModule
from linreg_pl.data.table import remote_copy, stores
from linreg_pl.data.table.files import find_files
from tests.commands import Result, linreg
from tests.ranks import ranks
from tests.s3_server import Store, served
from tests.sabotage import patch

GROUPS, ROWS, COLUMNS = 8, 1000, 40


def content(seed: int = 0, num_columns: int = COLUMNS) -> bytes:
    """Returns a file of row groups, with a column of texts and nested ones in front of the numbers."""
    x = np.random.default_rng(seed).standard_normal((GROUPS * ROWS, num_columns))
    texts = pa.array(["red", "blue"] * (len(x) // 2))
    nested = pa.array([{"a": 1.0, "b": [number]} for number in range(len(x))])
    columns = {"texts": texts, "nested": nested} | {f"x{index}": column for index, column in enumerate(x.T)}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({**columns, "y": x.sum(axis=1)}), buffer, row_group_size=ROWS)
    return buffer.getvalue()


CONTENT = content()


@dataclass
class Small:
    """Takes files as large whose parts are fetched, and any place as that of temporary files of another machine."""

    folder: Path | None = None

    def __call__(self) -> None:
        for name, value in {"WHOLE": 1000, "TAIL": 4096, "GAP": 100, "BLOCK": 50_000, "AHEAD": 200_000}.items():
            patch(remote_copy, name, value)
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            patch(tempfile, "tempdir", str(self.folder))


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED")
    for name, value in zip(names, ("test", "test", "true"), strict=True):
        monkeypatch.setenv(name, value)
    for name in ("WHOLE", "TAIL", "GAP", "BLOCK", "AHEAD"):
        monkeypatch.setattr(remote_copy, name, getattr(remote_copy, name))  # undone at the end
    monkeypatch.setattr(stores, "ATTEMPTS", 2)
    Small()()
    with served(Store({"t.parquet": CONTENT})) as opened:
        yield opened


def url_of(store: Store) -> str:
    return f"s3://tables/t.parquet{store.settings}"


def fetched(store: Store) -> list[tuple[int, int]]:
    """Returns the first and last bytes of all requests for a part, in order."""
    spans = [re.findall(r"bytes=(\d+)-(\d+)", request) for request in store.requests]
    return sorted((int(first), int(last)) for found in spans for first, last in found)


def times_sent(store: Store) -> Any:
    """Returns how many times each byte has been sent."""
    counts = np.zeros(len(CONTENT), int)
    for first, last in fetched(store):
        counts[first : last + 1] += 1
    return counts


def solve(path: str, cwd: Path, *flags: str) -> Any:
    command = ("solve", "--data", "TableDataModule", "--data.path", path, "--data.target", "y", "--json", *flags)
    result = linreg(*command, cwd=cwd, before=Small())
    assert (result.code, result.stderr) == (0, "")
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("features", "most"),
    [("[x3]", 0.08), ("[texts, x7]", 0.08), ("[x*]", 1.0)],
)
def test_columns(features: str, most: float, store: Store, tmp_path: Path) -> None:
    """The answer has the same bits as that of a local file; a second pass reads what is there."""
    (tmp_path / "t.parquet").write_bytes(CONTENT)
    flags = ("--data.exclude", "[nested, texts]") if features == "[x*]" else ("--data.features", features)
    both = (*flags, "--robust", "HC1")
    assert solve(url_of(store), tmp_path, *both) == solve(str(tmp_path / "t.parquet"), tmp_path, *both)
    counts, tail = times_sent(store), pyarrow.parquet.read_metadata(io.BytesIO(CONTENT)).serialized_size + 8
    assert counts[: -max(tail, 4096)].max() == 1
    assert counts[: -max(tail, 4096)].sum() < most * len(CONTENT)
    assert len(fetched(store)) < 80


@pytest.mark.parametrize("num_machines", [1, 2])
def test_processes(num_machines: int, store: Store, tmp_path: Path) -> None:
    """Each fetches its own row groups, so all together fetch the file once; each machine needs its ends."""
    flags = ("solve", "--data", "TableDataModule", "--data.path", url_of(store), "--data.target", "y", "--json")
    results: list[Result] = ranks(
        2,
        *(*flags, "--data.exclude", "[nested, texts]"),
        cwd=tmp_path,
        before=lambda rank: Small(tmp_path / str(rank % num_machines)),
    )
    assert [(each.code, each.stderr) for each in results] == [(0, ""), (0, "")]
    metadata = pyarrow.parquet.read_metadata(io.BytesIO(CONTENT))
    middle = times_sent(store)[4 : -(metadata.serialized_size + 4096)]
    assert middle.max() == 1
    assert middle.mean() > 0.5
    assert len([each for each in fetched(store) if each == (0, 3)]) == num_machines
    (tmp_path / "t.parquet").write_bytes(CONTENT)
    alone = solve(str(tmp_path / "t.parquet"), tmp_path, "--data.exclude", "[nested, texts]")
    estimate = json.loads(results[0].stdout)["coefficients"]["x3"]["estimate"]
    assert estimate == pytest.approx(alone["coefficients"]["x3"]["estimate"], rel=1e-12)


def test_streamed_epochs(store: Store, tmp_path: Path) -> None:
    """Batches of two shuffled epochs, from parts in another order, are those of a local file."""
    (tmp_path / "t.parquet").write_bytes(CONTENT)
    batches = []
    for path in (url_of(store), str(tmp_path / "t.parquet")):
        data = TableDataModule(path, "y", exclude=["nested", "texts"], memory_limit=0.0, batch_size=100)
        data.setup("fit")
        loader = data.train_dataloader()
        batches.append([x for _ in range(2) for x, *_ in loader])
    assert len(batches[0]) == 2 * GROUPS * ROWS / 100
    assert all(torch.equal(*pair) for pair in zip(*batches, strict=True))
    assert times_sent(store)[4:-8192].max() == 1


class Replaced(dict[str, bytes]):
    """Objects of which each is another one, of the same size, after it has been asked for some times."""

    def __init__(self, objects: dict[str, bytes], requests: int) -> None:
        super().__init__(objects)
        self.requests = requests

    def get(self, key: str, default: Any = b"") -> Any:
        self.requests -= 1
        content = super().get(key, default)
        return content if self.requests >= 0 else content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


@pytest.mark.parametrize("when", ["before the first part", "before the last part"])
def test_changed_meanwhile(when: str, store: Store) -> None:
    """An object of the same size and time has another ETag."""
    store.objects["u.parquet"] = CONTENT
    undisturbed, data = (
        TableDataModule(url_of(store).replace("t.parquet", name), "y", exclude=["nested", "texts"])
        for name in ("u.parquet", "t.parquet")
    )
    before = len(store.requests)
    undisturbed.setup("fit")
    num_requests = len(store.requests) - before  # the last is the one that asks whether anything has changed
    store.objects = Replaced(store.objects, num_requests - 2 if when == "before the last part" else 0)
    message = re.escape(url_of(store)) + ": the file has changed, or is gone, since it was listed; start again"
    with pytest.raises(InputError, match=message):
        data.setup("fit")


@pytest.mark.parametrize(("faults", "recovers"), [(["cut", "well"], True), (["cut"], False), (["gone"], False)])
def test_faults(faults: list[str], recovers: bool, store: Store) -> None:
    data = TableDataModule(url_of(store), "y", exclude=["nested", "texts"])
    store.faults["t.parquet"] = faults
    if recovers:
        data.setup("fit")
        assert len(data.feature_names) == COLUMNS
        return
    with pytest.raises(InputError, match=r"^s3://tables/t\.parquet\?.*: (the connection failed|the file has changed)"):
        data.setup("fit")


def test_no_parquet_file(store: Store) -> None:
    store.objects["t.parquet"] = b"a,y\n" + b"1,2\n" * 3000
    with pytest.raises(InputError, match=r"^s3://tables/t\.parquet\?.*: this is not a Parquet file"):
        TableDataModule(url_of(store), "y")
    store.objects["u.parquet"] = CONTENT[:-100]
    with pytest.raises(InputError, match=r"^s3://tables/u\.parquet\?.*: the file is cut off or damaged"):
        TableDataModule(f"s3://tables/u.parquet{store.settings}", "y")


def test_small_files_are_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_copy, "WHOLE", len(CONTENT))
    [file] = find_files(url_of(store)).files
    assert file.path.read_bytes() == CONTENT
    assert times_sent(store).tolist() == [1] * len(CONTENT)
