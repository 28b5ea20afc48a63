"""A real SLURM starts the processes: srun, sbatch, salloc and scancel, of two nodes that are both this machine.

The test starts the daemons of SLURM itself, on loopback, with all their files in a temporary folder.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from linreg_pl.runs.folder import checkpoints, run_state
from tests.commands import linreg, outside_make
from tests.ranks import LINREG, answer, is_alive
from tests.runs import RUN, assert_same_run, newest
from tests.test_fit_processes import STREAMED, write_parquet
from tests.waiting import wait_until

DATA = ("--data", "TableDataModule", "--data.path", "table.parquet", "--data.target", "progression")
SOLVE = ("solve", *DATA)
FIT = ("fit", *STREAMED, "--checkpoint_every_n_epochs", "1", "--trainer.max_epochs", "60")
HOST = socket.gethostname().partition(".")[0]
NODES = (HOST, f"{HOST}z")
"""Processes look for the first one by its name; nobody can find the second one."""
PATH = f"{os.environ['PATH']}:/usr/sbin"


@dataclass
class Cluster:
    """A running SLURM."""

    folder: Path

    def start(self, *command: str | Path, cwd: Path) -> subprocess.Popen[str]:
        """Starts a program, such as srun."""
        environment = {**outside_make(), "SLURM_CONF": str(self.folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
        environment |= {} if is_known(HOST) else {"MASTER_ADDR": "127.0.0.1"}
        return subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *command: str | Path, cwd: Path) -> tuple[int, str, str]:
        """Runs a program to its end; returns its exit code and output."""
        running = self.start(*command, cwd=cwd)
        stdout, stderr = running.communicate()
        return running.returncode, stdout, stderr

    def job(self) -> str:
        """Returns the number of the only job."""
        return self.run("squeue", "--noheader", "--format", "%i", cwd=self.folder)[1].strip()


def is_known(host: str) -> bool:
    """Returns whether this machine knows an address of that name."""
    try:
        return bool(socket.getaddrinfo(host, 0))
    except socket.gaierror:
        return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def configuration(folder: Path) -> str:
    """Returns the contents of slurm.conf: two nodes of four processors, which need not exist."""
    nodes = [f"NodeName={name} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={free_port()} CPUs=4" for name in NODES]
    return f"""
ClusterName=linreg
SlurmctldHost={HOST}(127.0.0.1)
SlurmctldPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
{nodes[0]}
{nodes[1]}
PartitionName=all Nodes=ALL Default=YES
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Starts SLURM, and ends it after the tests."""
    programs = ("munged", "slurmctld", "slurmd", "srun")
    if os.geteuid() or not all(shutil.which(program, path=PATH) for program in programs):
        pytest.skip("a SLURM of its own needs root, and: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    (folder / "slurm.conf").write_text(configuration(folder))
    files = (f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed"))
    munged = ("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files)
    daemons = [munged, ("slurmctld", "-D", "-i"), *(("slurmd", "-D", "-N", name) for name in NODES)]
    cluster, running = Cluster(folder), list[subprocess.Popen[bytes]]()
    try:
        for daemon in daemons:
            with (folder / f"{daemon[0]}.out").open("a") as output:
                environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(folder / "slurm.conf")}
                running.append(subprocess.Popen(daemon, env=environment, stdout=output, stderr=output))
            if daemon is munged:
                wait_until((folder / "munge.socket").exists, lambda: running[0].poll() is None)
        wait_until(
            lambda: cluster.run("sinfo", "--noheader", "--format", "%D %t", cwd=folder)[1] == "2 idle\n",
            lambda: not any(each.poll() for each in running),
        )
        yield cluster
    finally:
        for each in reversed(running):
            each.terminate()
            each.wait()


def started(cwd: Path) -> list[int]:
    """Returns the processes of linreg whose folder this is, and which run."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    found = []
    for pid in filter(is_alive, pids):
        try:
            is_ours = Path(f"/proc/{pid}/cwd").readlink() == cwd
            if is_ours and str(LINREG).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2]:
                found.append(pid)
        except OSError:  # it has just ended
            continue
    return sorted(found)


@pytest.mark.parametrize(
    "launcher",
    [
        "srun --ntasks 2",
        "srun --ntasks 4 --nodes 1 --ntasks-per-node 4",
        "srun --ntasks 3 --nodes 2",
        "srun --ntasks 2 --job-name interactive",
        "salloc --ntasks 3 srun --ntasks 2",
    ],
)
def test_same_as_one_process(launcher: str, slurm: Cluster, tmp_path: Path) -> None:
    """To 1e-12 of a standard error; three tasks are two on one node and one on the other."""
    write_parquet(tmp_path)
    code, stdout, stderr = slurm.run(*launcher.split(), LINREG, *SOLVE, cwd=tmp_path)
    assert (code, stdout) == (0, linreg(*SOLVE, cwd=tmp_path).stdout), stderr


def test_digits(slurm: Cluster, tmp_path: Path) -> None:
    """The estimates of other numbers of processes differ in their last digits."""
    write_parquet(tmp_path)
    several = json.loads(slurm.run("srun", "--ntasks", "2", LINREG, *SOLVE, "--json", cwd=tmp_path)[1])
    alone = answer(1, *SOLVE, cwd=tmp_path)
    assert several["coefficients"] != alone["coefficients"]
    for name, one in alone["coefficients"].items():
        assert abs(one["estimate"] - several["coefficients"][name]["estimate"]) <= 1e-12 * one["standard_error"]


@pytest.mark.parametrize(
    ("launcher", "devices"),
    [
        ("salloc --ntasks 3", 1),
        ("salloc --ntasks 3", 2),
        ("salloc --ntasks 2 srun --ntasks 1", 1),
        ("srun --ntasks 1", 2),
    ],
)
def test_one_task(launcher: str, devices: int, slurm: Cluster, tmp_path: Path) -> None:
    """Nobody has started others, so the command does that if it is asked to."""
    write_parquet(tmp_path)
    flags = () if devices == 1 else ("--trainer.devices", "2")
    command = (LINREG, "fit", *DATA, *flags)
    code, stdout, stderr = slurm.run(*launcher.split(), *command, cwd=tmp_path)
    assert (code, "2 processes share" in stdout) == (0, devices == 2), stderr
    assert "linreg" not in stderr
    assert run_state(tmp_path / RUN) == "finished"


def test_sbatch(slurm: Cluster, tmp_path: Path) -> None:
    """The script has one process without srun, and two steps that run at once."""
    write_parquet(tmp_path)
    solve = " ".join([str(LINREG), *SOLVE])
    lines = (
        "#!/bin/sh",
        f"{solve} > alone",
        *(f"srun --exact --ntasks 2 {solve} > step_{number} &" for number in range(2)),
        "wait",
    )
    (tmp_path / "job.sh").write_text("\n".join(lines))
    code, _, stderr = slurm.run("sbatch", "--wait", "--ntasks", "4", "--nodes", "1", "job.sh", cwd=tmp_path)
    assert code == 0, stderr
    expected = linreg(*SOLVE, cwd=tmp_path).stdout
    for name in ("alone", "step_0", "step_1"):
        assert (tmp_path / name).read_text() == expected, next(tmp_path.glob("slurm-*.out")).read_text()


def test_fit_is_cancelled_and_resumed(slurm: Cluster, tmp_path: Path) -> None:
    """It goes on to the same bits. In one process it does not."""
    srun = ("srun", "--ntasks", "3", "--nodes", "2", LINREG)
    whole, ours, alone = (tmp_path / name for name in ("whole", "ours", "alone"))
    for folder in (whole, ours):
        folder.mkdir()
        write_parquet(folder)
    assert slurm.run(*srun, *FIT, cwd=whole)[0] == 0
    running = slurm.start(*srun, *FIT, cwd=ours)
    wait_until(lambda: len(checkpoints(ours / RUN)) > 2, lambda: running.poll() is None)
    assert slurm.run("scancel", "--signal", "TERM", slurm.job(), cwd=ours)[0] == 0
    _, stderr = running.communicate()
    assert running.returncode == 143
    assert "interrupted at step" in stderr
    wait_until(lambda: not started(ours))
    assert run_state(ours / RUN) == "interrupted"
    shutil.copytree(ours, alone)
    assert slurm.run(*srun, "fit", "--resume", "auto", cwd=ours)[0] == 0
    assert_same_run(whole, ours)
    assert linreg("fit", "--resume", "auto", cwd=alone).code == 0
    W, other = newest(ours)["state_dict"]["W"], newest(alone)["state_dict"]["W"]
    assert not torch.equal(W, other)
    assert torch.allclose(W, other, rtol=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_end_of_one_process_ends_all(victim: int, slurm: Cluster, tmp_path: Path) -> None:
    """Without srun's --kill-on-bad-exit."""
    write_parquet(tmp_path)
    running = slurm.start("srun", "--ntasks", "2", LINREG, *FIT, cwd=tmp_path)
    wait_until(lambda: bool(checkpoints(tmp_path / RUN)), lambda: running.poll() is None)
    pids = started(tmp_path)
    assert len(pids) == 2
    ranks = [Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") for pid in pids]
    os.kill(pids[[b"SLURM_PROCID=0" in each for each in ranks].index(victim == 0)], signal.SIGKILL)
    end = time.monotonic() + 10
    wait_until(lambda: not started(tmp_path))
    assert time.monotonic() < end
    told = running.communicate()[1]
    assert running.returncode == 128 + signal.SIGKILL
    assert ("was ended; start the command again" in told) == (victim == 1)
    assert run_state(tmp_path / RUN) == "interrupted"


def test_refusals(slurm: Cluster, tmp_path: Path) -> None:
    """Each is told once; a name that nobody knows, by each process."""
    write_parquet(tmp_path)
    code, _, stderr = slurm.run("srun", "--ntasks", "2", LINREG, *SOLVE, "--trainer.devices", "3", cwd=tmp_path)
    assert (code, stderr.count("linreg: ")) == (2, 1)
    assert "this makes 3 processes, and torchrun or srun has started 2" in stderr
    if not is_known(HOST):
        return
    code, _, stderr = slurm.run("srun", "--ntasks", "2", "--nodelist", NODES[1], LINREG, *SOLVE, cwd=tmp_path)
    assert (code, stderr.count(f"linreg: process 0 is on {NODES[1]}, and this machine knows no address")) == (2, 2)
