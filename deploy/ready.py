"""Inside the image: whether the service is ready (its health check); with --serve-once, served for a moment."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time

START_SECONDS = 120


def ready(port: int) -> bool:
    """Whether the service on that port says so; it does when known digits are answered right."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def serve_once() -> bool:
    """Start the service on a free loopback port and stop it once it is ready; whether it was."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        own = {"BENTOML_HOME": home, "BENTOML_HOST": "127.0.0.1", "BENTOML_PORT": str(port)}
        command = [sys.executable, "-m", "bentoml", "serve", "/opt/digits/bento"]
        server = subprocess.Popen(command, env={**os.environ, **own})
        deadline, answered = time.monotonic() + START_SECONDS, False
        while not answered and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            answered = ready(port)
        server.terminate()
        server.wait(30)
    return answered


if __name__ == "__main__":
    done = serve_once() if sys.argv[1:] == ["--serve-once"] else ready(int(os.environ.get("BENTOML_PORT", "3000")))
    sys.exit(0 if done else 1)
