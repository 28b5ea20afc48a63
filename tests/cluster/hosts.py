"""Two hosts, played by network namespaces with a cable between them: torchrun, solve, fit, a cut cable, resuming."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from linreg_pl.runs.folder import checkpoints, run_state
from tests.commands import linreg, outside_make
from tests.ranks import LINREG, is_alive
from tests.runs import RUN, assert_same_run
from tests.test_fit_processes import STREAMED, write_parquet
from tests.waiting import wait_until

FIT = (*STREAMED, "--checkpoint_every_n_epochs", "1")
SOLVE = ("solve", *STREAMED[: STREAMED.index("--trainer.max_epochs")])
HOSTS = {"linreg-a": "10.78.0.1", "linreg-b": "10.78.0.2"}
FIRST, SECOND = HOSTS


def ip(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *command.split()], capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Makes the namespaces, and removes them, also those of a test that was killed."""
    for host in HOSTS:
        ip(f"netns delete {host}")
    if shutil.which("ip") is None or ip(f"netns add {FIRST}").returncode:
        pytest.skip("network namespaces need root, and the program ip")
    try:
        ip(f"netns add {SECOND}")
        ip(f"link add {FIRST} netns {FIRST} type veth peer name {SECOND} netns {SECOND}")
        for host, address in HOSTS.items():
            for command in (f"address add {address}/24 dev {host}", f"link set {host} up", "link set lo up"):
                assert ip(f"-n {host} {command}").returncode == 0
        yield
    finally:
        for host in HOSTS:
            ip(f"netns delete {host}")


def start(host: str, *command: str, cwd: Path) -> subprocess.Popen[str]:
    """Starts torchrun with one process on a host, which has a name of its own, and knows the other's."""
    names = cwd.parent / "hosts"
    names.write_text("".join(f"{address} {name}\n" for name, address in (*HOSTS.items(), ("localhost", "127.0.0.1"))))
    prepare = f'mount --bind {names} /etc/hosts && hostname {host} && exec "$@"'
    torchrun = (
        *(str(LINREG.with_name("torchrun")), "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", f"{FIRST}:29500", str(LINREG), *command),
    )
    env = {name: value for name, value in outside_make().items() if name != "GLOO_SOCKET_IFNAME"}
    return subprocess.Popen(
        ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", prepare, "sh", *torchrun],
        cwd=cwd,
        env={**env, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*command: str, folders: list[Path]) -> list[tuple[int, str, str]]:
    """Runs a command on both hosts to its end; returns exit codes and output."""
    running = [start(host, *command, cwd=folder) for host, folder in zip(HOSTS, folders, strict=True)]
    return [(each.returncode, stdout, stderr) for each in running for stdout, stderr in [each.communicate()]]


@pytest.mark.usefixtures("hosts")
def test_one_folder_for_both(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    alone = linreg(*SOLVE, cwd=tmp_path)
    first, second = run(*SOLVE, folders=[tmp_path, tmp_path])
    assert (first[:2], second[:2]) == ((0, alone.stdout), (0, "")), (first, second)


def workers(torchrun: subprocess.Popen[str]) -> list[str]:
    """Returns the numbers of the processes that torchrun has started and that have not ended."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children")
    return [pid for pid in children.read_text().split() if is_alive(int(pid))] if children.exists() else []


@pytest.mark.usefixtures("hosts")
def test_cut_cable(tmp_path: Path) -> None:
    """Each host has its own copy of the table. Both ends give up, and the run goes on to the same bits."""
    whole, ours, theirs = (tmp_path / name for name in ("whole", "ours", "theirs"))
    write_parquet(tmp_path)
    for folder in (whole, ours, theirs):
        folder.mkdir()
        shutil.copy2(tmp_path / "table.parquet", folder)
    results = run("fit", *FIT, folders=[whole, theirs])
    assert [code for code, *_ in results] == [0, 0], results
    assert [path.name for path in theirs.iterdir()] == ["table.parquet"], "the first host has the run"
    running = [start(host, "fit", *FIT, cwd=folder) for host, folder in ((FIRST, ours), (SECOND, theirs))]
    wait_until(lambda: len(checkpoints(ours / RUN)) > 2, lambda: running[0].poll() is None)
    ip(f"-n {FIRST} link set {FIRST} down")
    began = time.monotonic()
    wait_until(lambda: not any(map(workers, running)))
    assert time.monotonic() - began > 50
    for each in running:
        each.kill()  # torchrun tries to reach the other one for much longer
    outputs = [each.communicate()[1] for each in running]
    for stderr, silent in zip(outputs, (SECOND, FIRST), strict=True):
        assert f"on {silent}) has not answered for 60 s: it is stopped, or its machine can't be reached" in stderr
    assert run_state(ours / RUN) == "interrupted"
    ip(f"-n {FIRST} link set {FIRST} up")
    shutil.copytree(ours / RUN, theirs / RUN)
    results = run("fit", "--resume", str(RUN), folders=[ours, theirs])
    assert [code for code, *_ in results] == [0, 0], results
    assert_same_run(whole, ours)
