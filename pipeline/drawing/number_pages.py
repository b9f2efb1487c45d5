"""Draws pages of handwritten numbers: separate, touching or photographed digits, in lines.

Lengths are in line heights unless a comment says otherwise.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

KINDS: Final = ("clean", "touching", "photographed")
MAX_LINES: Final = 3
MAX_DIGITS: Final = 10
LINE_HEIGHTS: Final = (50, 110)  # pixels
GAPS: Final = (0.06, 0.4)  # between the boxes of neighbouring digits
TOUCHING_SHARE: Final = 0.35  # of the neighbours in the touching set
BROKEN_SHARE: Final = 0.05  # of the digits in the touching and in the photographed set
THICK_SHARE: Final = 0.4  # of the pages in the touching set, those with the thinnest strokes

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Page:
    """A picture and the numbers on it, from top to bottom."""

    image: Image.Image
    numbers: list[str]


def draw_pages(images: NDArray[np.uint8], labels: NDArray[np.integer], kind: str, count: int, seed: int) -> list[Page]:
    """Draws pages with digits from `images`, uint8 (n, 28, 28) with bright ink, and their `labels` 0..9."""
    widths = stroke_widths(images)
    order = np.argsort(widths, kind="stable")
    by_label = [images[order][labels[order] == digit] for digit in range(10)]
    return [draw_page(by_label, kind, np.random.default_rng((seed, number))) for number in range(count)]


def stroke_widths(images: NDArray[np.uint8]) -> Floats:
    """About the width of the strokes in pixels, (n,): twice the ink over its changes from pixel to pixel."""
    ink = images.astype(np.float32)
    changes = np.abs(np.diff(ink, axis=1)).sum((1, 2)) + np.abs(np.diff(ink, axis=2)).sum((1, 2))
    return np.asarray(2 * ink.sum((1, 2)) / changes, np.float32)


def draw_page(by_label: Sequence[NDArray[np.uint8]], kind: str, random: np.random.Generator) -> Page:
    """Draws one page as one pen would. `by_label` has the images of each digit, from thin to thick strokes."""
    height = int(random.integers(*LINE_HEIGHTS))
    numbers = [
        "".join(map(str, random.integers(0, 10, random.integers(1, MAX_DIGITS + 1))))
        for _ in range(random.integers(1, MAX_LINES + 1))
    ]
    pen = random.random()
    thicker = random.uniform(0.02, 0.05) if kind == "touching" and pen < THICK_SHARE else 0.0
    drawn = []
    for number in numbers:
        glyphs = [enlarge(choose(by_label[int(digit)], pen, random), height, random) for digit in number]
        if thicker:
            glyphs = [thicken(glyph, round(height * thicker)) for glyph in glyphs]
        if kind != "clean":
            glyphs = [broken(glyph, random) if random.random() < BROKEN_SHARE else glyph for glyph in glyphs]
        drawn.append(draw_line(glyphs, height, TOUCHING_SHARE if kind == "touching" else 0.0, random)[0])
    ink = stack(drawn, height, random)
    image = photograph(ink, height, random) if kind == "photographed" else on_white(ink)
    return Page(image, numbers)


def choose(images: NDArray[np.uint8], pen: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """One of the images, sorted by the width of their strokes, near the position `pen` in 0..1."""
    position = np.clip(pen + random.uniform(-0.1, 0.1), 0, 1)
    chosen: NDArray[np.uint8] = images[round(position * (len(images) - 1))]
    return chosen


def enlarge(image: NDArray[np.uint8], height: int, random: np.random.Generator) -> Floats:
    """The digit at about the line's height, with sharp edges: ink in 0..1, cropped."""
    rows, columns = np.flatnonzero(image.max(1) > 64), np.flatnonzero(image.max(0) > 64)
    cropped = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = height * random.uniform(0.85, 1.05) / max(cropped.shape[0], 0.8 * cropped.shape[1])
    padded = Image.fromarray(np.pad(cropped, 2))
    size = max(round(factor * padded.width), 6), max(round(factor * padded.height), 6)
    enlarged = np.asarray(padded.resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    return crop(np.asarray(np.clip((enlarged - 0.25) * 3, 0, 1), np.float32))


def crop(ink: Floats) -> Floats:
    """Without the empty rows and columns around the ink; all of it if there is hardly any."""
    rows, columns = np.flatnonzero(ink.max(1) > 0.3), np.flatnonzero(ink.max(0) > 0.3)
    if not len(rows):
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thicken(ink: Floats, pixels: int) -> Floats:
    """Strokes that are wider by about `pixels`."""
    image = Image.fromarray(np.pad(np.rint(ink * 255).astype(np.uint8), pixels))
    return np.asarray(image.filter(ImageFilter.MaxFilter(pixels // 2 * 2 + 1)), np.float32) / np.float32(255)


def broken(ink: Floats, random: np.random.Generator) -> Floats:
    """With a narrow gap across its strokes, as a dry pen leaves it."""
    gap = max(2, round(len(ink) * random.uniform(0.03, 0.07)))
    start = int(random.uniform(0.3, 0.7) * len(ink))
    ink = ink.copy()
    ink[start : start + gap] = 0
    return ink


def draw_line(
    glyphs: list[Floats], height: int, touching: float, random: np.random.Generator
) -> tuple[Floats, NDArray[np.uint8]]:
    """The digits side by side, on a slightly uneven baseline. A share of the neighbours touches.

    Returns the ink, and for each pixel of it the number of its digit, from 1; 0 is paper.
    """
    canvas = np.zeros((2 * height, round(2.2 * height * len(glyphs)) + height), np.float32)
    owners = np.zeros(canvas.shape, np.uint8)
    right = 0
    for index, glyph in enumerate(glyphs):
        top = min(round(1.6 * height - len(glyph) + height * random.normal(0, 0.03)), 2 * height - len(glyph))
        rows = slice(top, top + len(glyph))
        if index and random.random() < touching:
            left = right - distance(canvas[rows, :right], glyph) - round(height * random.uniform(0, 0.03))
        else:
            left = right + round(height * random.uniform(*GAPS)) if index else 0
        left = max(left, 0)
        window = canvas[rows, left : left + glyph.shape[1]]
        np.maximum(window, glyph, out=window)
        owners[rows, left : left + glyph.shape[1]][glyph > 0.5] = index + 1
        right = left + glyph.shape[1]
    width = int(np.flatnonzero(canvas.max(0))[-1]) + 1
    return canvas[:, :width], owners[:, :width]


def distance(left: Floats, right: Floats) -> int:
    """By how many columns two boxes side by side can approach until their ink meets."""
    ends = np.where((left > 0.3).any(1), (left[:, ::-1] > 0.3).argmax(1), left.shape[1])
    starts = np.where((right > 0.3).any(1), (right > 0.3).argmax(1), right.shape[1])
    return int((ends + starts).min())


def stack(lines: list[Floats], height: int, random: np.random.Generator) -> Floats:
    """The lines below each other, with margins."""
    pitch = round(height * random.uniform(1.4, 1.9))
    margin = round(height * random.uniform(0.3, 1.0))
    width = max(line.shape[1] for line in lines) + 3 * margin
    canvas = np.zeros((pitch * (len(lines) - 1) + 2 * height + 2 * margin, width), np.float32)
    for number, line in enumerate(lines):
        left = margin + int(random.uniform(0, margin))
        window = canvas[margin + number * pitch :, left : left + line.shape[1]][: len(line)]
        np.maximum(window, line, out=window)
    return canvas


def on_white(ink: Floats) -> Image.Image:
    """Dark ink on white."""
    return Image.fromarray(np.rint(255 * (1 - 0.9 * ink)).astype(np.uint8))


def photograph(ink: Floats, height: int, random: np.random.Generator) -> Image.Image:
    """A photograph of ruled, squared or plain paper: colours, perspective, uneven light, blur, noise, JPEG."""
    rows, columns = ink.shape
    paper = rule(np.tile(random.uniform(0.82, 1, 3).astype(np.float32), (rows, columns, 1)), height, random)
    pen = np.array([[0.12, 0.12, 0.14], [0.1, 0.15, 0.5], [0.35, 0.35, 0.37]], np.float32)[random.integers(3)]
    colours = paper * (1 - ink[..., None]) + pen * ink[..., None]
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j].astype(np.float32)
    angle, depth = random.uniform(0, 2 * np.pi), random.uniform(0, 0.45)
    light = 0.95 - depth * (0.5 + 0.5 * (np.cos(angle) * (2 * x - 1) + np.sin(angle) * (2 * y - 1)) / 1.5)
    if random.random() < 0.3:  # the shadow of a hand
        edge = (x - random.uniform(0.2, 0.8)) * np.cos(angle) + (y - 0.5) * np.sin(angle)
        light *= 1 - random.uniform(0.15, 0.35) / (1 + np.exp(-edge * random.uniform(10, 60)))
    colours = colours * light[..., None]
    image = Image.fromarray(np.rint(np.clip(colours, 0, 1) * 255).astype(np.uint8))
    image = tilt(image, random).filter(ImageFilter.GaussianBlur(random.uniform(0, 0.02) * height))
    noisy = np.asarray(image, np.float32) + random.normal(0, random.uniform(1, 6), (*image.size[::-1], 3))
    encoded = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=int(random.integers(50, 90)))
    return Image.open(encoded)


def rule(paper: Floats, height: int, random: np.random.Generator) -> Floats:
    """Paper with lines, squares or neither; the lines are lighter than the ink."""
    kind, pitch = random.integers(3), max(round(height * random.uniform(0.35, 1.2)), 12)
    thickness, strength = max(1, round(height * 0.015)), random.uniform(0.1, 0.3)
    colour = 1 - strength * np.array([1, 0.7, 0.3], np.float32)
    for offset in range(thickness):
        if kind:
            paper[offset + pitch // 2 :: pitch] *= colour
        if kind == 2:
            paper[:, offset + pitch // 3 :: pitch] *= colour
    return paper


def tilt(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Seen from slightly aside: each corner moves inwards by up to 3% of the shorter side."""
    width, height = image.size
    move = random.uniform(0, 0.03 * min(width, height), 8)
    corners = move * np.tile([1, 1, 1, -1, -1, -1, -1, 1], 1) + [0, 0, 0, height, width, height, width, 0]
    return image.transform(image.size, Image.Transform.QUAD, corners.tolist(), Image.Resampling.BICUBIC)
