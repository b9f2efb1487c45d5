"""Requests per client and minute: counted in this process, or in Redis for all instances of the service."""

import asyncio
import hashlib
import hmac
import time
from typing import Protocol

from limits import RateLimitItemPerMinute, aio, storage, strategies

from serving.errors import ErrorCode, RequestError
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

REDIS_SECONDS = 0.08  # Redis delays a request by at most this time, and by less than 0.1 s with what belongs to it
GRACE_TURNS = 3  # of the event loop after that time: a busy loop reads an answer later than it arrives
OUTAGE_SECONDS = 1.0  # after which a missing answer is an outage; a late one is due to a busy machine
PAUSE_SECONDS = 1.0  # between two attempts in an outage; no other request is delayed then
CONNECTIONS = 64  # of a worker to Redis; further requests wait for one
PREFIX = "digits"  # of the keys in Redis


class Rates(Protocol):
    """Counts requests."""

    async def seconds_to_wait(self, client: str) -> float:
        """Counts a request of `client`. Returns 0, or if it exceeds the rate, the seconds until one is free again."""


class MemoryRates:
    """Counts in this process: each worker allows the rate."""

    def __init__(self, rate: RateLimitItemPerMinute) -> None:
        self._rate = rate
        self._limiter = strategies.SlidingWindowCounterRateLimiter(storage.MemoryStorage())

    async def seconds_to_wait(self, client: str) -> float:
        """See Rates."""
        if self._limiter.hit(self._rate, client):
            return 0
        return max(self._limiter.get_window_stats(self._rate, client).reset_time - time.time(), 1)


class RedisRates:
    """Counts in Redis, which all workers and instances share. Redis sees a keyed hash of the client only."""

    def __init__(self, rate: RateLimitItemPerMinute, url: str, refuse: bool, key: bytes) -> None:
        """`refuse`: answer 503 while Redis fails; else, requests are not limited then. `key`: of the hashes."""
        from redis.asyncio import BlockingConnectionPool
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as ClosedConnection

        renewed = Retry(NoBackoff(), 1, supported_errors=(ClosedConnection,))  # after a restart of Redis
        patience = {"timeout": OUTAGE_SECONDS, "socket_timeout": OUTAGE_SECONDS, "retry": renewed}
        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, **patience)
        shared = aio.storage.RedisStorage(
            url,
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=pool,  # type: ignore[arg-type]
        )
        self._limiter = aio.strategies.SlidingWindowCounterRateLimiter(shared)
        self._rate, self._refuse, self._key = rate, refuse, key
        self._failing, self._resume_at = False, 0.0
        self._waiting: set[asyncio.Task[float]] = set()

    async def seconds_to_wait(self, client: str) -> float:
        """See Rates. Raises RequestError 503 if Redis fails and requests are to be refused then."""
        attempt = not self._waiting and time.monotonic() >= self._resume_at  # one at a time in an outage
        if attempt or not self._failing:
            task = self._start(hmac.digest(self._key, client.encode(), hashlib.sha256).hex()[:32])
            await asyncio.wait({task}, timeout=REDIS_SECONDS)
            for _ in range(GRACE_TURNS):
                if not task.done():
                    await asyncio.sleep(0)
            if task.done() and task.exception() is None:
                return task.result()
            metrics.RATE_FAILURES.inc()
        if self._refuse:
            message = "requests cannot be counted now and are refused; try again in a second"
            raise RequestError(503, ErrorCode.RATES_UNAVAILABLE, message, {"retry-after": "1"})
        return 0

    def _start(self, name: str) -> asyncio.Task[float]:
        """Asks Redis. A late answer still counts the request, and keeps its connection."""
        task = asyncio.create_task(self._ask(name))
        self._waiting.add(task)
        task.add_done_callback(self._note)
        return task

    async def _ask(self, name: str) -> float:
        if await self._limiter.hit(self._rate, name):
            return 0
        return max((await self._limiter.get_window_stats(self._rate, name)).reset_time - time.time(), 1)

    def _note(self, task: asyncio.Task[float]) -> None:
        """Notes that Redis has answered or failed. Logs the start and the end of an outage."""
        self._waiting.discard(task)
        if task.cancelled():
            return
        error, before = task.exception(), self._failing
        self._failing = error is not None
        if error is not None:
            self._resume_at = time.monotonic() + PAUSE_SECONDS
            if not before:  # once for each outage
                policy = "refused" if self._refuse else "not limited"
                log.error("Redis cannot be used, requests are %s", policy, extra={"reason": repr(error)[:200]})
        elif before:
            log.warning("Redis counts the rates again")


def rates_of(settings: Settings) -> Rates | None:
    """The counts that the settings ask for; None without a limit."""
    if not settings.rate_per_minute:
        return None
    rate, url = RateLimitItemPerMinute(settings.rate_per_minute), settings.rate_storage
    if url == "memory://":
        return MemoryRates(rate)
    assert settings.hash_key is not None  # Settings requires it here
    return RedisRates(rate, url, settings.rate_failure == "refuse", settings.hash_key.get_secret_value().encode())
