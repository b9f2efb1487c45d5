"""`make serve`: the built Bento in the foreground, with a line that says what to open."""

import click

from pipeline.bento_server import start, stop, wait_until_ready
from pipeline.files import read_json
from pipeline.paths import REPORTS
from pipeline.terminal import PipelineError, say, stage

LOCAL = ("127.0.0.1", "0.0.0.0", "::")  # noqa: S104  (not bound here: reached as localhost)


def main(*arguments: str) -> None:
    options.main(args=list(arguments), standalone_mode=False)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True)
def options(host: str, port: int) -> None:
    try:
        tag = read_json(REPORTS / "bento.json")["bento"]
    except FileNotFoundError:
        raise PipelineError("reports/bento.json is missing: nothing was packaged yet; run: make repro") from None
    server = start(tag, host, port)
    try:
        shown = "localhost" if host in LOCAL else host
        wait_until_ready(server, f"http://{shown}:{port}")
        say(f"\n  Draw a digit at http://{shown}:{port}   (Ctrl-C stops)\n")
        server.wait()
    except KeyboardInterrupt:
        say("stopping")
    finally:
        if server.poll() is None:
            stop(server)


if __name__ == "__main__":
    stage(main)
