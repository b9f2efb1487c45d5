"""Limits on concurrent requests, on the memory for their bodies, and on the time of each request."""

import asyncio
import math

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ErrorCode, RequestError, too_many
from serving.middleware.access import METRICS, PROBES
from serving.settings import Settings
from serving.telemetry import metrics

BODY_SECONDS = 10.0  # maximum time for a body to arrive; slow senders count as requests in flight
MAX_BUFFERED_BYTES = 150_000_000  # of all bodies of a worker; 64 requests of 256 images have at most 128 MB
UNLIMITED = PROBES | {METRICS}


class LoadLimitsMiddleware:
    """Answers 429 beyond the concurrent requests or bytes, and 503 after the deadline; probes and metrics never."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._deadline = settings.deadline_seconds
        self._max_in_flight = math.ceil(settings.max_in_flight / settings.workers)
        self._in_flight = self._buffered = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
        elif self._in_flight >= self._max_in_flight:
            await too_many("requests").response()(scope, receive, send)
        else:
            self._in_flight += 1
            metrics.REQUESTS_IN_FLIGHT.inc()
            try:
                await self._within_deadline(scope, receive, send)
            finally:
                self._in_flight -= 1
                metrics.REQUESTS_IN_FLIGHT.dec()

    async def _within_deadline(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The deadline begins when the body has arrived, which may take BODY_SECONDS."""
        arrived, started, size = scope["method"] in ("GET", "HEAD"), False, 0

        async def receive_body() -> Message:
            nonlocal arrived, size
            message = await receive()
            size += len(message.get("body", b""))
            self._buffered += len(message.get("body", b""))
            if self._buffered > MAX_BUFFERED_BYTES:
                raise too_many("large requests")  # for the handler that reads the body
            if not arrived and not message.get("more_body", False):
                arrived = True
                timeout.reschedule(asyncio.get_running_loop().time() + self._deadline)
            return message

        async def send_response(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            async with asyncio.timeout(self._deadline if arrived else BODY_SECONDS) as timeout:
                await self._app(scope, receive_body, send_response)
        except TimeoutError:
            if not timeout.expired() or started:
                raise
            await (self._late() if arrived else _late_body()).response()(scope, receive, send)
        finally:
            self._buffered -= size

    def _late(self) -> RequestError:
        message = f"no answer within {self._deadline:g} s; try again later, or with a smaller request"
        return RequestError(503, ErrorCode.DEADLINE_EXCEEDED, message, {"retry-after": "1"})


def _late_body() -> RequestError:
    message = f"the body did not arrive within {BODY_SECONDS:g} s; send it at once"
    return RequestError(400, ErrorCode.INCOMPLETE_BODY, message)
