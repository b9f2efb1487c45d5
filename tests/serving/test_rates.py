"""Rates in Redis: counted over all workers, and what happens to requests while Redis fails or hangs."""

import asyncio
import logging
import os
import signal
import time

import pytest
from pydantic import SecretStr, ValidationError
from redis import Redis as Client

from serving.errors import RequestError
from serving.middleware import rates
from serving.middleware.rates import MemoryRates, Rates, RedisRates, rates_of
from serving.settings import Settings
from tests.redis import Redis

LIMIT = 5
HASH_KEY = "a key of 16 letters or more"


def rates_for(url: str, failure: str = "allow", hash_key: str = HASH_KEY) -> Rates:
    settings = {"rate_per_minute": LIMIT, "rate_storage": url, "rate_failure": failure, "hash_key": hash_key}
    found = rates_of(Settings.model_validate(settings))
    assert found is not None
    return found


async def accepted(counts: Rates, client: str, number: int) -> int:
    """How many of `number` requests the rate allows; the others are told when to come back."""
    waits = [await counts.seconds_to_wait(client) for _ in range(number)]
    assert all(1 <= wait <= 60 for wait in waits if wait)
    return waits.count(0)


def test_without_a_limit_nothing_is_counted_and_redis_is_not_used() -> None:
    assert rates_of(Settings()) is None
    assert rates_of(Settings(rate_storage="redis://localhost:1/0")) is None
    assert isinstance(rates_for("memory://"), MemoryRates)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of Redis may take long, as on a busy machine, and count all the same."""
    monkeypatch.setattr(rates, "REDIS_SECONDS", 30)


@pytest.mark.usefixtures("patient")
def test_several_workers_share_a_clients_rate(redis: Redis) -> None:
    async def ask() -> list[int]:
        one, other = rates_for(redis.url), rates_for(redis.url)
        found = [await accepted(one, "a", 3), await accepted(other, "a", 4), await accepted(one, "a", 1)]
        return [*found, await accepted(other, "b", LIMIT + 1)]

    assert asyncio.run(ask()) == [3, 2, 0, LIMIT]


def test_redis_sees_no_key_and_no_address(redis: Redis) -> None:
    async def ask() -> None:
        for hash_key in (HASH_KEY, HASH_KEY[::-1], HASH_KEY):
            await rates_for(redis.url, hash_key=hash_key).seconds_to_wait("key b'secret-of-a-client'")

    asyncio.run(ask())
    names = [name.decode() for name in Client.from_url(redis.url).scan_iter()]
    assert len(names) == 2 and all(name.startswith("digits:") and "secret" not in name for name in names)


@pytest.mark.parametrize("url", ["redis://localhost/0", "rediss://localhost/0"])
def test_counting_in_redis_requires_a_key_of_the_hashes(url: str) -> None:
    with pytest.raises(ValidationError, match="set DIGITS_HASH_KEY, the same for all instances"):
        Settings(rate_per_minute=LIMIT, rate_storage=url)
    Settings(rate_per_minute=0, rate_storage=url)
    Settings(rate_per_minute=LIMIT, rate_storage="memory://")
    with pytest.raises(ValidationError) as short:
        Settings(rate_per_minute=LIMIT, rate_storage=url, hash_key=SecretStr("short"))
    assert [problem["loc"] for problem in short.value.errors()] == [("hash_key",)]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("failure", ["allow", "refuse"])
def test_an_outage_allows_or_refuses_and_ends_by_itself(
    redis: Redis, failure: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(rates, "PAUSE_SECONDS", 0)

    async def ask() -> None:
        counts = rates_for(redis.url, failure)
        assert await accepted(counts, "a", LIMIT + 1) == LIMIT
        redis.kill()
        for _ in range(3):
            if failure == "allow":
                assert await counts.seconds_to_wait("a") == 0
            else:
                with pytest.raises(RequestError) as raised:
                    await counts.seconds_to_wait("a")
                assert (raised.value.status, raised.value.code) == (503, "rates_unavailable")
                assert raised.value.headers == {"retry-after": "1"}
        redis.start()
        while await accepted(counts, "a", LIMIT + 1) != LIMIT:  # its counts went with it
            await asyncio.sleep(0.05)

    with caplog.at_level(logging.WARNING, "digits"):
        asyncio.run(asyncio.wait_for(ask(), 60))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_a_redis_that_hangs_delays_requests_by_its_limit_and_then_not_at_all(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask_redis = RedisRates._ask

    async def counted(self: RedisRates, name: str) -> float:
        asked.append(name)
        return await ask_redis(self, name)

    monkeypatch.setattr(RedisRates, "_ask", counted)
    monkeypatch.setattr(rates, "PAUSE_SECONDS", 60)

    async def ask() -> float:
        counts = rates_for(redis.url)
        await counts.seconds_to_wait("a")
        os.kill(redis.process.pid, signal.SIGSTOP)
        started = time.monotonic()
        assert await asyncio.gather(*(counts.seconds_to_wait("a") for _ in range(200))) == [0] * 200
        waited = time.monotonic() - started
        assert len(asked) == 201
        found = 0
        while found < len(asked):  # until the outage is noticed
            found = len(asked)
            await counts.seconds_to_wait("a")
        assert await accepted(counts, "a", 50) == 50 and len(asked) == found, "a request in the outage waited again"
        return waited

    waited = asyncio.run(ask())
    assert waited >= rates.REDIS_SECONDS, "Redis did not hang"


def test_a_late_answer_is_no_outage(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> int:
        counts = rates_for(redis.url)
        await counts.seconds_to_wait("a")
        os.kill(redis.process.pid, signal.SIGSTOP)
        assert await counts.seconds_to_wait("a") == 0
        os.kill(redis.process.pid, signal.SIGCONT)
        monkeypatch.setattr(rates, "REDIS_SECONDS", 30)
        while [key for key in Client.from_url(redis.url).scan_iter() if int(Client.from_url(redis.url).get(key)) == 1]:
            await asyncio.sleep(0.01)  # until the late request is counted, too
        return await accepted(counts, "a", LIMIT)

    assert asyncio.run(ask()) == LIMIT - 2 and not caplog.records


@pytest.mark.usefixtures("patient")
def test_connections_to_a_restarted_redis_are_renewed(redis: Redis) -> None:
    async def ask() -> None:
        counts = rates_for(redis.url, "refuse")
        await asyncio.gather(*(counts.seconds_to_wait(f"client {number}") for number in range(8)))
        redis.kill()
        redis.start()
        for number in range(8):  # each uses a connection that the killed server has closed
            assert await counts.seconds_to_wait(f"client {number}") == 0

    asyncio.run(ask())
