"""Asks a running service from the command line: `python -m serving.client picture.png ...`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from urllib3.util import Retry

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
# Too many at once, or not ready yet: asked again when the service says, or after 1, 2, 4 ... s. Never when unreachable.
PATIENCE = Retry(
    connect=0, read=0, other=0, status=5, backoff_factor=1, status_forcelist=(429, 503), allowed_methods=None,
    respect_retry_after_header=True, raise_on_status=False,
)  # fmt: skip


@click.command()
@click.argument("pictures", nargs=-1, required=True)
@click.option("--url", default="http://localhost:3000", show_default=True, help="Where the service is.")
@click.option("--key", envvar="DIGITS_API_KEY", help="The service's key, if it wants one.  [default: DIGITS_API_KEY]")
@click.option("--model", default="champion", show_default=True, help="The model to ask.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each picture instead of a table.")
def main(pictures: tuple[str, ...], url: str, key: str | None, model: str, as_json: bool) -> None:
    """Ask the service what the digits in PICTURES are: files, folders, or - for a picture on standard input.

    The exit status is 0 when all were answered, 1 when one was not.
    """
    answers = ask_all(read_all(pictures), url.rstrip("/"), key, model)
    if as_json:
        failed = False
        for answer in answers:
            click.echo(json.dumps(answer))
            failed |= "error" in answer
    else:
        failed = show(answers)
    sys.exit(1 if failed else 0)


def read_all(pictures: tuple[str, ...]) -> Iterator[tuple[str, bytes | OSError]]:
    """Name and content of each picture, or why it cannot be read. Raises ClickException for a folder without any."""
    for name in pictures:
        if name == "-":
            yield name, sys.stdin.buffer.read()
        elif Path(name).is_dir():
            found = sorted(file for file in Path(name).rglob("*") if file.suffix.lower() in SUFFIXES)
            if not found:
                raise click.ClickException(f"{name} has no PNG, JPEG, WebP, BMP or GIF in it")
            yield from ((str(file), read(file)) for file in found)
        else:
            yield name, read(Path(name))


def read(file: Path) -> bytes | OSError:
    """The file's content, or what the system says in its place."""
    try:
        return file.read_bytes()
    except OSError as error:
        return error


def ask_all(
    pictures: Iterator[tuple[str, bytes | OSError]], url: str, key: str | None, model: str
) -> Iterator[dict[str, Any]]:
    """The service's answer to each picture with its `file`, or an `error`. Raises ClickException when it cannot be had.

    That is: no service there, another one, or no key for it.
    """
    with requests.Session() as session:
        session.mount(url, HTTPAdapter(max_retries=PATIENCE))
        if key:
            session.headers["Authorization"] = f"Bearer {key}"
        for name, content in pictures:
            if isinstance(content, OSError):
                yield {"file": name, "error": f"the file cannot be read: {content.strerror}"}
                continue
            try:
                response = session.post(f"{url}/predict", params={"model": model}, data=content, timeout=60)
                answer = response.json()
            except requests.JSONDecodeError:
                raise click.ClickException(
                    f"{url} answers {response.status_code} without JSON; is it the service?"
                ) from None
            except requests.RequestException as error:
                raise click.ClickException(
                    f"no answer from {url} ({type(error).__name__}); start the service with `make serve`, or name "
                    "another by --url"
                ) from None
            if response.status_code == 401:
                raise click.ClickException(f"{answer['error']} (--key, or DIGITS_API_KEY)")
            yield {"file": name, **answer}


def show(answers: Iterator[dict[str, Any]]) -> bool:
    """Print a table of all answers; whether one is an error."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("picture", "digit", "confidence", "model", "note", box=None, header_style="bold", pad_edge=False)
    failed = False
    for answer in answers:
        name = Text(answer["file"], overflow="fold")
        if "error" in answer:
            failed = True
            table.add_row(name, "-", "", "", Text(answer["error"], "red"))
            continue
        note = f"uncertain: {answer['reason'].replace('_', ' ')}" if answer["uncertain"] else ""
        digit, model = Text(str(answer["prediction"]), "bold"), f"{answer['model']} {answer['version']}"
        table.add_row(name, digit, f"{answer['confidence']:.2%}", model, Text(note, "yellow"))
    console.print(table)
    return failed


if __name__ == "__main__":
    main(prog_name="python -m serving.client")
