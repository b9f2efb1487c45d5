"""A real Redis for tests, on loopback and gone afterwards (Debian: apt-get install redis-server)."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pipeline.deployment.bento_server import free_port
from tests.servers import wait_until_listening

PROGRAM = shutil.which("redis-server")


class Redis:
    """A server without persistence."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [str(PROGRAM), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_listening(self.process, self.port)

    def kill(self) -> None:
        """End the server at once, and lose what it stored."""
        self.process.kill()
        self.process.wait()


@contextmanager
def running_redis() -> Iterator[Redis]:
    """A server that runs while the block does; skips the test where Redis is not installed."""
    if PROGRAM is None:
        pytest.skip("Redis is not installed (Debian: apt-get install redis-server)")
    server = Redis()
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A server of its own."""
    with running_redis() as server:
        yield server
