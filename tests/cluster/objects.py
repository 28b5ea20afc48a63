"""Stores: moto's server of S3, 10,000 objects at a latency, and a server that falls silent."""

import io
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.fs
import pytest

from tests.commands import linreg
from tests.s3_server import Store, served
from tests.waiting import wait_until

MOTO = Path(__file__).parent.parent.parent / ".venv-store" / "bin" / "moto_server"
FRAME = pd.DataFrame(np.random.default_rng(3).standard_normal((90_000, 8)), columns=[*"abcdefg", "y"])
SOLVE = ("solve", "--data", "TableDataModule", "--data.target", "y", "--json", "--data.path")


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Starts the server; returns what follows a key in a URL, and the credentials of three users by their names.

    `reader` may read, `stranger` may not, and `unknown` is none.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = f"127.0.0.1:{port}"
    unchecked = {"INITIAL_NO_AUTH_ACTION_COUNT": "9"}  # as many requests make the users; all others need a permission
    server = subprocess.Popen(
        [MOTO, "--host", "127.0.0.1", "--port", str(port)], env=os.environ | unchecked, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_open(port), alive=lambda: server.poll() is None)
        made = subprocess.run(
            [MOTO.with_name("python"), "-c", MAKE_USERS, f"http://{host}"], capture_output=True, text=True, check=True
        )
        keys = json.loads(made.stdout)
        fill(keys["administrator"], host)
        keys["unknown"] = {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN", "AWS_SECRET_ACCESS_KEY": "wrong"}
        keys["wrong secret"] = {**keys["reader"], "AWS_SECRET_ACCESS_KEY": "wrong"}
        yield f"?endpoint_override={host}&scheme=http&region=us-east-1", keys
    finally:
        server.kill()
        server.wait()


MAKE_USERS = """
import json, sys, boto3
session = boto3.Session("x", "x", region_name="us-east-1")
iam, keys = session.client("iam", endpoint_url=sys.argv[1]), {}
actions_of = {"reader": ["s3:GetObject", "s3:ListBucket"], "stranger": ["sqs:*"], "administrator": ["*"]}
for name, actions in actions_of.items():
    iam.create_user(UserName=name)
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    keys[name] = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
print(json.dumps(keys))
"""


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def fill(key: dict[str, str], host: str) -> None:
    """Writes the table in each format, and a folder of three files."""
    files = pa.fs.S3FileSystem(
        access_key=key["AWS_ACCESS_KEY_ID"],
        secret_key=key["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=host,
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    files.create_dir("tables")
    parquet, feather = io.BytesIO(), io.BytesIO()
    FRAME.to_parquet(parquet, row_group_size=30_000)
    pyarrow.feather.write_feather(FRAME, feather)
    objects = {"t.csv": FRAME.to_csv(index=False).encode(), "t.parquet": parquet.getvalue()}
    objects |= {"t.feather": feather.getvalue()}
    objects |= {f"year/{year}.csv": FRAME[year::3].to_csv(index=False).encode() for year in range(3)}
    for name, content in objects.items():
        with files.open_output_stream(f"tables/{name}") as file:
            file.write(content)


ENVIRONMENT = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.feather", "year/", "year/*.csv"])
def test_reads(name: str, moto: Any, tmp_path: Path) -> None:
    settings, keys = moto
    result = linreg(*SOLVE, f"s3://tables/{name}{settings}", cwd=tmp_path, env={**ENVIRONMENT, **keys["reader"]})
    assert (result.code, result.stderr) == (0, "")
    require_right(result.stdout)


def require_right(stdout: str) -> None:
    """Compares the coefficients with NumPy's."""
    x = np.column_stack([np.ones(len(FRAME)), FRAME.drop(columns="y")])
    expected = np.linalg.lstsq(x, FRAME["y"].to_numpy())[0][1:]
    estimates = [json.loads(stdout)["coefficients"][name]["estimate"] for name in "abcdefg"]
    assert estimates == pytest.approx(expected, abs=1e-12)  # of sums of 90,000 numbers near 1, in another order


@pytest.mark.parametrize("name", ["t.csv", "year/"])
@pytest.mark.parametrize("user", ["stranger", "unknown", "wrong secret"])
def test_refuses(user: str, name: str, moto: Any, tmp_path: Path) -> None:
    settings, keys = moto
    result = linreg(*SOLVE, f"s3://tables/{name}{settings}", cwd=tmp_path, env={**ENVIRONMENT, **keys[user]})
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "permission was refused; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in result.stderr
    assert keys[user]["AWS_SECRET_ACCESS_KEY"] not in result.stderr


def test_missing_key(moto: Any, tmp_path: Path) -> None:
    settings, keys = moto
    result = linreg(*SOLVE, f"s3://tables/no.csv{settings}", cwd=tmp_path, env={**ENVIRONMENT, **keys["reader"]})
    assert (result.code, result.stdout) == (2, "")
    assert "this can't be read" in result.stderr


KEYS = {**ENVIRONMENT, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ten_thousand_objects(ending: str, tmp_path: Path) -> None:
    """Each request takes 20 ms, so one after the other would take six minutes; each object is asked for once."""
    objects = dict[str, bytes]()
    for number, start in enumerate(range(0, 90_000, 9)):
        part, buffer = FRAME[start : start + 9], io.BytesIO()
        if ending == "parquet":
            part.to_parquet(buffer, index=False)
        objects[f"many/{number:05}.{ending}"] = buffer.getvalue() or part.to_csv(index=False).encode()
    begin = time.monotonic()
    with served(Store(objects, latency=0.02)) as store:
        result = linreg(*SOLVE, f"s3://tables/many/{store.settings}", cwd=tmp_path, env=KEYS)
    print(f"10,000 objects in {ending}: {time.monotonic() - begin:.0f} s")
    assert (result.code, result.stderr) == (0, "")
    assert len(store.requests) == 2 * 10_000 + 10 + 2
    require_right(result.stdout)


@pytest.mark.parametrize("kind", ["s3", "http"])
def test_silent_server(kind: str, tmp_path: Path) -> None:
    with served(Store({"t.csv": b"a,y\n1,2\n3,4\n"}, faults={"t.csv": ["silent"]})) as store:
        url = f"s3://tables/t.csv{store.settings}" if kind == "s3" else f"{store.web}/t.csv"
        begin = time.monotonic()
        result = linreg(*SOLVE, url, cwd=tmp_path, env=KEYS)
    print(f"{kind}: given up after {time.monotonic() - begin:.0f} s")
    assert (result.code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "the connection failed 4 times (" in result.stderr
