"""The fifteen corruptions of MNIST-C (Mu and Gilmer, arXiv 1906.02337), written from their description.

Each takes float32 (n, 28, 28) of 0..1, ink bright, and a random generator, and gives the same shape, not yet clipped.
Severities are fixed, near those that the paper's error rates suggest; whole stacks are corrupted at once.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from skimage.util import random_noise

from pipeline.data.pen_strokes import draw

Images = NDArray[np.float32]
Numbers = NDArray[np.float64]
Corruption = Callable[[Images, np.random.Generator], NDArray[np.floating]]

SIDE = 28
CENTRE = (SIDE - 1) / 2


def corrupt(images: NDArray[np.uint8], name: str, seed: int) -> NDArray[np.uint8]:
    """uint8 (n, 28, 28) to the same, corrupted by the entry `name` of CORRUPTIONS; the same seed, the same result."""
    random = np.random.default_rng([seed, list(CORRUPTIONS).index(name)])
    return to_bytes(CORRUPTIONS[name](from_bytes(images), random))


def from_bytes(images: NDArray[np.uint8]) -> Images:
    """0..255 to 0..1."""
    return images.astype(np.float32) * np.float32(1 / 255)


def to_bytes(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """0..1 to 0..255, clipped and rounded."""
    return np.asarray(np.rint(np.clip(images, 0, 1) * 255), np.uint8)


def affine(images: Images, matrices: Numbers, shifts: Numbers | None = None) -> Images:
    """Images seen through affine maps about their centre, bilinear, 0 outside.

    `matrices`: (n, 2, 2), from places (row, column) of the result to places in the original; `shifts`: (n, 2), pixels.
    """
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) - CENTRE] * 2, indexing="ij")).reshape(2, -1)
    places = matrices @ grid + CENTRE - (0 if shifts is None else shifts[:, :, None])
    index = np.broadcast_to(np.arange(len(images))[:, None], places[:, 0].shape)
    found = ndimage.map_coordinates(images, [index, places[:, 0], places[:, 1]], order=1)
    return np.asarray(found, np.float32).reshape(images.shape)


def rotation(radians: Numbers) -> Numbers:
    """Matrices (n, 2, 2) for `affine` that turn each image by its angle."""
    return np.moveaxis(np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]), -1, 0)


def either_way(random: np.random.Generator, count: int, low: float, high: float) -> Numbers:
    """Magnitudes between `low` and `high` with a random sign, (count,)."""
    return np.asarray(random.uniform(low, high, count) * random.choice([-1, 1], count))


def shot_noise(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Every pixel counts few photons: Poisson noise, at 12 for full brightness."""
    return random.poisson(images * 12) / 12


def impulse_noise(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A fifth of the pixels turn black or white."""
    return np.asarray(random_noise(images, "s&p", rng=random, amount=0.2))


def glass_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Blurred, neighbouring pixels swapped at random, blurred again."""
    blurred = ndimage.gaussian_filter(images, 0.7, axes=(1, 2))
    everyone = np.arange(len(images))
    for _ in range(2):
        for row in range(SIDE - 2, 1, -1):
            for column in range(SIDE - 2, 1, -1):
                down, right = random.integers(-1, 2, (2, len(images)))
                kept = blurred[:, row, column].copy()
                blurred[:, row, column] = blurred[everyone, row + down, column + right]
                blurred[everyone, row + down, column + right] = kept
    return np.asarray(ndimage.gaussian_filter(blurred, 0.7, axes=(1, 2)))


def motion_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """The camera moves along a line of 10 pixels, up to 45 degrees from the horizontal."""
    angles = np.linspace(-np.pi / 4, np.pi / 4, 19)
    chosen = random.integers(0, len(angles), len(images))
    offsets = np.linspace(-4.5, 4.5, 19)
    blurred = np.zeros_like(images)
    for index, angle in enumerate(angles):
        kernel = np.zeros((1, 13, 13))
        for row, column in zip(6 + offsets * np.sin(angle), 6 + offsets * np.cos(angle), strict=True):
            top, left = int(row), int(column)
            down, right = row - top, column - left
            kernel[0, top : top + 2, left : left + 2] += np.outer([1 - down, down], [1 - right, right])
        members = chosen == index
        blurred[members] = ndimage.convolve(images[members], kernel / kernel.sum(), mode="constant")
    return blurred


def shear(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Rows slide over each other, by 0.2 to 0.4 pixels a row."""
    matrices = np.tile(np.eye(2), (len(images), 1, 1))
    matrices[:, 1, 0] = either_way(random, len(images), 0.2, 0.4)
    return affine(images, matrices)


def scale(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Shrunk to 60 to 75% of its size."""
    return affine(images, np.eye(2) / random.uniform(0.6, 0.75, (len(images), 1, 1)))


def rotate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Turned by 15 to 30 degrees."""
    return affine(images, rotation(np.radians(either_way(random, len(images), 15, 30))))


def brightness(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Everything brighter by 60%: black paper becomes light grey."""
    return images + 0.6


def translate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Moved by 2 to 3 pixels along each axis."""
    shifts = np.stack([either_way(random, len(images), 2, 3) for _ in "yx"], axis=1)
    return affine(images, np.tile(np.eye(2), (len(images), 1, 1)), shifts)


def stripe(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A vertical stripe in the middle, 6 pixels wide, is inverted."""
    striped = images.copy()
    striped[:, :, 11:17] = 1 - striped[:, :, 11:17]
    return striped


def fog(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Clouds of a plasma fractal lie over the image, one and a half times as bright as its ink."""
    clouds = plasma(len(images), random)[:, 2:-2, 2:-2]
    return (images + 1.5 * clouds) / 2.5


def plasma(count: int, random: np.random.Generator, side: int = 32, decay: float = 2.0) -> Numbers:
    """Plasma fractals (count, side, side) of 0..1 that wrap around, by the diamond-square algorithm.

    Fournier, Fussell, Carpenter: Computer rendering of stochastic models (1982); `side` is a power of two.
    """
    surface = np.zeros((count, side, side))
    step, wobble = side, 1.0
    while step > 1:
        half = step // 2
        corners = surface[:, ::step, ::step]
        rows = corners + np.roll(corners, -1, axis=1)
        middle = (rows + np.roll(rows, -1, axis=2)) / 4
        middle = middle + wobble * random.uniform(-1, 1, middle.shape)
        surface[:, half::step, half::step] = middle
        across, down = corners + np.roll(corners, -1, axis=2), rows
        for target, line, beside in (
            ((slice(None, None, step), slice(half, None, step)), across, middle + np.roll(middle, 1, axis=1)),
            ((slice(half, None, step), slice(None, None, step)), down, middle + np.roll(middle, 1, axis=2)),
        ):
            surface[(slice(None), *target)] = (line + beside) / 4 + wobble * random.uniform(-1, 1, line.shape)
        step, wobble = half, wobble / decay
    surface -= surface.min(axis=(1, 2), keepdims=True)
    return np.asarray(surface / surface.max(axis=(1, 2), keepdims=True))


def spatter(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Splashes: where smooth noise is high, drops with soft edges cover the image."""
    noise = ndimage.gaussian_filter(random.normal(size=images.shape), 1.5, axes=(1, 2), mode="wrap")
    drops = np.clip((noise / noise.std() - 1.2) * 3, 0, 1)
    return np.asarray(images * (1 - drops) + 0.8 * drops)


def dotted_line(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A straight line of small dots from border to border."""
    start, end = across(len(images), random)
    places = start[:, None] + np.linspace(0, 1, 12)[None, :, None] * (end - start)[:, None]
    return draw(images, np.stack([places, places], axis=2), 1.0)


def zigzag(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A zigzag line from border to border, 3 pixels to either side."""
    start, end = across(len(images), random)
    direction = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    sideways = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    share, side = np.linspace(0, 1, 9), np.array([0, 1, -1, 1, -1, 1, -1, 1, 0])
    corners = start[:, None] + share[None, :, None] * (end - start)[:, None]
    corners = corners + 3 * side[None, :, None] * sideways[:, None]
    return draw(images, np.stack([corners[:, :-1], corners[:, 1:]], axis=2), 1.0)


def across(count: int, random: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Start and end (count, 2) of lines from the left to the right border, turned upright in half of the images."""
    rows = random.uniform(4, SIDE - 5, (count, 2))
    start, end = np.stack([rows[:, 0], np.zeros(count)], 1), np.stack([rows[:, 1], np.full(count, SIDE - 1.0)], 1)
    upright = random.random(count) < 0.5
    start[upright], end[upright] = start[upright, ::-1], end[upright, ::-1]
    return start, end


def canny_edges(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Only the edges that the Canny detector finds, white on black."""
    return np.stack([canny(image, sigma=1.0) for image in images]).astype(np.float32)


CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate, stripe, fog,
        spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip
