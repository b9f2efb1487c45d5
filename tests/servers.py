"""What the servers of tests share."""

import socket
import subprocess
import time

START_SECONDS = 30.0


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server that was just started accepts connections on loopback. Fails if it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, f"{process.args} did not start"
            time.sleep(0.05)
