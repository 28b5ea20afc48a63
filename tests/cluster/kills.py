"""Kills a run of several processes 200 times, anywhere: all processes end, and it goes on to the same bits.

The victim is one process, its launcher, or all at once, as by Ctrl-C in a terminal. The runs are not converged, and
have momentum, so a step that is lost or repeated would show.
"""

import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from linreg_pl.runs.folder import checkpoints, run_state
from linreg_pl.signals import end_at_signals
from tests.commands import Running, linreg, start
from tests.ranks import Typed, children, is_alive, start_ranks
from tests.runs import RUN, assert_same_run, newest
from tests.sabotage import Impatient
from tests.test_fit_processes import STREAMED, TABLE_JOB, fit, write_parquet
from tests.waiting import wait_until

KILLS = 200
JOBS = {"memory": TABLE_JOB, "streamed": (*STREAMED, "--checkpoint_every_n_epochs", "3")}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSTOP)
PATIENT = 12
"""Seconds after which a process that is stopped, or does not join, is given up here."""
OVER = "it was over"
LONGEST = dict.fromkeys((number.name for number in SIGNALS), 0.0)
"""Seconds that it took until all had ended."""
SERIES: dict[str, str] = {}
"""The counts of each series of kills, for the summary at the end."""


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("job", JOBS)
def test_kills(job: str, size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, chance, counts = tmp_path / "whole", random.Random(f"{job} {size}"), Counter[str]()
    whole.mkdir()
    write_parquet(whole)
    assert [result.code for result in fit(size, *JOBS[job], cwd=whole)] == [0] * size
    last = newest(whole)["global_step"]
    chain, kills, differs = 0, 0, 0
    while kills < KILLS / 4:
        folder, chain = tmp_path / f"chain_{chain}", chain + 1
        folder.mkdir()
        write_parquet(folder)
        for _ in range(chance.randint(1, 5)):
            if (folder / RUN / "config.yaml").exists() and run_state(folder / RUN) == "finished":
                break
            number, launcher = chance.choice(SIGNALS), chance.choice(["Lightning", "torchrun"])
            with started(job, size, launcher, folder) as (running, pids):
                if chance.random() < 0.7:  # else while it starts
                    step = chance.randrange(last)
                    wait_until(lambda: saved_step(folder) >= step or not running[0].process.is_alive())  # noqa: B023
                time.sleep(chance.uniform(0, 1))
                target = chance.choice([*range(size), "all"])
                outcome = ended(running, pids, number, target, chance.random() < 0.5)
            counts[outcome] += 1
            kills += outcome != OVER
        other = tmp_path / "other"
        shutil.copytree(folder, other)
        if not (folder / RUN / "config.yaml").exists() or run_state(folder / RUN) != "finished":
            with started(job, size, "torchrun", folder) as (running, _):
                results = [each.wait() for each in running]
            assert [result.code for result in results] == [0] * size, results
        assert_same_run(whole, folder)
        if differs < 3 and (other / RUN / "config.yaml").exists() and run_state(other / RUN) != "finished":
            assert linreg("fit", "--resume", "auto", "--trainer.devices", "1", cwd=other).code == 0
            differs += not torch.equal(newest(folder)["state_dict"]["W"], newest(other)["state_dict"]["W"])
        shutil.rmtree(folder)
        shutil.rmtree(other)
        series = f"{job}, {size} processes"
        SERIES[series] = (
            f"{kills} kills in {chain} runs, all with the same bits, {differs} controls differ; {dict(counts)}"
        )
        with capsys.disabled():
            print(f"\n{series}: {SERIES[series]}", flush=True)
    assert differs > 0


@contextmanager
def started(job: str, size: int, launcher: str, folder: Path) -> Iterator[tuple[list[Running], list[int]]]:
    """Starts or resumes a run; yields the processes that are ours, and the numbers of all."""
    resumes = (folder / RUN / "config.yaml").exists()
    if not resumes:
        shutil.rmtree(folder / "lightning_logs", ignore_errors=True)
    command = ("fit", *(("--resume", "auto") if resumes else JOBS[job]), "--trainer.devices", str(size))
    if launcher == "torchrun":
        begun = [folder / f".begun-{rank}" for rank in range(size)]
        for path in begun:
            path.unlink(missing_ok=True)
        running = start_ranks(size, *command, cwd=folder, before=lambda rank: Impatient(PATIENT, Begun(begun[rank])))
        wait_until(lambda: all(path.exists() for path in begun), running[0].process.is_alive)
        pids = [each.pid for each in running]
    else:
        env = {"OMP_NUM_THREADS": "1"}
        running = [start(*command, cwd=folder, env=env, before=Impatient(PATIENT, Typed(command)), name="-0")]
        pids = [running[0].pid]
        wait_until(lambda: len(children(pids[0])) >= size - 1, running[0].process.is_alive)
        pids += children(pids[0])
    try:
        yield running, pids
    finally:
        for pid in pids:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)


@dataclass
class Begun:
    """Notes that the command begins, with the handlers of signals with which it does."""

    file: Path

    def __call__(self) -> None:
        end_at_signals()
        self.file.touch()


def ended(running: list[Running], pids: list[int], number: signal.Signals, target: int | str, goes_on: bool) -> str:
    """Sends a signal, and checks that all processes end, with our exit codes and at most one paragraph each."""
    victims = pids if target == "all" else [pids[int(target)]]
    if number == signal.SIGSTOP and target == "all":
        number = signal.SIGTERM
    alive = [pid for pid in victims if is_alive(pid)]
    for pid in alive:
        os.kill(pid, number)
    waits = wait_for_end(running, [pid for pid in pids if number != signal.SIGSTOP or pid not in victims])
    if number == signal.SIGSTOP:
        for pid in filter(is_alive, victims):
            os.kill(pid, signal.SIGCONT if goes_on else signal.SIGKILL)
        wait_for_end(running, pids)
    results = [each.wait() for each in running]
    for pid, result in zip(pids, results, strict=False):
        by_default = {-number, -signal.SIGKILL, -signal.SIGTERM}  # while it connects, or by its launcher
        assert result.code in {0, 2, 130, 143} | by_default, (number, target, results)
        assert pid in victims or result.code != -signal.SIGKILL, (number, target, results)
        lines = result.stderr.splitlines()
        assert len({line[:60] for line in lines}) <= 1, (number, target, results)  # several may wait for one to join
        assert all(line.startswith(("linreg: ", "interrupted at step ")) for line in lines), (number, target, results)
    if not alive or results[0].code == 0:
        return OVER
    if target == "all" and number != signal.SIGKILL:
        assert results[0].code in (128 + number, -number, 1), (number, results)
    LONGEST[number.name] = max(LONGEST[number.name], waits)
    return f"{number.name} to {'all' if target == 'all' else 'the first' if target == 0 else 'another'}"


def wait_for_end(running: list[Running], pids: list[int]) -> float:
    """Waits until all processes have ended, for a minute; returns the seconds.

    Where one has failed, the others get SIGTERM after two seconds, as torchrun sends it, in case they connect.
    """
    began = time.monotonic()
    failed: float | None = None
    while any(map(is_alive, pids)):
        now = time.monotonic()
        if now > began + 60:
            for pid in filter(is_alive, pids):
                os.kill(pid, signal.SIGUSR1)
                time.sleep(1)
            pytest.fail(
                "\n".join(f"{pid} {is_alive(pid)}" for pid in pids)
                + "".join(each.stderr.read_text() for each in running)
            )
        if len(running) > 1 and failed is None and not all(map(is_alive, pids)):
            failed = now
        if failed is not None and now > failed + 2:
            for pid in filter(is_alive, pids):
                os.kill(pid, signal.SIGTERM)
            failed = now + 60
        time.sleep(0.01)
    return time.monotonic() - began


def saved_step(folder: Path) -> int:
    """Returns the step of the run's newest checkpoint, -1 without one."""
    return max((int(path.stem.partition("=")[2]) for path in checkpoints(folder / RUN)), default=-1)
