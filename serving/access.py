"""Access control: the API key, and the rate limit per client and minute."""

import hmac
import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.requests import Request

from serving.requests import RequestError
from serving.settings import Settings


class Access:
    """Checks the API key and the rate limit of requests to protected routes."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._rate = RateLimitItemPerMinute(settings.rate_per_minute) if settings.rate_per_minute else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, request: Request) -> None:
        """Raises RequestError 401 without the key, 429 above the rate limit.

        The limit comes first, so that it also slows down attempts to guess the key.
        """
        if self._rate is not None:
            client = self.client(request)
            if not self._limiter.hit(self._rate, client):
                reset = self._limiter.get_window_stats(self._rate, client).reset_time
                raise RequestError(
                    429,
                    f"more than {self._rate.amount} requests in a minute; wait until Retry-After has passed",
                    {"retry-after": str(max(1, math.ceil(reset - time.time())))},
                )
        if self._key is not None and not self._has_key(request):
            raise RequestError(
                401,
                "a key is needed and this is missing or wrong; send the header `Authorization: Bearer KEY`",
                {"www-authenticate": "Bearer"},
            )

    def client(self, request: Request) -> str:
        """Identifies the client by its API key, or without a key by its address."""
        if self._has_key(request):
            return f"key {self._key!r}"
        return f"address {client_address(request)}"

    def _has_key(self, request: Request) -> bool:
        return self._key is not None and hmac.compare_digest(_bearer(request), self._key)


def client_address(request: Request) -> str:
    """The client's address. Behind a proxy, uvicorn takes it from the headers (FORWARDED_ALLOW_IPS)."""
    return request.client.host if request.client else "unknown"


def _bearer(request: Request) -> bytes:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
