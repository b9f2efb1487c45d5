"""The ways to ask the service that the documents name: curl, the client of this repository, BentoML's client."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest
from PIL import Image, ImageDraw

from pipeline.deployment.bento_server import free_port
from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project, drawn_digits, serve

pytestmark = pytest.mark.slow

KEY = "a key for tests"
ANSWER = {"prediction", "confidence", "probabilities", "model", "version", "uncertain", "reason"}


def ones(count: int) -> bytes:
    """A picture of so many ones side by side."""
    image = Image.new("L", (200 * count, 200), 255)
    pen = ImageDraw.Draw(image)
    for number in range(count):
        pen.line([(200 * number + 100, 40), (200 * number + 100, 160)], fill=0, width=14)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The files that the documented examples name."""
    (tmp_path / "digit.png").write_bytes(ones(1))
    (tmp_path / "number.png").write_bytes(ones(3))
    (tmp_path / "pixels.json").write_text(json.dumps({"images": drawn_digits(1)[0].tolist()}))
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "one.PNG").write_bytes(ones(1))
    (tmp_path / "scans" / "notes.txt").write_text("not a picture")
    return tmp_path


@pytest.fixture(scope="module")
def locked(project: Project) -> Iterator[str]:
    """The service with a key."""
    with serve(project, read_json(project.folder / "reports" / "bento.json")["bento"], DIGITS_API_KEY=KEY) as url:
        yield url


def examples(language: str) -> list[str]:
    """The code blocks of the README and the usage guide in a language."""
    pages = (REPOSITORY / "README.md", REPOSITORY / "docs" / "usage.md")
    return [block for page in pages for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)]


def command_lines(program: str) -> list[str]:
    """The lines of the documented shell commands that start with a program, each line once."""
    lines = [line.split("  #")[0].rstrip() for block in examples("bash") for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith(f"{program} ")))


@pytest.mark.parametrize("line", command_lines("curl"))
def test_the_documented_curl_commands_work_as_written(service: str, pictures: Path, line: str) -> None:
    command = line.replace("http://localhost:3000", service).replace("curl ", "curl --fail-with-body -sS ", 1)
    assert service in command
    environment = {**os.environ, "DIGITS_API_KEY": KEY}
    done = subprocess.run(["bash", "-c", command], cwd=pictures, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    route = re.search(r"localhost:3000(/\w+)", line)
    assert route
    expected = {
        "/predict": ANSWER | {"request_id"},
        "/compare": {"pixels", "results", "champion", "request_id"},
        "/explain": {"label", "maps"},
        "/predict_number": {"number", "confidence", "digits", "request_id"},
        "/predict_pixels": {"results"},
        "/model": {"service_version", "dataset", "classes", "champion", "models"},
    }
    assert answer.keys() == expected[route[1]]
    assert len(answer.get("results", [])) == {"/compare": 2, "/predict_pixels": 10}.get(route[1], 0)


def test_every_prediction_route_has_a_curl_command() -> None:
    routes = {re.sub(r".*localhost:3000(/\w+).*", r"\1", line) for line in command_lines("curl")}
    assert routes == {"/predict", "/compare", "/explain", "/predict_number", "/predict_pixels", "/model"}


def test_the_documented_curl_command_with_a_key_is_accepted(locked: str, pictures: Path) -> None:
    (line,) = [line for line in command_lines("curl") if "Bearer" in line]
    for key, status in ((KEY, 0), ("another key", 22)):
        command = line.replace("http://localhost:3000", locked).replace("curl ", "curl --fail -sS ", 1)
        done = subprocess.run(
            ["bash", "-c", command], cwd=pictures, env={**os.environ, "DIGITS_API_KEY": key}, capture_output=True
        )
        assert done.returncode == status


@pytest.fixture
def prepared(project: Project, pictures: Path) -> Iterator[Project]:
    """The small project with the example files in its folder."""
    names = [path.name for path in pictures.iterdir()]
    shutil.copytree(pictures, project.folder, dirs_exist_ok=True)
    yield project
    for name in [*names, "predictions.parquet"]:
        path = project.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def test_the_documented_digits_commands_work_as_written(prepared: Project, service: str) -> None:
    lines = command_lines("digits")
    assert {line.split()[1] for line in lines} == {"ask", "predict"}
    for line in lines:
        output = prepared.run("bash", "-c", line.replace("digits ask", f"digits ask --url {service}"))
        assert "one.PNG" in output if "ask" in line else (prepared.folder / "predictions.parquet").exists()


@pytest.mark.parametrize("code", examples("python"))
def test_the_documented_python_examples_work_as_written(prepared: Project, service: str, code: str) -> None:
    code = code.replace("http://localhost:3000", service).replace("mnist-classifier", "optdigits-classifier")
    prepared.run(sys.executable, "-c", code)


def client(*arguments: str, status: int = 0, content: bytes = b"", **environment: str) -> tuple[str, str]:
    """Run `python -m serving.client`; what it wrote to standard output and error."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.client", *arguments],
        cwd=REPOSITORY, input=content, env={**os.environ, **environment}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == status, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def test_the_client_prints_a_table(service: str, pictures: Path) -> None:
    (pictures / "blank.png").write_bytes(blank())
    said, _ = client(str(pictures / "scans"), str(pictures / "blank.png"), "-", "--url", service, content=ones(1))
    header, scan, empty, piped = said.splitlines()
    assert header.split() == ["picture", "prediction", "confidence", "model", "note"]
    assert scan.startswith(str(pictures / "scans" / "one.PNG")) and "%" in scan
    assert empty.rstrip().endswith("uncertain: blank") and piped.startswith("- ")


def blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (100, 100), 255).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_client_gives_json_a_line_for_each_picture(service: str, pictures: Path) -> None:
    said, _ = client(
        str(pictures / "digit.png"), "-", "--json", "--url", f"{service}/", "--model", "mlp", content=ones(1)
    )
    one, other = map(json.loads, said.splitlines())
    assert one.keys() == ANSWER | {"request_id", "file"} and one["model"] == "mlp"
    assert (one["file"], other["file"]) == (str(pictures / "digit.png"), "-")
    assert one["probabilities"] == other["probabilities"]


def test_what_cannot_be_answered_is_told_beside_what_can(service: str, pictures: Path) -> None:
    (pictures / "text.png").write_text("a text")
    names = [str(pictures / name) for name in ("digit.png", "text.png", "missing.png")]
    said, _ = client(*names, "--json", "--url", service, status=1)
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["file"] for row in rows] == names
    assert "prediction" in rows[0] and "send PNG" in rows[1]["error"] and "No such file" in rows[2]["error"]
    table, _ = client(*names, "--url", service, status=1)
    assert "send PNG" in table and "No such file" in table


def test_the_client_sends_its_key(locked: str, pictures: Path) -> None:
    picture = str(pictures / "digit.png")
    client(picture, "--url", locked, "--key", KEY)
    client(picture, "--url", locked, DIGITS_API_KEY=KEY)
    for given in ({}, {"DIGITS_API_KEY": "another key"}):
        _, said = client(picture, "--url", locked, status=1, **given)
        assert said.startswith("error: ") and "--key, or DIGITS_API_KEY" in said and "Traceback" not in said


def test_without_a_service_the_client_says_how_to_start_one(pictures: Path) -> None:
    _, said = client(str(pictures / "digit.png"), "--url", f"http://127.0.0.1:{free_port()}", status=1)
    assert said.startswith("error: no answer from http://127.0.0.1:") and "digits serve" in said
    _, said = client(str(pictures), "--url", "http://127.0.0.1:1", status=1)
    assert said.startswith("error: no answer")
    (pictures / "empty").mkdir()
    _, said = client(str(pictures / "empty"), status=1)
    assert "has no PNG, JPEG, WebP, BMP or GIF in it" in said
    client(status=2)


class Busy(BaseHTTPRequestHandler):
    """Refuses every other request with 429, as a service with a limit does, but only for a second."""

    seen: ClassVar[list[float]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.seen.append(time.monotonic())
        status = 200 if len(self.seen) % 2 == 0 else 429
        body = json.dumps({"prediction": 1} if status == 200 else {"error": "wait"}).encode()
        self.send_response(status)
        self.send_header("retry-after", "1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_the_client_waits_as_long_as_it_is_asked_to(pictures: Path) -> None:
    picture = str(pictures / "digit.png")
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        said, _ = client(picture, picture, "--json", "--url", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert [json.loads(line) for line in said.splitlines()] == [{"file": picture, "prediction": 1}] * 2
    assert len(Busy.seen) == 4 and Busy.seen[1] - Busy.seen[0] >= 1 <= Busy.seen[3] - Busy.seen[2]
