"""The load of benchmarks/serving.py: request bodies, wrk, and checks of the answers."""

import io
import json
import os
import random
import string
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.servers import Server, cpu_seconds
from pipeline.paths import ROOT
from recognition.image_format import IMAGE_SIZE


@dataclass(frozen=True)
class Load:
    """A request to repeat: a route of our service, a body, and the number of images in it."""

    name: str
    route: str
    body: bytes
    content_type: str
    images: int = 1

    def body_for(self, server: Server) -> bytes:
        """The body with the JSON key that a server expects."""
        return self.body.replace(b'"images"', f'"{server.envelope}"'.encode(), 1)


@dataclass(frozen=True)
class Measured:
    """Results of one server under one load."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: int


def loads(folder: Path) -> list[Load]:
    """One image, two PNG files of 280x280 and 256 images, from the known digits in the folder of the model.

    The first PNG file is an enlarged image with blurred edges, which preprocessing treats as a photograph. The second
    one is a drawing as the page sends it.
    """
    with np.load(folder / "known_digits.npz") as known:
        digits = known["images"]
    many = np.resize(digits, (256, IMAGE_SIZE, IMAGE_SIZE))
    paper = Image.new("L", (280, 280), 255)
    paper.paste(Image.fromarray(255 - digits[3]).resize((224, 224), Image.Resampling.BICUBIC), (28, 28))
    boundary = "boundary5f2d"
    form_type = f"multipart/form-data; boundary={boundary}"
    return [
        Load("pixels", "/predict_pixels", pixels(digits[3:4]), "application/json"),
        Load("PNG file", "/predict", form(paper.convert("RGB"), boundary), form_type),
        Load("drawing", "/predict", form(drawing(), boundary), form_type),
        Load("256 images", "/predict_pixels", pixels(many), "application/json", images=256),
    ]


def drawing() -> Image.Image:
    """A 5 in black strokes on white, 280x280, with the smooth edges of a browser's canvas."""
    image = Image.new("RGB", (1120, 1120), "white")
    pen = ImageDraw.Draw(image)
    bowl = [(390, 480), (600, 420), (760, 540), (740, 760), (580, 880), (380, 820)]
    for stroke in ([(780, 240), (420, 240)], [(420, 240), *bowl]):
        pen.line(stroke, "black", 80, joint="curve")
        for x, y in stroke:
            pen.ellipse((x - 40, y - 40, x + 40, y + 40), "black")
    return image.resize((280, 280), Image.Resampling.LANCZOS)


def form(image: Image.Image, boundary: str) -> bytes:
    """A form with a PNG file in the field `image`."""
    png = io.BytesIO()
    image.save(png, "PNG")
    lines = ['Content-Disposition: form-data; name="image"; filename="a.png"', "Content-Type: image/png", "", ""]
    return "\r\n".join([f"--{boundary}", *lines]).encode() + png.getvalue() + f"\r\n--{boundary}--\r\n".encode()


def pixels(images: Any) -> bytes:
    """The body of `/predict_pixels` for uint8 (n, 28, 28)."""
    return json.dumps({"images": images.tolist()}).encode()


def run_wrk(server: Server, load: Load, connections: int, seconds: float, folder: Path) -> Measured:
    """Loads a running server with wrk for some seconds. `folder`: for the body."""
    assert server.process
    before = cpu_seconds(server.process)
    url = server.url + server.paths[load.route]
    result = wrk(url, load.body_for(server), load.content_type, connections, seconds, folder)
    cpu = cpu_seconds(server.process) - before
    cpu_ms = cpu / max(result["requests"], 1) * 1000
    per_second = result["requests"] / result["seconds"]
    return Measured(per_second, result["p50_ms"], result["p99_ms"], cpu_ms, int(result["errors"]))


def wrk(url: str, body: bytes, content_type: str, connections: int, seconds: float, folder: Path) -> dict[str, float]:
    """Runs wrk: POST, or GET if the body is empty. Returns requests, seconds, p50_ms, p99_ms and errors."""
    file = folder / "body"
    file.write_bytes(body)
    script = str(ROOT / "benchmarks" / "load.lua")
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", script]
    environment = {**os.environ, "BODY": str(file), "CONTENT_TYPE": content_type}
    done = subprocess.run(["wrk", *options, url], env=environment, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def check_answers(started: list[Server], load: Load) -> None:
    """Exits unless all servers with a model predict the same classes."""
    predictions = {}
    for server in started:
        if load.route not in server.paths or server.name == "bare ASGI echo":
            continue
        url = server.url + server.paths[load.route]
        request = urllib.request.Request(url, load.body_for(server), {"Content-Type": load.content_type})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        if "predictions" in answer:  # MLflow's
            predictions[server.name] = [int(np.argmax(row)) for row in answer["predictions"]]
        else:
            rows = answer if isinstance(answer, list) else answer.get("results", [answer])
            predictions[server.name] = [row["prediction"] for row in rows]
    if len(set(map(str, predictions.values()))) != 1:
        sys.exit(f"the servers predict different classes for the load {load.name!r}: {predictions}")


def metrics_growth(server: Server, paths: int = 300) -> dict[str, int]:
    """Lines and bytes of `/metrics` before and after requests to random paths."""
    generator = random.Random(0)  # noqa: S311

    def size() -> tuple[int, int]:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as response:  # noqa: S310
            text = response.read()
        return text.count(b"\n"), len(text)

    before = size()
    for _ in range(paths):
        path = "".join(generator.choices(string.ascii_letters, k=20))
        try:
            urllib.request.urlopen(f"{server.url}/{path}", timeout=30).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
    after = size()
    return {"paths": paths, "lines_before": before[0], "lines_after": after[0], "bytes_after": after[1]}
