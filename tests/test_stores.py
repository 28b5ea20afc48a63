"""Stores that fail, refuse, or hold many objects: S3 and HTTP on loopback; and credentials that are never shown."""

import os
import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from linreg_pl import InputError
from linreg_pl.data.table import store_errors, stores
from linreg_pl.data.table.csv import Csv
from linreg_pl.data.table.files import file_stamp, find_files
from linreg_pl.data.table.sources import FileSource
from linreg_pl.data.table.url_secrets import without_secrets
from tests.commands import linreg, start
from tests.s3_server import Store, served
from tests.sabotage import patch
from tests.test_csv_dialects import rows_of
from tests.waiting import wait_until

ROWS = [{"a": float(number), "y": float(number % 7)} for number in range(500)]
CONTENT = b"a,y\n" + b"".join(f"{row['a']},{row['y']}\n".encode() for row in ROWS)
SECRET = "sEcReT+/0"
FLAGS = ("--data", "TableDataModule", "--data.target", "y", "--data.path")


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in {**environment, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)


@dataclass
class Hasty:
    """Lets requests fail sooner, and fewer times."""

    def __call__(self) -> None:
        for module in (stores, store_errors):
            patch(module, "SILENCE", 1.0)
            patch(module, "ATTEMPTS", 2)


@pytest.fixture
def hasty() -> Iterator[None]:
    before = store_errors.SILENCE, store_errors.ATTEMPTS
    Hasty()()
    yield
    for module in (stores, store_errors):
        module.SILENCE, module.ATTEMPTS = before  # type: ignore[attr-defined]


def url_of(store: Store, kind: str, key: str) -> str:
    return f"s3://tables/{key}{store.settings}" if kind == "s3" else f"{store.web}/{key}"


def read(url: str) -> list[dict[str, Any]]:
    return rows_of(FileSource(find_files(url), Csv()))


def gets(store: Store) -> int:
    return sum(request.startswith("GET /tables/") for request in store.requests)


@pytest.mark.parametrize("kind", ["s3", "http"])
@pytest.mark.parametrize(("faults", "requests"), [(["cut", "well"], 2), (["slow"], 1)])
def test_recovers(faults: list[str], requests: int | None, kind: str) -> None:
    with served(Store({"t.csv": CONTENT}, faults={"t.csv": [*faults]}, pause=0.01)) as store:
        assert read(url_of(store, kind, "t.csv")) == ROWS
        assert gets(store) == requests


LASTING = {
    "cut": r"the connection failed 2 times \((.* bytes missing|it sent \d+ of \d+ bytes)\); try again later, or",
    "silent": r"the connection failed 2 times \((Operation too slow.*|no byte in 1 s)\); try again later, or download",
    "busy": r"the connection failed 2 times \(HTTP status 503\); try again later, or download",
    "refused": r"permission was refused; (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY|write a line 'machine HOST)",
    "gone": r"the file has changed, or is gone, since it was listed; start again",
    "longer": r"the file has changed, or is gone, since it was listed; start again",
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("kind", ["s3", "http"])
@pytest.mark.parametrize("fault", LASTING)
def test_gives_up(fault: str, kind: str) -> None:
    """No half of a copy is read: nothing is returned, and the message says why."""
    if (fault, kind) == ("silent", "s3"):  # Arrow takes 7 s to notice: here, only that it is told when to
        opened, _ = stores.opened("s3://tables/t.csv?region=us-east-1")
        assert isinstance(opened, stores.ArrowStore)
        options = opened.files.__reduce__()[1][0]
        assert (options["request_timeout"], options["connect_timeout"]) == (1, 1)
        return
    with served(Store({"t.csv": CONTENT}, faults={"t.csv": [fault]})) as store:
        url = url_of(store, kind, "t.csv")
        with pytest.raises(InputError) as caught:
            read(url)
    assert re.match(re.escape(url) + ": " + LASTING[fault], str(caught.value)), str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["year", "year/*.csv"])
def test_no_permission_to_list(key: str) -> None:
    with served(Store({"year/1.csv": CONTENT}, refuses_lists=True)) as store:
        url = url_of(store, "s3", key)
        with pytest.raises(InputError, match=r"permission was refused; set AWS_ACCESS_KEY_ID .* s3://anonymous@BUCKET"):
            find_files(url)


def test_command_gives_up(tmp_path: Path) -> None:
    """One of many objects fails; the message is about it, and the others are not waited for."""
    objects = {f"many/{number:03}.csv": CONTENT for number in range(100)}
    with served(Store(objects, faults={"many/003.csv": ["cut"]})) as store:
        result = linreg("solve", *FLAGS, url_of(store, "s3", "many/"), cwd=tmp_path, before=Hasty())
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("linreg: s3://tables/many/003.csv: the connection failed 2 times (")


@pytest.mark.usefixtures("hasty")
def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"http://127.0.0.1:{port}/t.csv"
    with pytest.raises(InputError) as caught:
        read(url)
    words = f"the connection failed 2 times (no server answers at 127.0.0.1:{port}); try again later"
    assert str(caught.value).startswith(f"{url}: {words}")


@dataclass
class Patient:
    """Lets the command wait for a silent server for hours."""

    def __call__(self) -> None:
        patch(stores, "SILENCE", 10_000.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["s3", "http"])
def test_signal_while_a_store_is_silent(kind: str, number: signal.Signals, tmp_path: Path) -> None:
    """The command ends, though its threads wait, and leaves no copy."""
    (temporary := tmp_path / "temporary").mkdir()
    with served(Store({"t.csv": CONTENT}, faults={"t.csv": ["silent"]})) as store:
        flags = ("solve", *FLAGS, url_of(store, kind, "t.csv"))
        running = start(*flags, cwd=tmp_path, env={"TMPDIR": str(temporary)}, before=Patient())
        wait_until(lambda: bool(store.requests) and store.requests[-1].startswith("GET"), running.process.is_alive)
        os.kill(running.pid, number)
        result = running.wait()
    assert (result.code, result.stdout, result.stderr) == (128 + number, "", "")
    assert not list(temporary.glob("linreg-*"))


def test_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with served(Store({"t.csv": CONTENT}, authorization="Basic bWU6c2VjcmV0")) as store:  # me:secret
        with pytest.raises(InputError, match="permission was refused; write a line 'machine HOST login NAME password"):
            read(f"{store.web}/t.csv")
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        assert read(f"{store.web}/t.csv?again") == ROWS


WITH_SECRETS = {
    f"s3://AKIAEXAMPLE:{SECRET}@tables/t.csv": "s3://…@tables/t.csv",
    f"s3://tables/t.csv?region=eu-central-1&secret_key={SECRET}": "s3://tables/t.csv?…",
    f"s3://tables/t.csv?endpoint_override=https://me:{SECRET}@host": "s3://tables/t.csv?endpoint_override=https://…@host",
    f"https://me:{SECRET}@host/t.csv": "https://…@host/t.csv",
    f"https://{SECRET.replace('/', '')}@host/t.csv": "https://…@host/t.csv",
    f"https://b.s3.example/t.csv?X-Amz-Expires=60&X-Amz-Signature={SECRET}": "https://b.s3.example/t.csv?…",
    f"https://a.blob.example/t.csv?sv=2024&sig={SECRET}": "https://a.blob.example/t.csv?…",
    f"https://a.blob.example/t.csv?sig=%2B{SECRET}": "https://a.blob.example/t.csv?…",
    f"sftp://me:{SECRET}@host/t.csv": "sftp://…@host/t.csv",
}
WITHOUT_SECRETS = (
    "s3://tables/a@b:c/t.csv?region=x&endpoint_override=https://127.0.0.1:9000",
    "gs://anonymous@bucket/t.csv",
    "http://127.0.0.1:8000/a@b.csv?version=1&design=2&tokenizer=x",
    "sftp://me@host:22/t.csv",
    "memory://t@x:y.csv",
    "data/a:b@c.csv",
)


def test_recognizes_secrets() -> None:
    assert [without_secrets(url) for url in WITH_SECRETS] == list(WITH_SECRETS.values())
    assert [without_secrets(url) for url in WITHOUT_SECRETS] == list(WITHOUT_SECRETS)


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_refuses_secrets(url: str) -> None:
    with pytest.raises(InputError) as caught:
        find_files_of_settings(url)
    remedy = {"s3": "set AWS_ACCESS_KEY_ID", "ht": "~/.netrc", "sf": "set FSSPEC_SFTP_USERNAME"}[url[:2]]
    assert str(caught.value).startswith(
        f"{WITH_SECRETS[url]}: this address contains credentials, which the run's files"
    )
    assert ("download the file, as with curl" if "sig" in url.lower() else remedy) in str(caught.value)
    assert SECRET not in str(caught.value)


def find_files_of_settings(url: str) -> None:
    from linreg_pl import TableDataModule

    TableDataModule([url, "t.csv"], "y")


@pytest.mark.parametrize("place", ["flag", "list", "mistyped flag", "config", "environment"])
def test_secrets_stay_out_of_a_run(place: str, tmp_path: Path) -> None:
    url = f"s3://AKIAEXAMPLE:{SECRET}@tables/t.csv"
    flags, environment = ["--data", "TableDataModule", "--data.target", "y"], {}
    if place == "config":
        settings = {"class_path": "TableDataModule", "init_args": {"target": "y", "path": url}}
        (folder := tmp_path / "settings").mkdir()
        (folder / "my.yaml").write_text(yaml.safe_dump({"data": settings}))
        flags = ["--config", str(folder / "my.yaml")]
    elif place == "environment":
        environment = {"LINREG_FIT__DATA__PATH": url}
    else:
        name = "--data.pathh" if place == "mistyped flag" else "--data.path"
        flags += [name, f"[{url}, t.csv]" if place == "list" else url]
    result = linreg("fit", *flags, cwd=tmp_path, env=environment)
    assert result.code == 2
    assert SECRET not in result.stdout + result.stderr
    assert place == "environment" or "this address contains credentials" in result.stderr
    for path in (each for each in tmp_path.rglob("*") if each.is_file() and each.name != "my.yaml"):
        assert SECRET.encode() not in path.read_bytes(), path


def test_many_objects(tmp_path: Path) -> None:
    """They are listed once, in pages, and each is asked for once; the rows are in the order of names."""
    objects = {f"many/{number:05}.csv": f"a,y\n{number},{number % 7}\n".encode() for number in range(1100)}
    others = {"many/note.md": b"", "many/_SUCCESS": b"", "many/_temporary/1.csv": b"a,y\n1,2\n", "many2/1.csv": b"x"}
    with served(Store({**objects, **others})) as store:
        files = find_files(url_of(store, "s3", "many/"))
    assert [path.read_bytes() for path, _ in files.files] == list(objects.values())
    asked = sorted(store.requests)
    found = ["HEAD /tables/many", "GET /tables"]  # of one with the folder's name, then of any below it
    of_objects = [f"{method} /tables/{key}" for key in objects for method in ("GET", "HEAD")]
    assert sorted(request.partition(" bytes=")[0] for request in asked) == sorted(
        [*found, *["GET /tables"] * 2, *of_objects]
    )


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_stamps(kind: str) -> None:
    """An object of the same size and time is another one where its ETag differs; some servers have no other sign."""
    stamps = []
    for headers in ({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}):
        for content in (CONTENT, CONTENT, CONTENT.replace(b"1.0", b"2.0")):
            with served(Store({"t.csv": content}, headers=headers)) as store:
                [file] = find_files(url_of(store, kind, "t.csv")).files
                stamps.append(file_stamp(file.path))
    first, same, other, *without_time = stamps
    assert first == same
    assert first[:2] == other[:2] == (len(CONTENT), 1704067200 * 10**9)
    assert first.etag != other.etag
    assert str(first) == f"of {len(CONTENT)} bytes, changed at 1704067200.000000000, ETag {first.etag}"
    assert without_time[0] == without_time[1] != without_time[2]


def test_name_above_the_folder() -> None:
    with (
        served(Store({"many/../../t.csv": CONTENT})) as store,
        pytest.raises(InputError, match="leads out of the folder"),
    ):
        find_files(url_of(store, "s3", "many"))


def test_file_url(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(CONTENT)
    assert find_files(f"file://{tmp_path}/t.csv").files[0].path == tmp_path / "t.csv"
    assert read(f"file://{tmp_path}/*.csv") == ROWS
