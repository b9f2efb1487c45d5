"""Draws digits and simulates cameras and scanners."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFilter

from recognition.preprocessing import Digit

HUNDRED_DIGITS = Path(__file__).parent / "fixtures" / "drawn_digits.yaml"

SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.4, 0.85)]


def draw(points=SEVEN, size=(280, 280), width=20, ink=(0, 0, 0), paper=(255, 255, 255)) -> Image.Image:
    """Draws a polyline with round joints. `points` are relative to the size of the image (0..1)."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    path = [(x * size[0], y * size[1]) for x, y in points]
    pen.line(path, fill=ink, width=width, joint="curve")
    for x, y in path:
        pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=ink)
    return image


def likeness(first: Digit, second: Digit) -> float:
    """Correlation of two blurred digits: high despite a shift by a pixel, low for another shape."""
    a, b = (Image.fromarray(digit.pixels).filter(ImageFilter.GaussianBlur(1)) for digit in (first, second))
    return float(np.corrcoef(np.asarray(a).ravel(), np.asarray(b).ravel())[0, 1])


def lit(image: Image.Image, light: np.ndarray, noise: float = 3.0) -> Image.Image:
    """Simulates a photograph under `light` (height, width), in 0..1, with sensor noise."""
    shaded = np.asarray(image, np.float32) * light[..., None]
    shaded += np.random.default_rng(0).normal(0, noise, shaded.shape)
    return Image.fromarray(shaded.clip(0, 255).astype(np.uint8))


def slope(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column coordinates (height, width) of an image, from -1 to 1."""
    return np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")


def hundred_digits(side: int = 280) -> list[tuple[int, Image.Image]]:
    """The digits of HUNDRED_DIGITS and pictures of them, dark on white, `side` pixels wide and high."""
    entries = yaml.safe_load(HUNDRED_DIGITS.read_text())
    return [(entry["digit"], draw_strokes(entry, side)) for entry in entries]


def draw_strokes(entry: dict[str, Any], side: int) -> Image.Image:
    """Draws an entry of HUNDRED_DIGITS."""
    image = Image.new("RGB", (side, side), "white")
    pen, width = ImageDraw.Draw(image), entry["width"] * side / 100
    for stroke in entry["strokes"]:
        points = np.array([point.split(",") for point in stroke.split()], float) * side / 100
        path = smooth(points)
        pen.line([(x, y) for x, y in path], fill=(0, 0, 0), width=round(width))
        for x, y in path:
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=(0, 0, 0))
    return image


def smooth(points: np.ndarray, steps: int = 10) -> np.ndarray:
    """A Catmull-Rom spline (Catmull and Rom, 1974) through points (n, 2); equal neighbours are corners."""
    before, after = np.vstack([points[:1], points[:-1]]), np.vstack([points[1:], points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(before[:-1], points[:-1], points[1:], after[1:], strict=True)
        if (b != c).any()
    ]
    return np.concatenate([*parts, points[-1:]])
