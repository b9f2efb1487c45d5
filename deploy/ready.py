"""Health check of the container: exits with 0 if the service is ready. `--serve-once` starts the service first."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time

START_SECONDS = 120


def ready(port: int) -> bool:
    """Returns True if `/readyz` on `port` answers with status 200."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def serve_once() -> bool:
    """Start the service on a free loopback port and stop it when it is ready. Returns False if it did not get ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        settings = {"BENTOML_HOME": home, "BENTOML_HOST": "127.0.0.1", "BENTOML_PORT": str(port)}
        command = [sys.executable, "-m", "bentoml", "serve", "/opt/digits/bento"]
        server = subprocess.Popen(command, env={**os.environ, **settings})
        deadline, is_ready = time.monotonic() + START_SECONDS, False
        while not is_ready and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            is_ready = ready(port)
        server.terminate()
        server.wait(30)
    return is_ready


if __name__ == "__main__":
    port = int(os.environ.get("BENTOML_PORT", "3000"))
    sys.exit(0 if (serve_once() if "--serve-once" in sys.argv else ready(port)) else 1)
