"""The world of several processes, which torch.distributed connects: they exchange results and errors.

Values are pickled, so only processes that trust each other may take part.
"""

import pickle
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import zip_longest
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from linreg_pl.core.world import Value, World
from linreg_pl.errors import InputError

Result = TypeVar("Result")


class Failure(NamedTuple):
    """An error, and the ranks that have it; none if it comes from merging."""

    error: Exception
    ranks: list[int]
    host: str


class Processes(World):
    """Several processes, connected by torch.distributed.

    Every exchange goes up a tree of pairs to rank 0, and its result back to all. A process that fails takes part in the
    next exchange with its error instead of a value, and all get that error.

    Args:
        group: Of all processes, for CPU tensors; by default that of torch.distributed.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.size, self._group = dist.get_rank(), dist.get_world_size(), group
        self._shared: Exception | None = None  # the last error that all have got

    def reduced(self, value: Value, merge: Callable[[Value, Value], Value]) -> Value:
        """Returns the merged values; see `World`."""
        result: Value | Failure = self._exchanged(value, merge)
        if not isinstance(result, Failure):
            return result
        self._shared = self._named(result)
        raise self._shared

    def summed(self, values: Tensor) -> Tensor:
        """Returns the sum of the values of all processes; see `World`. In this thread, as it is called at each step."""
        try:
            dist.all_reduce(values, group=self._group)
        except RuntimeError as error:
            raise connection_failed(error) from error
        return values

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raises an error of one process in the body in all of them; see `World`."""
        try:
            yield
        except Exception as error:
            if self._shared is None or self._shared not in chain_of(error):
                self.reduced(Failure(portable(error), [self.rank], socket.gethostname()), lambda first, _: first)
            raise
        self.reduced(None, lambda first, _: first)

    def require_same(self, what: str, entries: Sequence[str]) -> None:
        """Checks that all processes have the same entries; see `World`."""
        (_, known), *others = self.gathered((socket.gethostname(), list(entries)))
        for rank, (host, found) in enumerate(others, start=1):
            differing = [pair for pair in zip_longest(found, known, fillvalue="nothing") if len(set(pair)) > 1]
            if differing:
                theirs, ours = differing[0]
                raise InputError(
                    f"process {rank} on {host} has other {what} than process 0: {theirs} instead of {ours}; start all"
                    " with the same"
                )

    def _named(self, failure: Failure) -> Exception:
        """Returns the error, with the process that has it if others might not see what it sees."""
        if self.sees_same_files or len(failure.ranks) in (0, self.size):
            return failure.error
        message = f"process {failure.ranks[0]} on {failure.host}: {failure.error}"
        return InputError(message, getattr(failure.error, "flags", None))

    def _exchanged(self, value: Any, merge: Callable[[Any, Any], Any]) -> Any:
        step = 1
        while step < self.size:
            if self.rank % (2 * step):
                blocking(_send, value, self.rank - step, self._group)
                break
            if self.rank + step < self.size:
                value = merged(value, blocking(_receive, self.rank + step, self._group), merge)
            step *= 2
        return blocking(_from_first, value if self.rank == 0 else None, self._group)


def merged(first: Any, second: Any, merge: Callable[[Any, Any], Any]) -> Any:
    """Merges the values of two groups of processes; an error takes precedence over a value."""
    failures = [each for each in (first, second) if isinstance(each, Failure)]
    if not failures:
        try:
            return merge(first, second)
        except Exception as error:
            return Failure(portable(error), [], socket.gethostname())
    if len(failures) == 2 and str(failures[0].error) == str(failures[1].error):
        return failures[0]._replace(ranks=failures[0].ranks + failures[1].ranks)
    return failures[0]


def portable(error: Exception) -> Exception:
    """Returns an error that another process can take; one that can't be pickled becomes its words.

    Of an error that comes from one of the input, it is that one, as causes are not sent.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    error = cause or error
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error, and those that it comes from: jsonargparse wraps what a constructor raises."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def blocking(function: Callable[..., Result], *args: Any) -> Result:
    """Calls a function of torch.distributed in a thread, as it would hold up signals in this one."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join()  # Python must not shut down while the thread still ends: it would abort
    try:
        return future.result()
    except RuntimeError as error:
        raise connection_failed(error) from error


def connection_failed(error: RuntimeError | OSError) -> InputError:
    """Returns the error to raise after one of torch.distributed."""
    time.sleep(5)  # if a process has ended, the lifeline says so and ends this one
    return InputError(f"the connection to another process failed ({first_line(error)}); start the command again")


def first_line(error: Exception) -> str:
    """Returns the words of an error of torch without the stack of C++ functions that follows them."""
    return str(error).partition("\n")[0]


def _send(value: Any, rank: int, group: dist.ProcessGroup | None) -> None:
    content = _pickled(value)
    dist.send(torch.tensor([len(content)]), rank, group)
    dist.send(content, rank, group)


def _receive(rank: int, group: dist.ProcessGroup | None) -> Any:
    size = torch.empty(1, dtype=torch.int64)
    dist.recv(size, rank, group)
    content = torch.empty(int(size), dtype=torch.uint8)
    dist.recv(content, rank, group)
    return pickle.loads(content.numpy().data)


def _from_first(value: Any, group: dist.ProcessGroup | None) -> Any:
    is_first = dist.get_rank() == 0
    content = _pickled(value) if is_first else torch.empty(0, dtype=torch.uint8)
    size = torch.tensor([len(content)])
    dist.broadcast(size, 0, group)
    content = content if is_first else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0, group)
    return value if is_first else pickle.loads(content.numpy().data)


def _pickled(value: Any) -> Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
