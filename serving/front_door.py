"""The outermost ASGI middleware: limits, counts and logs all requests."""

import logging
import math
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.answers import new_request_id
from serving.draining import Drain
from serving.logs import log
from serving.settings import Settings

PROBES = frozenset({"/livez", "/readyz"})  # BentoML answers them, without a limit and without a log entry
SECURITY_HEADERS = (
    (b"content-security-policy", b"default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
UNKNOWN_ROUTE = "other"  # metric label of all paths without a route; clients cannot create new labels


class FrontDoor:
    """Passes requests to `application`; passes probes and lifespan events to BentoML."""

    def __init__(self, bentoml: ASGIApp, application: ASGIApp, settings: Settings, routes: frozenset[str]) -> None:
        """`routes`: paths with their own metric label. A path that ends in `/` covers all paths below it."""
        self._bentoml, self._application = bentoml, application
        self._limit = math.ceil(settings.max_in_flight / settings.workers)
        self._in_flight = 0
        self._exact = frozenset(path for path in routes if not path.endswith("/") or path == "/")
        self._below = tuple(sorted(routes - self._exact))
        self._metrics: Metrics | None = None
        self._drain = Drain(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            if scope["type"] == "lifespan":
                self._drain.install()
            await self._bentoml(scope, receive, send)
            return
        route = self._name(scope["path"])
        if self._metrics is None:  # created in the worker, where BentoML has set up multiprocess metrics
            self._metrics = Metrics()
        started = time.perf_counter()
        self._drain.requests += 1
        request_id = new_request_id()
        scope.setdefault("state", {}).update(request_id=request_id, started=started)
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                named = {name for name, _ in message["headers"]}
                missing = [header for header in SECURITY_HEADERS if header[0] not in named]
                headers = [*message["headers"], (b"x-request-id", request_id.encode()), *missing]
                if self._drain.begun:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        answer = _TOO_BUSY if self._in_flight >= self._limit else self._application
        self._in_flight += 1
        try:
            await answer(scope, receive, send_with_headers)
        except Exception:  # the client has received status 500; the log shows the traceback under the request id
            log.exception("failed", extra={"request_id": request_id, "route": route})
        finally:
            self._in_flight -= 1
            seconds = time.perf_counter() - started
            self._metrics.count(route, status, seconds)
            if log.isEnabledFor(logging.INFO):
                log.info(
                    "request",
                    extra={
                        "request_id": request_id,
                        "method": scope["method"][:10],
                        "route": route,
                        "status": status,
                        "milliseconds": round(1000 * seconds, 3),
                    },
                )

    def _name(self, path: str) -> str:
        if path in self._exact:
            return path
        return next((below for below in self._below if path.startswith(below)), UNKNOWN_ROUTE)


_TOO_BUSY = JSONResponse({"error": "too many requests at once; try again in a second"}, 429, {"retry-after": "1"})


class Metrics:
    """Prometheus metrics of requests. BentoML's `/metrics` sums them over the workers."""

    def __init__(self) -> None:
        import prometheus_client  # imported after BentoML has configured it

        self._requests = prometheus_client.Counter("digits_requests", "Requests answered", ["route", "status"])
        self._seconds = prometheus_client.Histogram(
            "digits_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self._children: dict[Any, Any] = {}

    def count(self, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        if (route, status) not in self._children:
            self._children[route, status] = (self._requests.labels(route, str(status)), self._seconds.labels(route))
        requests, duration = self._children[route, status]
        requests.inc()
        duration.observe(seconds)
