"""A stop that loses no request: what has reached this machine is answered before the worker ends.

On SIGTERM uvicorn closes connections whose next request it has not read yet, and whoever connects while the supervisor
waits for its workers is cut off in the end. So the worker first goes on for as long as requests come in, each answer
closing its connection, while the listening socket takes no new ones; then uvicorn may stop.
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

# Looks at the sockets without a new request, until connections count as idle. Not a time: a worker that gets no
# processor for a while has not looked.
QUIET_LOOKS, LOOK_SECONDS = 10, 0.05
LONGEST_SECONDS = 10.0
REOPEN_SECONDS = 5.0
# Linux (asm-generic/socket.h): a filter on a listening socket drops new connections' first packets, in all processes
# that share it; clients try again until it is closed and refuses them. What was accepted goes on.
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DROP_ALL = struct.pack("HBBI", 0x06, 0, 0, 0)  # classic BPF: return 0


class Drain:
    """Stands between SIGTERM and uvicorn's own handler."""

    def __init__(self, in_flight: Callable[[], int]) -> None:
        """`in_flight`: how many requests are being answered; `requests` is to be counted up with every new one."""
        self._in_flight = in_flight
        self.requests = 0
        self._stop: Any = None
        self.begun = False

    def install(self) -> None:
        """To be called on the event loop, after uvicorn has set its handlers."""
        self._keep_open()
        self._stop = signal.getsignal(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(self._begin))

    def _keep_open(self) -> None:
        """Undo what another worker did that was stopped alone: they share the socket."""
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
    """Let this process's listening sockets take new connections, or not; without effect on other systems than Linux."""
    code = ctypes.create_string_buffer(DROP_ALL)
    program = struct.pack("HP", 1, ctypes.addressof(code))
    for listener in _listeners():
        with contextlib.suppress(OSError):  # there was no filter to detach; or this is no Linux
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
