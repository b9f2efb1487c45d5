"""What a worker does to its sockets before it stops: new connections wait, what was accepted goes on, nothing leaks."""

import socket
import sys
from pathlib import Path

import pytest

from serving.draining import accept_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's socket filters are used, where there are any")


def test_looking_at_the_sockets_again_and_again_opens_no_files() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        accept_connections(True)
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(20):
            accept_connections(True)
        assert len(list(Path("/dev/fd").iterdir())) == before


def test_new_connections_wait_until_they_are_wanted_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address, timeout=5):
            accept_connections(False)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            accept_connections(True)
            with socket.create_connection(address, timeout=5):
                pass
