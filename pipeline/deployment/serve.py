"""`make serve`: serves the latest Bento in the foreground and prints the page's address."""

import os
import signal
import socket
from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import PipelineError, run_main, say
from pipeline.deployment.bento_server import start, stop, wait_until_ready
from pipeline.files import read_json
from pipeline.paths import REPORTS
from pipeline.registry import handover
from pipeline.tracking import database_url

LOOPBACK = ("127.0.0.1", "::1", "localhost")
FILE_SETTINGS = ("DIGITS_API_KEYS_FILE", "DIGITS_DRAIN_FILE", "DIGITS_MODEL_CACHE")
ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104  (the user's choice)


def main(host: str = "127.0.0.1", port: Annotated[int, typer.Option(min=1, max=65535)] = 3000) -> None:
    """Serve the latest Bento until Ctrl-C."""
    tag = read_json(REPORTS / "bento.json")["bento"]
    check_free(host, port)
    for number in (signal.SIGINT, signal.SIGTERM):  # both raise KeyboardInterrupt, which stops the service below
        signal.signal(number, signal.default_int_handler)
    environment = {  # absolute paths, because the service runs in another folder
        **{name: str(Path(os.environ[name]).absolute()) for name in FILE_SETTINGS if os.environ.get(name)},
        "DIGITS_ALLOWED_HOSTS": allowed_hosts(host),
        "DIGITS_LOG_LEVEL": os.environ.get("DIGITS_LOG_LEVEL", "warning"),  # no line for each request in the console
        "DIGITS_DATABASE_URL": database_url().render_as_string(hide_password=False),
        "DIGITS_MODEL_DIR": handover.destination() or "",
    }
    server = start(tag, host, port, environment=environment)
    try:
        wait_until_ready(server, f"http://{'127.0.0.1' if host in ALL_INTERFACES else host}:{port}")
        name = "localhost" if host in ("127.0.0.1", *ALL_INTERFACES) else host
        say(f"\n  Open http://{name}:{port}   (Ctrl-C stops)\n  {describe_access(host)}\n")
        if status := server.wait():
            raise PipelineError(f"the service ended by itself, with status {status}; its last lines say why")
    except KeyboardInterrupt:
        say("\nstopping")
    finally:
        stop(server)


def allowed_hosts(host: str) -> str:
    """Returns `DIGITS_ALLOWED_HOSTS`, with the address that the service listens on unless it means any address."""
    named = os.environ.get("DIGITS_ALLOWED_HOSTS", "")
    return named if host in ALL_INTERFACES else ",".join(filter(None, [named, host]))


def describe_access(host: str) -> str:
    """Returns sentences on who can access the service."""
    if host in LOOPBACK:
        return "Only this machine can access the service. --host 0.0.0.0 opens it to other machines."
    locked = os.environ.get("DIGITS_API_KEY") or os.environ.get("DIGITS_API_KEYS_FILE")
    key = "with a key" if locked else "without a key"
    parts = [f"Other machines can access the service {key}."]
    if key == "without a key":
        parts.append("Set DIGITS_API_KEY to require one.")
    if host in ALL_INTERFACES and not os.environ.get("DIGITS_ALLOWED_HOSTS"):
        parts.append(f"First set DIGITS_ALLOWED_HOSTS to the name they use, such as {socket.gethostname().lower()}.")
    return " ".join(parts)


def check_free(host: str, port: int) -> None:
    """Raise PipelineError if the service cannot listen on the address and port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {host}:{port} ({error.strerror})"
            raise PipelineError(f"{reason}; choose another port: --port, or make serve PORT=") from None


if __name__ == "__main__":
    run_main(main)
