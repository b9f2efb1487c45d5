"""Gives each request an id and a start time; counts and logs its response, and adds headers to it."""

import logging
import re
import time
from collections.abc import Iterable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import ErrorCode, internal_error
from serving.middleware.access import PROBES
from serving.prediction_log.request_ids import RequestIds
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

DEFAULT_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
UNKNOWN_ROUTE = "other"  # metric label of all paths without a route; clients cannot create new labels
CLIENT_HEADERS = {b"x-request-id": "client_request_id", b"traceparent": "traceparent"}  # logged if they are sent
UNSAFE = re.compile(r"[^\x21-\x7e]")


class RequestContextMiddleware:
    """The outermost of our layers. Probes pass without an id and without a log entry."""

    def __init__(self, app: ASGIApp, ids: RequestIds, routes: Iterable[str]) -> None:
        """`routes`: paths with their own metric label. A path that ends in `/` covers all paths below it."""
        self._app, self._ids = app, ids
        self._below = tuple(sorted(path for path in routes if path.endswith("/") and path != "/"))
        self._exact = frozenset(routes) - frozenset(self._below)
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._rejected = {code: metrics.REJECTED.labels(code) for code in ErrorCode}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = self._ids.create()
        scope.setdefault("state", {}).update(request_id=request_id, started=started)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = {name for name, _ in message["headers"]}
                missing = [header for header in DEFAULT_HEADERS if header[0] not in named]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *missing]
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # the log shows the traceback under the request id
            log.exception("failed", extra={"request_id": request_id, "route": self._route(scope["path"])})
            if not status:
                await internal_error().response()(scope, receive, send_with_headers)
        finally:
            self._record(scope, status or 499, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts and logs a response. Status 499: the client left before there was one."""
        route = self._route(scope["path"])
        if (route, status) not in self._children:
            requests = metrics.REQUESTS.labels(route, str(status))
            self._children[route, status] = requests, metrics.REQUEST_SECONDS.labels(route)
        requests, duration = self._children[route, status]
        requests.inc()
        duration.observe(seconds)
        if code := scope["state"].get("error_code"):
            self._rejected[code].inc()
        if log.isEnabledFor(logging.INFO):
            sent = {CLIENT_HEADERS[name]: value for name, value in scope["headers"] if name in CLIENT_HEADERS}
            log.info(
                "request",
                extra={
                    "request_id": scope["state"]["request_id"],
                    "method": scope["method"][:10],
                    "route": route,
                    "status": status,
                    "milliseconds": round(1000 * seconds, 3),
                    **{field: UNSAFE.sub("", value.decode("latin-1"))[:100] for field, value in sent.items()},
                },
            )

    def _route(self, path: str) -> str:
        if path in self._exact:
            return path
        return next((below for below in self._below if path.startswith(below)), UNKNOWN_ROUTE)
