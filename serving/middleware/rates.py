"""Requests per client and minute: counted in this process, or in Redis for all instances of the service."""

import asyncio
import hashlib
import hmac
import time
from typing import Protocol

from limits import RateLimitItemPerMinute, aio, storage, strategies
from limits.errors import StorageError

from serving.errors import ErrorCode, RequestError
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

REDIS_SECONDS = 0.08  # with the cancellation of the attempt, Redis delays a request by less than 0.1 s
PAUSE_SECONDS = 1.0  # after a failure, Redis is not asked; requests of this time are not delayed at all
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

        pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, timeout=REDIS_SECONDS)
        shared = aio.storage.RedisStorage(
            url,
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=PREFIX,
            connection_pool=pool,  # type: ignore[arg-type]
        )
        self._limiter = aio.strategies.SlidingWindowCounterRateLimiter(shared)
        self._rate, self._refuse, self._key = rate, refuse, key
        self._failing, self._resume_at = False, 0.0

    async def seconds_to_wait(self, client: str) -> float:
        """See Rates. Raises RequestError 503 if Redis fails and requests are to be refused then."""
        if time.monotonic() >= self._resume_at:
            name = hmac.digest(self._key, client.encode(), hashlib.sha256).hex()[:32]
            try:
                async with asyncio.timeout(REDIS_SECONDS):
                    wait = await self._ask(name)
                if self._failing:
                    log.warning("Redis counts the rates again")
                    self._failing = False
                return wait
            except (StorageError, OSError) as error:  # TimeoutError is an OSError
                self._pause(error)
        if self._refuse:
            message = "requests cannot be counted now and are refused; try again in a second"
            raise RequestError(503, ErrorCode.RATES_UNAVAILABLE, message, {"retry-after": "1"})
        return 0

    async def _ask(self, name: str) -> float:
        if await self._limiter.hit(self._rate, name):
            return 0
        return max((await self._limiter.get_window_stats(self._rate, name)).reset_time - time.time(), 1)

    def _pause(self, error: Exception) -> None:
        """Logs the start of an outage once, without the URL and its password."""
        metrics.RATE_FAILURES.inc()
        self._resume_at = time.monotonic() + PAUSE_SECONDS
        if not self._failing:
            policy = "refused" if self._refuse else "not limited"
            log.error("Redis cannot be used, requests are %s", policy, extra={"reason": repr(error)[:200]})
        self._failing = True


def rates_of(settings: Settings) -> Rates | None:
    """The counts that the settings ask for; None without a limit."""
    if not settings.rate_per_minute:
        return None
    rate, url = RateLimitItemPerMinute(settings.rate_per_minute), settings.rate_storage
    if url == "memory://":
        return MemoryRates(rate)
    key = settings.hash_key.get_secret_value().encode() if settings.hash_key else b""
    return RedisRates(rate, url, settings.rate_failure == "refuse", key)
