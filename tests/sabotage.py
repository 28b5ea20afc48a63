"""Changes a command from inside: a kill at a point of a save, a signal in a phase, threads, a full disk.

Each is a callable for `tests.commands.start(…, before=…)`, which calls it in the process itself.
"""

import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

POINTS = (
    "before it is opened",
    "half written",
    "before it is flushed",
    "before it is renamed",
    "before its folder is flushed",
    "before the old one is removed",
    "after the old one is removed",
)
"""Points of a save; the last two are reached from the fourth save on, when there is an old checkpoint."""

PHASES = ("set-up", "first step", "mid-epoch", "validation", "save")


def kill_myself() -> None:
    """Kills this process with SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


def is_checkpoint(path: Path) -> bool:
    """Returns whether a file is a checkpoint, complete or not."""
    return path.parent.name == "checkpoints"


@dataclass
class KillInSave:
    """Kills the process at a point of its `nth` save of a checkpoint."""

    point: str
    nth: int

    def __call__(self) -> None:
        saves = 0
        synced = 0
        real_open, real_replace, real_unlink, real_fsync = Path.open, Path.replace, Path.unlink, os.fsync

        def is_reached(point: str) -> bool:
            return saves == self.nth and point == self.point

        def fake_open(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            nonlocal saves, synced
            if not (is_checkpoint(path) and "w" in mode):
                return real_open(path, mode, *args, **kwargs)
            saves, synced = saves + 1, 0
            if is_reached("before it is opened"):
                kill_myself()
            file = real_open(path, mode, *args, **kwargs)
            return HalfWritten(file) if is_reached("half written") else file

        def fake_fsync(descriptor: int) -> None:
            nonlocal synced
            synced += 1
            if synced == 1 and is_reached("before it is flushed"):
                kill_myself()
            if synced == 2 and is_reached("before its folder is flushed"):
                kill_myself()
            real_fsync(descriptor)

        def fake_replace(path: Path, target: Any) -> Any:
            if is_checkpoint(path) and is_reached("before it is renamed"):
                kill_myself()
            return real_replace(path, target)

        def fake_unlink(path: Path, missing_ok: bool = False) -> None:
            if is_checkpoint(path) and is_reached("before the old one is removed"):
                kill_myself()
            real_unlink(path, missing_ok)
            if is_checkpoint(path) and is_reached("after the old one is removed"):
                kill_myself()

        patch(Path, "open", fake_open)
        patch(Path, "replace", fake_replace)
        patch(Path, "unlink", fake_unlink)
        patch(os, "fsync", fake_fsync)


class HalfWritten:
    """A file whose process is killed when half of the file is written."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> "HalfWritten":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, contents: bytes) -> int:
        self.file.write(contents[: len(contents) // 2])
        kill_myself()
        return 0


@dataclass
class SignalInPhase:
    """Sends the process a signal, `times` times, in one of `PHASES`: of the validation or step with that number.

    Or while it is "closing" its files, after the run.
    """

    number: int
    phase: str
    times: int = 1
    validation: int = 2
    step: int = 8

    def __call__(self) -> None:
        import torch

        from linreg_pl.cli import fit
        from linreg_pl.training.module import LinearRegression

        def send() -> None:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)

        def before(owner: Any, name: str, nth: int = 1) -> None:
            """Sends when `owner.name` is called for the `nth` time."""
            real: Callable[..., Any] = getattr(owner, name)
            calls = 0

            def fake(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == nth:
                    send()
                return real(*args, **kwargs)

            patch(owner, name, fake)

        if self.phase == "set-up":
            before(fit, "build_trainer")
        elif self.phase == "first step":
            before(LinearRegression, "descend")
        elif self.phase == "mid-epoch":
            before(LinearRegression, "descend", nth=self.step)
        elif self.phase == "validation":
            before(LinearRegression, "validation_step", nth=self.validation)
        elif self.phase == "closing":
            from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

            before(_AsyncWriterThread, "stop")
        else:
            before(torch, "save")


@dataclass
class Threads:
    """Computes with this many threads: parallel tests otherwise leave few to each command (`tests/conftest.py`)."""

    number: int

    def __call__(self) -> None:
        import torch

        torch.set_num_threads(self.number)


@dataclass
class FullDisk:
    """Limits files to `limit` bytes: from the start, or from the `nth` save of a checkpoint on."""

    limit: int
    nth: int = 0

    def __call__(self) -> None:
        import torch

        real = torch.save
        saves = 0
        if self.nth == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))

        def fake(*args: Any, **kwargs: Any) -> None:
            nonlocal saves
            saves += 1
            if saves == self.nth:
                resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))
            real(*args, **kwargs)

        patch(torch, "save", fake)


@dataclass
class ForbidFolder:
    """Refuses to open, rename or make a file in a folder."""

    folder: Path

    def __call__(self) -> None:
        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            if event in ("open", "os.rename", "os.mkdir", "tempfile.mkstemp"):
                for argument in arguments:
                    if isinstance(argument, str | os.PathLike) and str(argument).startswith(str(self.folder)):
                        raise RuntimeError(f"{event} of {argument}")

        sys.addaudithook(watch)


@dataclass
class NoteReads:
    """Writes a line to `log` whenever a checkpoint is opened."""

    log: Path

    def __call__(self) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and str(arguments[0]).endswith(".ckpt"):
                os.write(descriptor, f"{arguments[0]}\n".encode())

        sys.addaudithook(note)


@dataclass
class SlowReading:
    """Makes reading slow, and notes that it has begun."""

    begun: Path

    def __call__(self) -> None:
        from linreg_pl.data.table.row_groups import ParquetTable

        real = ParquetTable.batches

        def batches(table: Any, groups: Any, columns: Any, keeps_codes: bool = False) -> Iterator[Any]:
            for each in real(table, groups, columns, keeps_codes):
                self.begun.touch()
                time.sleep(600)
                yield each

        patch(ParquetTable, "batches", batches)


@dataclass
class Late:
    """Keeps a process from joining the others, unless it is the first: it imports for minutes."""

    def __call__(self) -> None:
        from linreg_pl.cli import main

        real = main.imported

        def imported(args: list[str]) -> Callable[[], object]:
            if os.environ.get("LOCAL_RANK", "0") != "0":
                time.sleep(600)
            return real(args)

        patch(main, "imported", imported)


@dataclass
class NoteJoining:
    """Notes in a file that another process has joined this one."""

    joined: Path

    def __call__(self) -> None:
        from linreg_pl.data.lifeline import Lifeline

        real = Lifeline._add

        def add(lifeline: Lifeline, *args: Any) -> None:
            real(lifeline, *args)
            self.joined.touch()

        patch(Lifeline, "_add", add)


@dataclass
class Impatient:
    """Makes this process give up others that do not answer or join for some seconds; `then` is called too.

    At SIGUSR1 it prints what all of its threads do.
    """

    seconds: int
    then: Callable[[], None] | None = None

    def __call__(self) -> None:
        from linreg_pl.cli import launch
        from linreg_pl.data import lifeline

        faulthandler.register(signal.SIGUSR1)
        patch(lifeline, "SILENCE", self.seconds)
        for module in (lifeline, launch):
            patch(module, "JOINING", timedelta(seconds=self.seconds))
        if self.then is not None:
            self.then()


def patch(owner: Any, name: str, replacement: Any) -> None:
    """Replaces an attribute for the rest of this process's life."""
    setattr(owner, name, replacement)
