"""A process is stopped for a while, with all others, or before they join: more than `tests/test_processes.py` has."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.commands import start
from tests.ranks import Typed, children, is_alive, start_ranks
from tests.sabotage import Impatient, SlowReading, patch
from tests.test_processes import AGAIN, TABLE, no_answer, with_value
from tests.waiting import wait_until


def test_only_a_process_that_stays_stopped_while_others_run(tmp_path: Path) -> None:
    """Ctrl-Z stops all of them, for as long as one likes; a short stop of one is like a long read."""
    command, begun = ("solve", *TABLE, "--data.path", with_value(tmp_path, "t.parquet", 1.0)), tmp_path / "begun"
    running = start_ranks(
        3, *command, cwd=tmp_path, before=lambda rank: Impatient(4, SlowReading(begun) if rank == 1 else None)
    )
    wait_until(begun.exists, running[1].process.is_alive)
    for victims, seconds in ((running, 20), (running[1:2], 2), (running[:1], 2)):
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for each in victims:
                os.kill(each.pid, number)
            time.sleep(seconds)
            assert all(each.process.is_alive() for each in running)
    os.kill(running[2].pid, signal.SIGSTOP)
    first, second = running[0].wait(), running[1].wait()
    assert (first.code, first.stderr) == (2, no_answer(2, running[2].pid))
    assert (second.code, second.stderr) == (2, "")
    os.kill(running[2].pid, signal.SIGCONT)
    assert running[2].wait().code == 2


@dataclass
class StopBeforeOthersJoin:
    """Stops this process when others could find it."""

    def __call__(self) -> None:
        from linreg_pl.data.lifeline import Lifeline

        patch(Lifeline, "_accept", lambda *args: os.kill(os.getpid(), signal.SIGSTOP))


def test_started_others_and_was_stopped_before_they_join(tmp_path: Path) -> None:
    """What they have said is not said again by the first one when it continues."""
    command = ("solve", *TABLE, "--trainer.devices", "3", "--data.path", "t.parquet")
    first = start(*command, cwd=tmp_path, before=Impatient(4, Typed(command, StopBeforeOthersJoin())))
    wait_until(lambda: len(children(first.pid)) == 2, first.process.is_alive)
    others = children(first.pid)
    wait_until(lambda: not any(map(is_alive, others)))
    os.kill(first.pid, signal.SIGCONT)
    result = first.wait()
    told = f"linreg: not all processes have joined within 4 s; {AGAIN}"
    assert (result.code, result.stderr) == (2, 2 * told)


def test_stopped_before_others_join(tmp_path: Path) -> None:
    """torch's connection to it would have no limit of time."""
    command, stop = ("solve", *TABLE, "--data.path", "t.parquet"), {0: StopBeforeOthersJoin()}
    first, second = start_ranks(2, *command, cwd=tmp_path, before=lambda rank: Impatient(4, stop.get(rank)))
    told = f"linreg: not all processes have joined within 4 s; {AGAIN}"
    result = second.wait()
    assert (result.code, result.stderr) == (2, told)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait().code == -signal.SIGKILL
