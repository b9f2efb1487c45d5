"""Graceful shutdown: a worker answers all requests that have reached the machine before it stops.

On SIGTERM, uvicorn closes connections whose next request it has not read yet. It also drops clients that connect while
the supervisor waits for its workers. Therefore the worker first blocks new connections and answers requests until none
arrive; each response closes its connection. Then uvicorn stops.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Consecutive checks without a request after which connections count as idle. A number of checks, not a time, because a
# worker may get no CPU for a while.
QUIET_LOOKS, LOOK_SECONDS = 10, 0.05
LONGEST_SECONDS = 10.0
REOPEN_SECONDS = 5.0
# Linux (asm-generic/socket.h): a filter on a listening socket drops the first packets of new connections in all
# processes that share it. Clients retry until the socket is closed. Accepted connections are not affected.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # classic BPF: return 0


class Drain:
    """Handles SIGTERM, and calls uvicorn's handler when no requests are left."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        """`in_flight` returns the number of open requests. The caller increments `requests` with every new request."""
        self._in_flight = in_flight
        self.requests = 0
        self._stop: Any = None
        self.begun = False

    def install(self) -> None:
        """Installs the handler. Call it on the event loop, after uvicorn has set its own."""
        self._keep_open()
        self._stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(self._begin))

    def _keep_open(self) -> None:
        """Removes the filter that another worker set on the shared socket when it was stopped alone."""
        if not self.begun:
            accept_connections(True)
            asyncio.get_running_loop().call_later(REOPEN_SECONDS, self._keep_open)

    def _begin(self) -> None:
        if self.begun:
            self._stop(signal.SIGTERM, None)
            return
        self.begun = True
        self._task = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        accept_connections(False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SECONDS):
                quiet = 0
                while quiet < QUIET_LOOKS:
                    before = self.requests
                    await asyncio.sleep(LOOK_SECONDS)
                    quiet = quiet + 1 if self.requests == before and not self._in_flight() else 0
        self._stop(signal.SIGTERM, None)


def accept_connections(wanted: bool) -> None:
    """Makes this process's listening sockets accept or drop new connections. Has an effect on Linux only."""
    code = ctypes.create_string_buffer(DROP_ALL)
    program = struct.pack("HP", 1, ctypes.addressof(code))
    for listener in _listeners():
        with contextlib.suppress(OSError):  # there is no filter to detach, or the system is not Linux
            if wanted:
                listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            else:
                listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _listeners() -> Iterator[socket.socket]:
    for entry in list(Path("/dev/fd").iterdir()):
        with contextlib.suppress(OSError):  # closed since it was listed
            if not stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                continue
            with socket.fromfd(int(entry.name), socket.AF_INET, socket.SOCK_STREAM) as copy:
                if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    yield copy
