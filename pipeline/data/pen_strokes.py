"""Pen strokes: drawn by code, for forms of digits that people write and MNIST hardly has."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating]
Path = tuple[tuple[float, float], ...]

SIDE = 28
BOX = 20  # MNIST's digits fill a box of 20x20 pixels, centred by mass
WIDTHS = (0.8, 4.5)  # pixels, from a hairline to a marker
BENDS = 4  # straight pieces of each line, so that it can bow

_LOOP = tuple((0.5 + 0.5 * np.sin(turn), 0.3 - 0.3 * np.cos(turn)) for turn in np.linspace(1.2, 2 * np.pi + 1.2, 10))
# Class and strokes of each form: corners as (column, row) in a unit square, drawn one after the other
FORMS: dict[str, tuple[int, tuple[Path, ...]]] = {
    "1 with an upstroke": (1, (((0.05, 0.4), (0.6, 0.0), (0.55, 1.0)),)),
    "1 with an upstroke and a base": (1, (((0.1, 0.3), (0.55, 0.0), (0.55, 1.0)), ((0.1, 1.0), (0.95, 1.0)))),
    "pointed 4": (4, (((0.7, 0.0), (0.0, 0.65), (1.0, 0.65)), ((0.7, 0.0), (0.7, 1.0)))),
    "closed 4": (4, (((0.7, 0.3), (0.65, 0.0), (0.0, 0.6), (1.0, 0.6)), ((0.7, 0.2), (0.68, 1.0)))),
    "crossed 7": (7, (((0.0, 0.02), (1.0, 0.0), (0.35, 1.0)), ((0.25, 0.52), (0.9, 0.48)))),
    "crossed 7 with a serif": (7, (((0.0, 0.2), (0.02, 0.0), (1.0, 0.0), (0.4, 1.0)), ((0.3, 0.5), (0.95, 0.5)))),
    "9 with a straight leg": (9, ((*_LOOP, (0.98, 0.05), (0.98, 1.0)),)),
}


def write(count: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`count` digits in the rare forms, in turn: uint8 (count, 28, 28), ink bright, and their labels (count,)."""
    random = np.random.default_rng(seed)
    images, labels = np.zeros((count, SIDE, SIDE), np.uint8), np.zeros(count, np.uint8)
    for index, (label, paths) in enumerate([*FORMS.values()][:count]):
        places = slice(index, None, len(FORMS))
        images[places], labels[places] = _hands(len(labels[places]), paths, random), label
    return images, labels


def _hands(count: int, paths: tuple[Path, ...], random: np.random.Generator) -> NDArray[np.uint8]:
    """One form by `count` hands that differ in proportion, slant, stroke width and steadiness."""
    width = np.exp(random.uniform(np.log(WIDTHS[0]), np.log(WIDTHS[1]), count))
    narrow, slant = random.uniform(0.35, 0.8, count), random.normal(0, 0.15, count)
    strokes = []
    for path in paths:
        unsteady = np.full((len(path), 1), 0.05 if len(path) < 6 else 0.025)
        unsteady[0] = 0.08  # where a stroke begins differs most between hands
        corners = np.array(path) + unsteady * random.normal(size=(count, len(path), 2))
        strokes.append(_bowed(corners, random))
    lines = np.concatenate(strokes, axis=1)  # (n, segments, 2 ends, 2: column and row)
    row = lines[..., 1]
    column = lines[..., 0] * narrow[:, None, None] - (row - 0.5) * slant[:, None, None]
    ends = np.stack([row, column], axis=-1)
    low, high = ends.min(axis=(1, 2)), ends.max(axis=(1, 2))
    size = (BOX - width) / (high - low).max(axis=1)
    ends = (ends - ((low + high) / 2)[:, None, None]) * size[:, None, None, None] + SIDE / 2 - 0.5
    drawn = draw(np.zeros((count, SIDE, SIDE), np.float32), ends, width)
    axis, mass = np.arange(SIDE), drawn.sum(axis=(1, 2))
    centre = np.stack([drawn.sum(axis=2) @ axis, drawn.sum(axis=1) @ axis], axis=1) / mass[:, None]
    ends = ends - np.rint(centre - SIDE / 2)[:, None, None]
    drawn = draw(np.zeros((count, SIDE, SIDE), np.float32), ends, width)
    return np.asarray(np.rint(drawn * 255), np.uint8)


def _bowed(corners: Numbers, random: np.random.Generator) -> Numbers:
    """Segments (n, pieces, 2, 2) through `corners` (n, k, 2), each line a little bent."""
    start, step = corners[:, :-1], np.diff(corners, axis=1)
    along = np.linspace(0, 1, BENDS + 1)
    bow = random.normal(0, 0.04, (*step.shape[:2], 1, 1)) * np.sin(np.pi * along)[:, None]
    sideways = np.stack([-step[..., 1], step[..., 0]], axis=-1)[:, :, None]
    points = start[:, :, None] + along[:, None] * step[:, :, None] + bow * sideways
    segments = np.stack([points[:, :, :-1], points[:, :, 1:]], axis=3)
    return np.asarray(segments.reshape(len(corners), -1, 2, 2))


def draw(images: NDArray[np.float32], ends: Numbers, width: float | Numbers) -> NDArray[np.float32]:
    """Lines over images (n, 28, 28) of 0..1, with soft edges and full brightness.

    `ends`: (n, segments, 2, 2), start and end as (row, column); `width`: pixels, one for all or (n,).
    """
    rows, columns = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32), indexing="ij")
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
