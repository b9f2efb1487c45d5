"""Draws digits and simulates cameras and scanners."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from recognition.preprocessing import Digit

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
