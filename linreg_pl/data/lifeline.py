"""Ends a process as soon as another one of its world has ended without a farewell.

Each process has a connection to that of rank 0. Its operating system closes it, however the process ends.
"""

import os
import socket
import sys
from threading import Event, Thread

from linreg_pl.core.world import World

FAREWELL = b"."


class Lifeline:
    """The connections of this process: of rank 0 to all others, of others to rank 0.

    Args:
        world: The processes.
        host: Address of rank 0.
    """

    def __init__(self, world: World, host: str) -> None:
        self._rank, self._is_over, self._first_has_ended = world.rank, False, Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if world.rank == 0:
            is_local = host in ("localhost", "127.0.0.1", "::1")
            with socket.create_server((host if is_local else "", 0), family=family, backlog=world.size) as server:
                server.settimeout(60)
                world.first(server.getsockname()[1])
                self._connections = [server.accept()[0] for _ in range(1, world.size)]
        else:
            port = world.first(0)
            self._connections = [socket.create_connection((host, port))]
            self._connections[0].settimeout(None)
        for connection in self._connections:
            Thread(target=self._watch, args=(connection,), daemon=True).start()

    def end(self) -> None:
        """Says farewell; processes other than rank 0 then wait until that has ended, so that its exit code counts."""
        self._is_over = True
        for connection in self._connections:
            connection.sendall(FAREWELL)
        if self._rank:
            self._first_has_ended.wait()

    def _watch(self, connection: socket.socket) -> None:
        try:
            received = connection.recv(1)
            if received == FAREWELL:
                connection.recv(1)  # until its end
        except OSError:
            received = b""
        if received != FAREWELL and not self._is_over:
            if self._rank == 0:
                print(
                    "linreg: another process of this command was ended; start it again, a run with --resume",
                    file=sys.stderr,
                    flush=True,
                )
            os._exit(2)
        self._first_has_ended.set()
