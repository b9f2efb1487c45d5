"""Queries a running service from the command line: `python -m serving.client picture.png ...`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import requests
import typer
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text
from urllib3.util import Retry

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}
# Retries while the service is busy or loads its models, after Retry-After or 1, 2, 4 ... s; not if it is unreachable.
RETRIES = Retry(
    connect=0, read=0, other=0, status=5, backoff_factor=1, status_forcelist=(429, 503), allowed_methods=None,
    respect_retry_after_header=True, raise_on_status=False,
)  # fmt: skip


class ClientError(typer.TyperException):
    """There is no picture, no service, another service, or the key is wrong."""


def main(
    pictures: list[str],
    url: str = "http://localhost:3000",
    key: Annotated[str, typer.Option(envvar="DIGITS_API_KEY")] = "",
    model: str = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per picture.")] = False,
) -> int:
    """Recognise the digits in PICTURES: files, folders, or - for a picture on standard input.

    Returns the exit status: 0 if the service answered all pictures, otherwise 1.
    """
    url, failed = url.rstrip("/"), False
    classes: list[str] = []
    table = Table("picture", "prediction", "confidence", "model", "note", box=None, header_style="bold", pad_edge=False)
    with requests.Session() as session:
        session.mount(url, HTTPAdapter(max_retries=RETRIES))
        if key:
            session.headers["Authorization"] = f"Bearer {key}"
        for name in find_files(pictures):
            try:
                content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
            except OSError as error:
                answer: dict[str, Any] = {"error": f"the file cannot be read: {error.strerror}"}
            else:
                answer = predict(session, url, model, content)
            failed |= "error" in answer
            if as_json:
                print(json.dumps({"file": name, **answer}), flush=True)
            else:
                if "error" not in answer and not classes:
                    classes = session.get(f"{url}/model", timeout=60).json()["classes"]
                table.add_row(Text(name, overflow="fold"), *cells(answer, classes))
    if not as_json:
        Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 1 if failed else 0


def find_files(pictures: list[str]) -> Iterator[str]:
    """Yields names of files, also of those inside folders. Raises ClientError for a folder without pictures."""
    for name in pictures:
        if name == "-" or not Path(name).is_dir():
            yield name
            continue
        found = sorted(file for file in Path(name).rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ClientError(f"{name} has no PNG, JPEG, WebP, BMP or GIF in it")
        yield from map(str, found)


def predict(session: requests.Session, url: str, model: str, content: bytes) -> dict[str, Any]:
    """The service's answer to a picture, or its `error`.

    Raises ClientError if there is no service, another service, or a wrong key.
    """
    try:
        response = session.post(f"{url}/predict", params={"model": model}, data=content, timeout=60)
        answer: dict[str, Any] = response.json()
    except requests.JSONDecodeError:
        raise ClientError(f"{url} answers {response.status_code} without JSON; is it the service?") from None
    except requests.RequestException as error:
        reason = f"no answer from {url} ({type(error).__name__})"
        raise ClientError(f"{reason}; start the service with: digits serve, or set --url") from None
    if response.status_code == 401:
        raise ClientError(f"{answer['error']} (--key, or DIGITS_API_KEY)")
    return answer


def cells(answer: dict[str, Any], classes: list[str]) -> tuple[str | Text, ...]:
    """The table's cells for an answer, after the name of the picture. `classes`: the names of the classes."""
    if "error" in answer:
        return "-", "", "", Text(answer["error"], "red")
    reason = answer["reason"] or ""
    if reason == "not_a_digit" and classes != list("0123456789"):
        reason = "unlike_the_training_images"
    note = f"uncertain: {reason.replace('_', ' ')}" if answer["uncertain"] else ""
    name, model = Text(classes[answer["prediction"]], "bold"), f"{answer['model']} {answer['version']}"
    return name, f"{answer['confidence']:.2%}", model, Text(note, "yellow")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(error.exit_code)
