"""Tables that a URL names: over HTTP, in S3, and in a file system of fsspec's; messages show the URL."""

import io
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from linreg_pl import InputError, TableDataModule
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.files import find_files
from linreg_pl.data.table.row_groups import ParquetTable
from linreg_pl.data.table.sources import FileSource
from tests.commands import linreg
from tests.ranks import ranks
from tests.s3_server import Store, served
from tests.sabotage import patch
from tests.test_csv_dialects import TWO, rows_of

FRAME = pd.DataFrame({"a": [1.5, 2, 4], "b": ["x", "y", "x"], "y": [2, 4.5, 9]})


def parquet(frame: pd.DataFrame, row_group_size: int | None = None) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, row_group_size=row_group_size)
    return buffer.getvalue()


OBJECTS = {
    "t.csv": FRAME.to_csv(index=False).encode(),
    "t.parquet": parquet(FRAME),
    "year/1.csv": FRAME[:1].to_csv(index=False).encode(),
    "year/2.csv": FRAME[1:].to_csv(index=False).encode(),
    "year/note.md": b"not a table",
    "parts/z=1/1.parquet": parquet(FRAME[:2]),
    "parts/z=5/2.parquet": parquet(FRAME[2:]),
    "bad.csv": b"a,y\n1,2\n3,4,5,6\n",
    "bad.parquet": parquet(FRAME)[:-50],
    "my table [1].csv": FRAME.to_csv(index=False).encode(),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the credentials that S3 asks for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def settings(environment: None) -> Iterator[str]:
    """Serves the objects as the bucket `tables`; returns what follows a key in a URL."""
    with served(Store(OBJECTS)) as store:
        yield store.settings


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "year/*.csv", "year", "my table [1].csv"])
@pytest.mark.parametrize("memory_limit", [None, 0.0], ids=["held", "streamed"])
def test_s3(name: str, memory_limit: float | None, settings: str) -> None:
    data = TableDataModule(f"s3://tables/{name}{settings}", "y", memory_limit=memory_limit, shuffle=False)
    data.setup("fit")
    assert data.feature_names == ["a", "b=x", "b=y"]
    x = next(iter(data.train_dataloader()))[0]
    assert x[:, 0].tolist() == FRAME["a"].tolist()


def test_s3_folder_names(settings: str) -> None:
    data = TableDataModule(f"s3://tables/parts{settings}", "y", shuffle=False)
    data.setup("predict")
    assert data.feature_names == ["a", "b=x", "b=y", "z"]
    assert next(iter(data.predict_dataloader()))[0][:, 3].tolist() == [1, 1, 5]


FAULTS = {
    "no.csv": "this can't be read",
    "year/*.parquet": "no file matches",
    "bad.csv": "row 2 has 4 values",
    "bad.parquet": "the file is cut off or damaged",
    "t.csv": "there is no column 'z'",
}


@pytest.mark.parametrize("name", FAULTS)
def test_message_names_the_url(name: str, settings: str) -> None:
    with pytest.raises(InputError) as caught:
        TableDataModule(f"s3://tables/{name}{settings}", "z").setup("fit")
    message = str(caught.value)
    assert message.startswith(f"s3://tables/{name}{settings}: ")
    assert FAULTS[name] in message
    assert "/tmp" not in message


def test_command(settings: str, tmp_path: Path) -> None:
    url = f"s3://tables/t.csv{settings}"
    flags = ("--data", "TableDataModule", "--data.path", url, "--data.target", "y")
    assert linreg("fit", *flags, "--trainer.max_epochs", "2", cwd=tmp_path).code == 0
    checkpoint = str(next(tmp_path.rglob("step=2.ckpt")))
    result = linreg("test", "--ckpt_path", checkpoint, cwd=tmp_path)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == f"rows       3 of {url}: all, since none are held out"


def test_http_and_fsspec(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4.5\n")
    memory = fsspec.filesystem("memory")
    memory.pipe("/tables/1.csv", b"a,y\n1,2\n")
    memory.pipe("/tables/2.csv", b"a,y\n3,4.5\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"http://127.0.0.1:{server.server_port}"
        assert rows_of(FileSource(find_files(f"{host}/t.csv?version=1"), Csv())) == TWO
        with pytest.raises(InputError, match=r"http://.*/u\.csv: this can't be read"):
            find_files(f"{host}/u.csv")
        server.shutdown()
    assert rows_of(FileSource(find_files("memory://tables/*.csv"), Csv())) == TWO
    assert rows_of(FileSource(find_files("memory://tables"), Csv())) == TWO
    assert rows_of(FileSource(find_files(["memory://tables/1.csv", "memory://tables/2.csv"]), Csv())) == TWO
    with pytest.raises(InputError, match=r"memory://tables/3\.csv: this can't be read"):
        find_files("memory://tables/3.csv")
    with pytest.raises(
        InputError, match=r"nonsense://t\.csv: this can't be read \(no program here knows nonsense://\)"
    ):
        find_files("nonsense://t.csv")


SOLVE = ("solve", "--data", "TableDataModule", "--data.target", "y", "--json", "--data.path")


def test_processes_of_a_machine_download_once(environment: None, tmp_path: Path) -> None:
    """Each reads its own row groups of the copy; the folder is listed, and each object sent, as for one process."""
    generator, objects, answers, asked = np.random.default_rng(0), dict[str, bytes](), [], []
    for number in range(3):
        frame = pd.DataFrame(generator.standard_normal((200, 3)), columns=["a", "b", "y"])
        objects[f"many/{number}.parquet"] = parquet(frame, row_group_size=50)
    for size in (1, 2):
        (folder := tmp_path / str(size)).mkdir()
        with served(Store(objects)) as store:
            url = f"s3://tables/many{store.settings}"
            results = ranks(size, *SOLVE, url, cwd=folder, before=lambda rank: NoteGroups())
        assert [(each.code, each.stderr) for each in results] == [(0, "")] * size
        answers.append(json.loads(results[0].stdout)["coefficients"]["a"]["estimate"])
        asked.append(sorted(store.requests))
        groups = [set((folder / f"groups-{rank}").read_text().split()) for rank in range(size)]
        assert set().union(*groups) == set(map(str, range(12)))
        assert sum(map(len, groups)) == 12
    assert asked[0] == asked[1]
    assert answers[0] == pytest.approx(answers[1], rel=1e-12)


@dataclass
class NoteGroups:
    """Writes the numbers of the row groups that this process reads to a file."""

    def __call__(self) -> None:
        real = ParquetTable.batches

        def batches(table: ParquetTable, groups: Any, *rest: Any) -> Iterator[Any]:
            with Path(f"groups-{os.environ['RANK']}").open("a") as log:
                print(*groups, file=log)
            return real(table, groups, *rest)

        patch(ParquetTable, "batches", batches)


def test_failed_download_is_told_once(settings: str, tmp_path: Path) -> None:
    url = f"s3://tables/no.csv{settings}"
    first, second = ranks(2, *SOLVE, url, cwd=tmp_path)
    assert (first.code, first.stderr.count("\n"), second.code, second.stderr) == (2, 1, 2, "")
    assert re.fullmatch(rf"linreg: process 0 on \S+: {re.escape(url)}: this can't be read [^<>]*\n", first.stderr)


@dataclass
class Without:
    """Makes a package one that can't be imported."""

    package: str

    def __call__(self) -> None:
        sys.modules[self.package] = None  # type: ignore[assignment]


@pytest.mark.parametrize(("url", "package"), [("http://host/t.csv", "aiohttp"), ("sftp://host/t.csv", "paramiko")])
def test_missing_package(url: str, package: str, tmp_path: Path) -> None:
    flags = ("--data", "TableDataModule", "--data.path", url, "--data.target", "y")
    result = linreg("solve", *flags, cwd=tmp_path, before=Without(package))
    assert (result.code, result.stdout) == (2, "")
    words = f"reading it needs the package {package}; type pip install {package}, or download the file"
    assert result.stderr == f"linreg: {url}: {words}\n"
