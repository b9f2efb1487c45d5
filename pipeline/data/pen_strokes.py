"""Synthetic digits drawn with pen strokes, in common handwritten forms that are rare in MNIST."""

import numpy as np
from numpy.typing import NDArray

from recognition.image_format import BOX_SIZE, IMAGE_SIZE

Floats = NDArray[np.floating]
Path = tuple[tuple[float, float], ...]

STROKE_WIDTHS = (0.8, 4.5)  # pixels, minimum and maximum
PIECES = 4  # straight segments that approximate one bent line

_LOOP = tuple((0.5 + 0.5 * np.sin(turn), 0.3 - 0.3 * np.cos(turn)) for turn in np.linspace(1.2, 2 * np.pi + 1.2, 10))
# Class and strokes of each form; a stroke is a list of corners as (column, row) in the unit square
FORMS: dict[str, tuple[int, tuple[Path, ...]]] = {
    "1 with an upstroke": (1, (((0.05, 0.4), (0.6, 0.0), (0.55, 1.0)),)),
    "1 with an upstroke and a base": (1, (((0.1, 0.3), (0.55, 0.0), (0.55, 1.0)), ((0.1, 1.0), (0.95, 1.0)))),
    "pointed 4": (4, (((0.7, 0.0), (0.0, 0.65), (1.0, 0.65)), ((0.7, 0.0), (0.7, 1.0)))),
    "closed 4": (4, (((0.7, 0.3), (0.65, 0.0), (0.0, 0.6), (1.0, 0.6)), ((0.7, 0.2), (0.68, 1.0)))),
    "crossed 7": (7, (((0.0, 0.02), (1.0, 0.0), (0.35, 1.0)), ((0.25, 0.52), (0.9, 0.48)))),
    "crossed 7 with a serif": (7, (((0.0, 0.2), (0.02, 0.0), (1.0, 0.0), (0.4, 1.0)), ((0.3, 0.5), (0.95, 0.5)))),
    "9 with a straight leg": (9, ((*_LOOP, (0.98, 0.05), (0.98, 1.0)),)),
}


def draw_digits(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns images, uint8 (count, 28, 28) with bright ink, and labels (count,); the forms alternate."""
    random = np.random.default_rng(seed)
    images, labels = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8), np.zeros(count, np.uint8)
    for index, (label, paths) in enumerate([*FORMS.values()][:count]):
        selected = slice(index, None, len(FORMS))
        images[selected], labels[selected] = _draw_form(len(labels[selected]), paths, random), label
    return images, labels


def _draw_form(count: int, paths: tuple[Path, ...], random: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one form `count` times with random proportions, slant, stroke width and corners."""
    width = np.exp(random.uniform(np.log(STROKE_WIDTHS[0]), np.log(STROKE_WIDTHS[1]), count))
    narrow, slant = random.uniform(0.35, 0.8, count), random.normal(0, 0.15, count)
    strokes = []
    for path in paths:
        deviation = np.full((len(path), 1), 0.05 if len(path) < 6 else 0.025)
        deviation[0] = 0.08  # writers differ most in the start of a stroke
        corners = np.array(path) + deviation * random.normal(size=(count, len(path), 2))
        strokes.append(_bend(corners, random))
    lines = np.concatenate(strokes, axis=1)  # (n, segments, 2 ends, 2: column and row)
    row = lines[..., 1]
    column = lines[..., 0] * narrow[:, None, None] - (row - 0.5) * slant[:, None, None]
    ends = np.stack([row, column], axis=-1)
    low, high = ends.min(axis=(1, 2)), ends.max(axis=(1, 2))
    size = (BOX_SIZE - width) / (high - low).max(axis=1)
    ends = (ends - ((low + high) / 2)[:, None, None]) * size[:, None, None, None] + IMAGE_SIZE / 2 - 0.5
    blank = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    drawn = draw(blank, ends, width)
    axis, mass = np.arange(IMAGE_SIZE), drawn.sum(axis=(1, 2))
    centre = np.stack([drawn.sum(axis=2) @ axis, drawn.sum(axis=1) @ axis], axis=1) / mass[:, None]
    ends = ends - np.rint(centre - IMAGE_SIZE / 2)[:, None, None]
    return np.asarray(np.rint(draw(blank, ends, width) * 255), np.uint8)


def _bend(corners: Floats, random: np.random.Generator) -> Floats:
    """Connect `corners` (n, k, 2) by slightly bent lines; returns segments (n, pieces, 2, 2)."""
    start, step = corners[:, :-1], np.diff(corners, axis=1)
    along = np.linspace(0, 1, PIECES + 1)
    bow = random.normal(0, 0.04, (*step.shape[:2], 1, 1)) * np.sin(np.pi * along)[:, None]
    sideways = np.stack([-step[..., 1], step[..., 0]], axis=-1)[:, :, None]
    points = start[:, :, None] + along[:, None] * step[:, :, None] + bow * sideways
    segments = np.stack([points[:, :, :-1], points[:, :, 1:]], axis=3)
    return np.asarray(segments.reshape(len(corners), -1, 2, 2))


def draw(images: NDArray[np.float32], ends: Floats, width: float | Floats) -> NDArray[np.float32]:
    """Draw anti-aliased lines of brightness 1 on copies of images (n, 28, 28) of 0..1.

    `ends`: (n, segments, 2, 2), start and end as (row, column); `width`: pixels, a number or (n,).
    """
    axis = np.arange(IMAGE_SIZE, dtype=np.float32)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    reach = np.asarray(np.broadcast_to(width, len(images)) / 2 + 0.5, np.float32)[:, None, None]
    drawn = images.copy()
    for segment in np.moveaxis(ends.astype(np.float32), 1, 0)[..., None, None]:
        start, step = segment[:, 0], segment[:, 1] - segment[:, 0]
        length = np.maximum((step**2).sum(axis=1), 1e-6)
        along = ((rows - start[:, 0]) * step[:, 0] + (columns - start[:, 1]) * step[:, 1]) / length
        along = np.clip(along, 0, 1)
        distance = np.hypot(rows - start[:, 0] - along * step[:, 0], columns - start[:, 1] - along * step[:, 1])
        np.maximum(drawn, np.clip(reach - distance, 0, 1), out=drawn)
    return drawn
