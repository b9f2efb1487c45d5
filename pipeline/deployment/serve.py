"""`make serve`: the built Bento in the foreground, with a line that says what to open."""

import os
import signal
import socket

import click

from pipeline.console import PipelineError, run_main, say
from pipeline.deployment.bento_server import start, stop, wait_until_ready
from pipeline.files import read_json
from pipeline.paths import REPORTS
from pipeline.registry import handover
from records.database import database_url

LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  (the user's choice; reached as localhost)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True)
def main(host: str, port: int) -> None:
    try:
        tag = read_json(REPORTS / "bento.json")["bento"]
    except FileNotFoundError:
        raise PipelineError("reports/bento.json is missing: nothing was packaged yet; run: make repro") from None
    check_free(host, port)
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends this process ends the service with it
        signal.signal(number, signal.default_int_handler)
    try:
        database = database_url().render_as_string(hide_password=False)
    except ValueError as error:
        raise PipelineError(f"DIGITS_DATABASE_URL: {error}") from None
    # In a terminal, requests are not worth a line each; a container logs them
    environment = {
        "DIGITS_LOG_LEVEL": os.environ.get("DIGITS_LOG_LEVEL", "warning"),
        "DIGITS_DATABASE_URL": database,
        "DIGITS_MODEL_DIR": str(handover.directory() or ""),  # the service's working directory is another
    }
    server = start(tag, host, port, environment=environment)
    try:
        wait_until_ready(server, f"http://{'127.0.0.1' if host in EVERYWHERE else host}:{port}")
        name = "localhost" if host in ("127.0.0.1", *EVERYWHERE) else host
        say(f"\n  Draw a digit at http://{name}:{port}   (Ctrl-C stops)\n  {who_can_reach(host)}\n")
        server.wait()
    except KeyboardInterrupt:
        say("\nstopping")
    finally:
        stop(server)


def who_can_reach(host: str) -> str:
    """Who else can ask the service, in a sentence."""
    if host in LOOPBACK:
        return "Only this machine can reach it; HOST=0.0.0.0 opens it to others."
    if os.environ.get("DIGITS_API_KEY"):
        return "Others can reach it, and need the key in DIGITS_API_KEY for its answers."
    return "Everybody who reaches this machine can use it; DIGITS_API_KEY asks them for a key."


def check_free(host: str, port: int) -> None:
    """Raise PipelineError where another process listens already."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PipelineError(f"{host}:{port} cannot be used ({error.strerror}); choose another: PORT=3001") from None


if __name__ == "__main__":
    run_main(main)
