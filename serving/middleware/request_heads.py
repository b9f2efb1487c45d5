"""Limits on request heads. uvicorn sets them for h11, but not for the faster parser httptools.

This is the only module that depends on inner classes of uvicorn: https://github.com/Kludex/uvicorn/issues/157
"""

import asyncio

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536  # the same as uvicorn's limit for h11
HEAD_SECONDS = 20  # maximum time for a head to arrive; uvicorn itself closes idle connections after 5 s


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections whose head is too long or too slow; if a part of it has arrived, with status 400."""

    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            self._cancel_deadline()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._give_up()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            if self._head_bytes:
                self.send_400_response(f"The head must come whole, within {HEAD_SECONDS} s and {MAX_HEAD_BYTES} bytes.")
            self.transport.close()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def bound_heads() -> None:
    """Makes uvicorn, which BentoML starts, use this protocol in this process."""
    auto.AutoHTTPProtocol = BoundedHttpProtocol
