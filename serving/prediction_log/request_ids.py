"""Request ids: the time, random bits, and a signature. A forged signature is refused without asking the database."""

import hashlib
import hmac
import re
import secrets
import time

MAX_CLOCK_SKEW = 60.0  # seconds by which the clocks of two machines may differ
SIGNATURE_BYTES = 8
CONTENT_DIGITS = 32  # of the time and the random bits
FORM = re.compile(r"([0-9a-f]{32})([0-9a-f]{16})?(?:-([0-9]{1,4}))?", re.ASCII)


class UnknownRequestId(Exception):
    """No service with this key has created the id."""


class RequestIds:
    """Creates and verifies ids.

    An id is 12 hexadecimal digits of the time in milliseconds, 20 random ones, and 16 of an HMAC-SHA256 of both.
    Until a key is set, ids end after the random digits: the database was not reached yet. They stay valid.
    """

    def __init__(self) -> None:
        self._key: bytes | None = None

    def use_key(self, key: bytes) -> None:
        """Signs with `key` from now on."""
        self._key = key

    def create(self) -> str:
        """Creates an id."""
        content = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
        return content if self._key is None else content + sign(self._key, content)

    def parse(self, text: str) -> tuple[str, int | None]:
        """Splits an answer's id into the request's id and, if the request had several answers, its number, else None.

        Raises UnknownRequestId if the id is malformed, forged, or from the future.
        """
        if not (parts := FORM.fullmatch(text)):
            raise UnknownRequestId
        content, signature, number = parts.groups()
        if _time_of(content) > time.time() + MAX_CLOCK_SKEW:
            raise UnknownRequestId
        if self._key and signature and not hmac.compare_digest(signature, sign(self._key, content)):
            raise UnknownRequestId
        return content + (signature or ""), int(number) if number else None


def sign(key: bytes, content: str) -> str:
    """The signature of an id's content, in hexadecimal."""
    return hmac.digest(key, content.encode(), hashlib.sha256)[:SIGNATURE_BYTES].hex()


def is_signed(request_id: str) -> bool:
    """Whether the id has a signature. Anyone can invent an id without one."""
    return len(request_id) > CONTENT_DIGITS


def age(request_id: str) -> float:
    """Seconds since the id was created."""
    return time.time() - _time_of(request_id)


def _time_of(request_id: str) -> float:
    return int(request_id[:12], 16) / 1000
