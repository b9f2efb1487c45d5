"""Starts and stops a Bento's server, for `make serve`, checks and tests."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pipeline.console import PipelineError
from pipeline.paths import BENTOML_HOME

START_SECONDS = 90
LOG_LINES = 15  # shown of a server that failed


def free_port() -> int:
    """Returns an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(
    tag: str,
    host: str,
    port: int,
    output: IO[bytes] | None = None,
    environment: Mapping[str, str | None] | None = None,
    home: Path = BENTOML_HOME,
) -> "subprocess.Popen[bytes]":
    """Start `bentoml serve` for a Bento of the store in `home`. Variables that are None are unset.

    In BentoML's container mode, the server exits when its workers cannot start, instead of starting them again.
    """
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", host, "--port", str(port)]
    defaults = {"BENTOML_HOME": str(home), "BENTOML_CONTAINERIZED": "true"}
    wanted = {**os.environ, **defaults, **(environment or {})}
    variables = {name: value for name, value in wanted.items() if value is not None}
    # In the repository's root, its modules would shadow those of the Bento
    return subprocess.Popen(command, stdout=output, stderr=output, env=variables, cwd=home)


def wait_until_ready(server: "subprocess.Popen[bytes]", url: str, seconds: float = START_SECONDS) -> None:
    """Wait until `/readyz` answers. Raises PipelineError if the server exits or is not ready in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PipelineError(f"the service exited with status {server.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):  # noqa: S310  (our own http URL)
                return
        except OSError:
            time.sleep(0.1)
    raise PipelineError(f"the service at {url} was not ready after {seconds:g} s")


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Terminate the server, and kill it if it has not exited after 15 seconds."""
    server.terminate()
    try:
        server.wait(15)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextmanager
def serving(tag: str, environment: Mapping[str, str | None] | None = None, home: Path = BENTOML_HOME) -> Iterator[str]:
    """Serve a Bento on a free loopback port while the block runs. Yields its URL.

    A PipelineError in the block gets the end of the server's log appended.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with temporary_home(home) as own, tempfile.TemporaryFile() as log:
        server = start(tag, "127.0.0.1", port, log, environment, own)
        try:
            wait_until_ready(server, url)
            yield url
        except PipelineError as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()[-LOG_LINES:]
            raise PipelineError("\n".join([str(error), *lines])) from None
        finally:
            stop(server)


@contextmanager
def temporary_home(home: Path) -> Iterator[Path]:
    """A BentoML home with the stores of another one.

    BentoML deletes the metrics of the service that runs in a home when a second one starts there.
    """
    with tempfile.TemporaryDirectory(prefix="bentoml-", ignore_cleanup_errors=True) as folder:
        for store in ("bentos", "models"):
            (Path(folder) / store).symlink_to(home.absolute() / store)
        yield Path(folder)
