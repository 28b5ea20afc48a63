"""Plays the processes of a world by forked ones and pipes: cheap, where their start and end do not matter."""

import pickle
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from linreg_pl.core.world import World
from linreg_pl.data.processes import Processes, merged
from tests.commands import context

Result = TypeVar("Result")


class ForkedProcess(Processes):
    """A process of a world of which the test itself passes on what each sends."""

    def __init__(self, rank: int, size: int, connection: Connection) -> None:
        self.rank, self.size = rank, size
        self._shared, self._connection = None, connection

    def _exchanged(self, value: Any, merge: Callable[[Any, Any], Any]) -> Any:
        self._connection.send((False, pickle.dumps(value)))
        values = [pickle.loads(each) for each in self._connection.recv()]
        while len(values) > 1:
            pairs = [values[index : index + 2] for index in range(0, len(values), 2)]
            values = [merged(pair[0], pair[1], merge) if len(pair) == 2 else pair[0] for pair in pairs]
        return values[0]


def in_world(size: int, function: Callable[[World], Result]) -> list[Result]:
    """Returns what `function(world)` returns in each process of a world; it must be picklable."""
    ours, theirs = zip(*(context.Pipe() for _ in range(size)), strict=True)
    processes = [
        context.Process(target=_play, args=(function, rank, size, connection), daemon=True)
        for rank, connection in enumerate(theirs)
    ]
    for process, connection in zip(processes, theirs, strict=True):
        process.start()
        connection.close()
    while True:
        received = [connection.recv() for connection in ours]
        values = [value for _, value in received]
        if any(is_result for is_result, _ in received):
            for process in processes:
                process.join()
            assert all(is_result for is_result, _ in received), "a process exchanges what the others do not"
            return values
        for connection in ours:
            connection.send(values)


def _play(function: Callable[[World], Any], rank: int, size: int, connection: Connection) -> None:
    connection.send((True, function(ForkedProcess(rank, size, connection))))
