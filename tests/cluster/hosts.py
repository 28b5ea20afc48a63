"""Hosts, played by network namespaces with cables to a switch: torchrun, solve, fit, a cut cable, resuming."""

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
HOSTS = {"linreg-a": "10.78.0.1", "linreg-b": "10.78.0.2", "linreg-c": "10.78.0.3"}
FIRST, SWITCH = "linreg-a", "linreg-switch"
LAYOUTS = {"two hosts": {"linreg-a": 1, "linreg-b": 1}, "three hosts": {"linreg-a": 1, "linreg-b": 2, "linreg-c": 1}}
"""The number of processes on each host."""


def ip(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *command.split()], capture_output=True, text=True)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Makes the namespaces, and removes them, also those of a test that was killed."""
    for name in (*HOSTS, SWITCH):
        ip(f"netns delete {name}")
    if shutil.which("ip") is None or ip(f"netns add {SWITCH}").returncode:
        pytest.skip("network namespaces need root, and the program ip")
    try:
        commands = [f"-n {SWITCH} link add bridge type bridge", f"-n {SWITCH} link set bridge up"]
        for host, address in HOSTS.items():
            commands += [f"netns add {host}", f"link add {host} netns {host} type veth peer name {host} netns {SWITCH}"]
            commands += [f"-n {SWITCH} link set {host} master bridge", f"-n {SWITCH} link set {host} up"]
            commands += [f"-n {host} address add {address}/24 dev {host}", f"-n {host} link set {host} up"]
            commands += [f"-n {host} link set lo up"]
        for command in commands:
            result = ip(command)
            assert result.returncode == 0, (command, result.stderr)
        yield
    finally:
        for name in (*HOSTS, SWITCH):
            ip(f"netns delete {name}")


def start(*command: str, folders: dict[str, Path], layout: dict[str, int]) -> list[subprocess.Popen[str]]:
    """Starts torchrun on each host, which has a name and a folder of its own, and knows the others' names."""
    names = folders[FIRST].parent / "hosts"
    names.write_text("".join(f"{address} {name}\n" for name, address in (*HOSTS.items(), ("localhost", "127.0.0.1"))))
    env = {name: value for name, value in outside_make().items() if name != "GLOO_SOCKET_IFNAME"}
    running = []
    for host, number in layout.items():
        prepare = f'mount --bind {names} /etc/hosts && hostname {host} && exec "$@"'
        torchrun = (
            *(str(LINREG.with_name("torchrun")), "--nnodes", str(len(layout)), "--nproc-per-node", str(number)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{FIRST}:29500", str(LINREG), *command),
        )
        running.append(
            subprocess.Popen(
                ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", prepare, "sh", *torchrun],
                cwd=folders[host],
                env={**env, "OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return running


def run(*command: str, folders: dict[str, Path], layout: dict[str, int]) -> list[tuple[int, str, str]]:
    """Runs a command on all hosts to its end; returns exit codes and output."""
    running = start(*command, folders=folders, layout=layout)
    return [(each.returncode, stdout, stderr) for each in running for stdout, stderr in [each.communicate()]]


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_one_folder_for_all(layout: dict[str, int], tmp_path: Path) -> None:
    write_parquet(tmp_path)
    alone = linreg(*SOLVE, cwd=tmp_path)
    first, *others = run(*SOLVE, folders=dict.fromkeys(layout, tmp_path), layout=layout)
    assert first[:2] == (0, alone.stdout), first
    assert [each[:2] for each in others] == [(0, "")] * len(others), others


def workers(torchrun: subprocess.Popen[str]) -> list[str]:
    """Returns the numbers of the processes that torchrun has started and that have not ended."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children")
    return [pid for pid in children.read_text().split() if is_alive(int(pid))] if children.exists() else []


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_cut_cable(layout: dict[str, int], tmp_path: Path) -> None:
    """Each host has its own copy of the table. Both ends give up, and the run goes on to the same bits."""
    last, whole = list(layout)[-1], tmp_path / "whole"
    folders = {host: tmp_path / host for host in layout}
    write_parquet(tmp_path)
    for folder in (whole, *folders.values()):
        folder.mkdir()
        shutil.copy2(tmp_path / "table.parquet", folder)
    results = run("fit", *FIT, folders={**folders, FIRST: whole}, layout=layout)
    assert [code for code, *_ in results] == [0] * len(layout), results
    assert [path.name for path in folders[last].iterdir()] == ["table.parquet"], "the first host has the run"
    running = start("fit", *FIT, folders=folders, layout=layout)
    wait_until(lambda: len(checkpoints(folders[FIRST] / RUN)) > 2, lambda: running[0].poll() is None)
    ip(f"-n {last} link set {last} down")
    began = time.monotonic()
    wait_until(lambda: not any(map(workers, running)))
    assert time.monotonic() - began > 50
    for each in running:
        each.kill()  # torchrun tries to reach the other one for much longer
    first, *between, other = (each.communicate()[1] for each in running)
    for stderr, silent in ((first, last), (other, FIRST)):
        assert f"on {silent}) has not answered for 60 s: it is stopped, or its machine can't be reached" in stderr
    assert not any("has not answered" in stderr for stderr in between)
    assert run_state(folders[FIRST] / RUN) == "interrupted"
    ip(f"-n {last} link set {last} up")
    for host in layout:
        if host != FIRST:
            shutil.copytree(folders[FIRST] / RUN, folders[host] / RUN)
    results = run("fit", "--resume", str(RUN), folders=folders, layout=layout)
    assert [code for code, *_ in results] == [0] * len(layout), results
    assert_same_run(whole, folders[FIRST])
