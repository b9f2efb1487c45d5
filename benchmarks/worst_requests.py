"""The most expensive requests that the service's limits allow, for benchmarks/limits.py."""

import io
import json
from dataclasses import dataclass
from math import isqrt

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.loads import pixels
from benchmarks.peers.work import MAX_BODY_BYTES
from recognition.decoding import MAX_PIXELS
from recognition.image_format import IMAGE_SIZE

SIDE = isqrt(MAX_PIXELS)
IMAGE_ROUTES = ("/predict", "/compare", "/explain", "/predict_number")
PAGES = ("/", "/report", "/model", "/docs.json", "/metrics", "/readyz")
ROUTES = (*IMAGE_ROUTES, "/predict_pixels", "/feedback", *PAGES)


@dataclass(frozen=True)
class Request:
    """A request to repeat. An empty body means GET."""

    name: str
    body: bytes = b""
    content_type: str = "application/json"


def requests_for(route: str) -> list[Request]:
    """The candidates for the most expensive request to a route."""
    if route in IMAGE_ROUTES:
        return [Request(name, content, "image/png") for name, content in pictures().items()]
    if route == "/predict_pixels":
        return pixel_lists()
    if route == "/feedback":
        label = {"request_id": "0" * 32, "label": 1}
        return [
            Request("unknown id", json.dumps(label).encode()),
            Request("id of 1.9 MB", json.dumps({**label, "request_id": "0" * 1_900_000}).encode()),
        ]
    return [Request("GET")]


def pictures() -> dict[str, bytes]:
    """Image files of SIDE x SIDE pixels that are expensive to decode or to search for digits."""
    strokes, specks = drawn_lines(300, 12, 200, 14), drawn_lines(20_000, 2, 9, 3)
    page = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(page)
    for top in range(20, SIDE, 100):
        for left in range(20, SIDE, 100):  # sevens
            draw.line([(left, top), (left + 50, top), (left + 20, top + 70)], fill=0, width=8)
    files = {
        "PNG of strokes": encoded(strokes, "PNG"),
        "PNG of strokes with alpha": encoded(strokes.convert("RGBA"), "PNG"),
        "PNG of 20,000 specks": encoded(specks, "PNG"),
        "PNG of 1,600 sevens with alpha": encoded(page.convert("RGBA"), "PNG"),
        "progressive JPEG of 1,600 sevens": encoded(page.convert("RGB"), "JPEG", quality=30, progressive=True),
        "WebP of strokes": encoded(strokes, "WEBP", quality=50),
    }
    return {name: content for name, content in files.items() if len(content) <= MAX_BODY_BYTES}


def drawn_lines(count: int, points: int, reach: int, width: int) -> Image.Image:
    """Random dark lines on white. `points`: of each line, at most `reach` pixels apart on each axis."""
    random = np.random.default_rng(0)
    image = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(image)
    for start in random.integers(0, SIDE, (count, 2)):
        line = start + np.cumsum(random.integers(-reach, reach + 1, (points, 2)), axis=0)
        draw.line([(int(x), int(y)) for x, y in line], fill=0, width=width)
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel_lists() -> list[Request]:
    """Bodies of `/predict_pixels`: the most images, the same as fractions without a remainder, and no images at all."""
    images = np.random.default_rng(0).integers(0, 256, (256, IMAGE_SIZE, IMAGE_SIZE))
    numbers = b'{"images": [' + b",".join([b"1"] * 990_000) + b"]}"
    return [
        Request("256 images", pixels(images)),
        Request("256 images of floats", pixels(images.astype(float))),
        Request("990,000 numbers", numbers),
    ]
