"""The service under load: no error, no growing memory, and a stop that completes what it has begun."""

import asyncio
import json
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from pipeline.deployment import bento_server
from pipeline.files import read_json
from tests.conftest import Project
from tests.serving.test_service import picture

pytestmark = [pytest.mark.slow, pytest.mark.alone]

CONNECTIONS = 64
ROUNDS = 10  # at most, until memory has settled
REQUESTS_A_ROUND = 6_000
GROWTH = 6_000_000  # bytes that a round may take once memory has settled: 1,000 a request; bodies average 24,000

Ask = Callable[[str, bytes], Awaitable[int]]


def pixels(count: int = 1) -> bytes:
    return json.dumps({"images": np.random.default_rng(0).integers(0, 256, (count, 28, 28)).tolist()}).encode()


REQUESTS = [
    ("/predict_pixels", pixels(), 200),
    ("/predict", picture(), 200),
    ("/predict_pixels", pixels(), 200),
    ("/compare", picture(), 200),
    ("/predict_pixels", pixels(64), 200),
    ("/predict", b"a text", 415),
    ("/predict_pixels", b"[]", 422),
    ("/nothing/there", b"x", 404),
]


@contextmanager
def served(project: Project, **environment: str) -> Iterator[tuple[int, psutil.Process]]:
    """The project's Bento on a free port; gives the port and the process that was started."""
    port = bento_server.free_port()
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    settings = {"DIGITS_LOG_LEVEL": "warning", **environment}
    with tempfile.TemporaryFile() as log:
        server = bento_server.start(tag, "127.0.0.1", port, log, settings, project.folder / ".bentoml")
    try:
        bento_server.wait_until_ready(server, f"http://127.0.0.1:{port}")
        yield port, psutil.Process(server.pid)
    finally:
        bento_server.stop(server)


def memory(process: psutil.Process) -> int:
    """Bytes that only this process and its children use."""
    return sum(member.memory_full_info().uss for member in [process, *process.children(recursive=True)])


class Connection:
    """One connection of HTTP/1.1, opened anew where the server closed it after an answer."""

    def __init__(self, port: int, keep: bool = True) -> None:
        self._port, self._keep = port, keep
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, path: str, body: bytes) -> int:
        """The answer's status. Raises ConnectionRefusedError before anything was sent, OSError or EOFError after."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        kept = "keep-alive" if self._keep else "close"
        fields = (
            f"Host: localhost\r\nConnection: {kept}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        writer.write(f"POST {path} HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(answer.split("content-length: ")[1].split("\r\n")[0]))
        if "connection: close" in answer:
            writer.close()
            self._streams = None
        return int(answer.split(" ")[1])


async def hammer(port: int, until: Callable[[], bool], keep: bool = True) -> Counter[str]:
    """Ask over CONNECTIONS connections until `until()`; counts of what was answered otherwise than expected."""
    seen: Counter[str] = Counter()

    async def one(number: int) -> None:
        connection = Connection(port, keep)
        while not until():
            path, body, expected = REQUESTS[number % len(REQUESTS)]
            number += 1
            try:
                status = await connection.ask(path, body)
            except ConnectionRefusedError:
                seen["refused"] += 1
                return
            except (OSError, EOFError) as error:
                seen[f"lost: {error!r}"] += 1
                return
            seen["as expected" if status == expected else f"{path}: {status}"] += 1

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return seen


def test_64_connections_get_no_error_and_memory_settles(project: Project) -> None:
    """Allocators keep memory at first. A lost body or answer per request would grow every round."""
    with served(project, DIGITS_WORKERS="2") as (port, process):
        held = memory(process)
        for _ in range(ROUNDS):
            before, (seen, count) = held, asyncio.run(rounds(port))
            assert set(seen) == {"as expected"} and count == seen.total()
            held = memory(process)
            if held - before < GROWTH:
                return
        pytest.fail(f"the last of {ROUNDS} rounds of {REQUESTS_A_ROUND} requests took {held - before:,} bytes more")


async def rounds(port: int) -> tuple[Counter[str], int]:
    """One round of requests; what was seen, and the number of requests."""
    left = REQUESTS_A_ROUND

    def over() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    return await hammer(port, over), REQUESTS_A_ROUND


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_completes_the_requests_that_it_finds(project: Project, workers: str) -> None:
    """New connections may be refused, and idle ones are closed; every request that was being answered is answered."""
    with served(project, DIGITS_WORKERS=workers) as (port, process):

        async def ask() -> list[int]:
            connections = [Connection(port) for _ in range(16)]
            await asyncio.gather(*(connection.ask("/predict", picture()) for connection in connections))
            large = [asyncio.create_task(connection.ask("/predict_pixels", pixels(256))) for connection in connections]
            await asyncio.sleep(0.1)  # the first are being answered, the last wait for a thread
            process.send_signal(signal.SIGTERM)
            return await asyncio.gather(*large)

        assert asyncio.run(ask()) == [200] * 16
        process.wait(30)
