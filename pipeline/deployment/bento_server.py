"""A built Bento served for as long as it is needed: for checks, tests and `make run`."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from pipeline.console import PipelineError
from pipeline.paths import BENTOML_HOME

START_SECONDS = 90


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    tag: str, host: str, port: int, output: IO[bytes] | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start `bentoml serve` for a Bento of the project's store."""
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port)]
    variables = {**os.environ, "BENTOML_HOME": str(BENTOML_HOME), **(environment or {})}
    # Not from the repository's root, whose modules would stand before the Bento's own
    return subprocess.Popen(command, stdout=output, stderr=output, env=variables, cwd=BENTOML_HOME)


def wait_until_ready(server: "subprocess.Popen[bytes]", url: str, seconds: float = START_SECONDS) -> None:
    """Return when `/readyz` says so. Raises PipelineError when the server ends or takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PipelineError(f"the service ended with status {server.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310  (our own http URL)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise PipelineError(f"the service at {url} was not ready after {seconds:g} s")


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Ask the server to end, insist after a while; nothing where it has ended."""
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def serving(tag: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """A Bento served on a free loopback port while the block runs; gives its URL. On failure its log is shown."""
    import tempfile

    port = free_port()
    with tempfile.TemporaryFile() as log:
        server = start(tag, "127.0.0.1", port, log, environment)
        try:
            wait_until_ready(server, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        except PipelineError as error:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip().splitlines()[-15:]
            raise PipelineError("\n".join([str(error), *tail])) from None
        finally:
            stop(server)
