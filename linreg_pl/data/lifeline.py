"""Ends a process as soon as another one of its world has ended without a farewell, or has been silent for a minute.

Each process has a connection to that of rank 0, as soon as it has joined: others may still be to come. Its operating
system closes it, however the process ends. A thread of each process sends a byte on it every second, however long the
others read or compute. So a process that is stopped, or that the network has cut off, is told from one that is busy.
"""

import os
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Event, Timer

import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore

from linreg_pl.data.leaving import in_background, leave
from linreg_pl.data.place import Place

JOINING = timedelta(minutes=10)
"""How long the processes of a command wait for each other at its start."""
SILENCE = 60
"""Seconds without a byte after which a process counts as lost."""
BEAT, COMPLETE, FAREWELL, TOLD = b"-", b"+", b".", b"!"


class Lifeline:
    """The connections of this process: of rank 0 to all others, of others to rank 0.

    Args:
        place: Of this process among the others.
        children: The processes that this one has started.
        listener: A socket of the port at which all find each other, if it is open already.

    Attributes:
        store: Where the processes find each other.

    Raises:
        RuntimeError: rank 0 ended while this process was about to join.
        OSError: likewise.
    """

    def __init__(
        self, place: Place, children: Sequence[subprocess.Popen[bytes]], listener: socket.socket | None = None
    ) -> None:
        self._rank, self._children = place.rank, children
        self._is_over, self._is_complete, self._first_has_ended = False, Event(), Event()
        self._peers: dict[socket.socket, str] = {}
        in_background(self._beat)
        told = f"not all processes have joined within {JOINING.total_seconds():.0f} s;"
        waiting = Timer(JOINING.total_seconds(), leave, (told, children))  # a store that is stopped never times out
        waiting.daemon = True
        waiting.start()
        is_ours = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"  # else torchrun has it
        store = dist.TCPStore(  # type: ignore[attr-defined]  # torch documents it, and lists it nowhere
            place.host,
            place.port,
            is_master=is_ours and place.rank == 0,
            timeout=JOINING,
            wait_for_workers=False,  # so that the end of one is noticed while others are to come
            master_listen_fd=None if listener is None else listener.detach(),
        )
        count = os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)  # torchrun's store has what they wrote before
        self.store = PrefixStore(f"start {count}", store)
        self.store.set(f"process {place.rank}", f"process {place.rank} (pid {os.getpid()} on {socket.gethostname()})")
        if place.rank == 0:
            self._accept(place.host, place.size - 1)
            waiting.cancel()
            self._tell(COMPLETE)
        else:
            self._connect(place.host)
            waiting.cancel()  # from here on, rank 0 waits for others
            self._is_complete.wait()

    def _accept(self, host: str, number: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        is_local = host in ("localhost", "127.0.0.1", "::1")
        with socket.create_server((host if is_local else "", 0), family=family, backlog=number) as server:
            self.store.set("lifeline", str(server.getsockname()[1]))
            for _ in range(number):
                connection = server.accept()[0]
                rank = int.from_bytes(connection.recv(4))
                self._add(connection, self.store.get(f"process {rank}"))

    def _connect(self, host: str) -> None:
        port, name = self.store.get("lifeline"), self.store.get("process 0")
        connection = socket.create_connection((host, int(port)))
        connection.sendall(self._rank.to_bytes(4))
        self._add(connection, name)

    def _add(self, connection: socket.socket, name: bytes) -> None:
        connection.settimeout(1)
        self._peers[connection] = name.decode()
        in_background(self._watch, connection)

    def end(self) -> None:
        """Says farewell; processes other than rank 0 then wait until that has ended, so that its exit code counts."""
        self.mute()
        self._tell(FAREWELL)
        if self._rank:
            self._first_has_ended.wait()

    def mute(self) -> None:
        """Lets this process end as it is about to, whatever becomes of the others."""
        self._is_over = True

    def _beat(self) -> None:
        while True:
            self._tell(BEAT)
            time.sleep(1)

    def _tell(self, byte: bytes) -> None:
        for connection in list(self._peers):
            with suppress(OSError):  # `_watch` finds out that the process has ended
                connection.send(byte)

    def _watch(self, connection: socket.socket) -> None:
        # Silence is counted in waits of this process: the time in which it was itself stopped is none.
        silence, has_said_farewell, has_told, received = 0, False, False, BEAT
        while received and silence < SILENCE:
            try:
                received = connection.recv(64)
                silence = 0
            except TimeoutError:
                silence += 1
            except OSError:
                received = b""
            if COMPLETE in received:
                self._is_complete.set()
            has_said_farewell = has_said_farewell or FAREWELL in received
            has_told = has_told or TOLD in received
        if received and not has_said_farewell:
            self._tell(TOLD)  # a process that was stopped reads it when it continues
            state = f"has not answered for {SILENCE} s: it is stopped, or its machine can't be reached; end it, and"
            leave(f"{self._peers[connection]} {state}", self._children)
        time.sleep(0.5)  # a Ctrl-C ends all processes; then this one is about to end too, with its own code
        if not has_said_farewell and not self._is_over:
            is_known = self._rank or has_told
            leave(None if is_known else f"{self._peers[connection]} was ended;", self._children)
        self._first_has_ended.set()
