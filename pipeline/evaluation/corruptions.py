"""The fifteen corruptions of MNIST-C (Mu and Gilmer, arXiv 1906.02337), and variations by known amounts.

The corruptions are implemented from their description. Each takes a batch of images, float32 (n, 28, 28) of 0..1 with
bright ink, and a random generator, and returns the same shape, not yet clipped. Severities are fixed and close to those
that the paper's error rates suggest.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from skimage.util import random_noise

from pipeline.data.pen_strokes import draw
from recognition.image_format import IMAGE_SIZE

Images = NDArray[np.float32]
Floats = NDArray[np.float64]
Corruption = Callable[[Images, np.random.Generator], NDArray[np.floating]]

CENTRE = (IMAGE_SIZE - 1) / 2


def corrupt(images: NDArray[np.uint8], name: str, seed: int) -> NDArray[np.uint8]:
    """Apply the corruption `name` of CORRUPTIONS to uint8 (n, 28, 28); the same seed gives the same bytes."""
    random = np.random.default_rng([seed, list(CORRUPTIONS).index(name)])
    return to_bytes(CORRUPTIONS[name](from_bytes(images), random))


def from_bytes(images: NDArray[np.uint8]) -> Images:
    """0..255 to 0..1."""
    return images.astype(np.float32) * np.float32(1 / 255)


def to_bytes(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """0..1 to 0..255, clipped and rounded."""
    return np.asarray(np.rint(np.clip(images, 0, 1) * 255), np.uint8)


def affine(images: Images, matrices: Floats, shifts: Floats | None = None) -> Images:
    """Affine transformation about the centre, with bilinear interpolation and 0 outside.

    `matrices`: (n, 2, 2), from output to input coordinates (row, column); `shifts`: (n, 2), pixels.
    """
    grid = np.stack(np.meshgrid(*[np.arange(IMAGE_SIZE) - CENTRE] * 2, indexing="ij")).reshape(2, -1)
    coordinates = matrices @ grid + CENTRE - (0 if shifts is None else shifts[:, :, None])
    index = np.broadcast_to(np.arange(len(images))[:, None], coordinates[:, 0].shape)
    resampled = ndimage.map_coordinates(images, [index, coordinates[:, 0], coordinates[:, 1]], order=1)
    return np.asarray(resampled, np.float32).reshape(images.shape)


def rotation(radians: Floats) -> Floats:
    """Rotation matrices (n, 2, 2) for `affine`, one for each angle (n,)."""
    return np.moveaxis(np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]), -1, 0)


def random_sign(random: np.random.Generator, count: int, low: float, high: float) -> Floats:
    """Uniform magnitudes between `low` and `high` with a random sign, (count,)."""
    return np.asarray(random.uniform(low, high, count) * random.choice([-1, 1], count))


def shot_noise(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Poisson noise, with a mean of 12 photons at full brightness."""
    return random.poisson(images * 12) / 12


def impulse_noise(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Salt-and-pepper noise on a fifth of the pixels."""
    return np.asarray(random_noise(images, "s&p", rng=random, amount=0.2))


def glass_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Blur, random swaps of neighbouring pixels, and blur again."""
    blurred = ndimage.gaussian_filter(images, 0.7, axes=(1, 2))
    all_images = np.arange(len(images))
    for _ in range(2):
        for row in range(IMAGE_SIZE - 2, 1, -1):
            for column in range(IMAGE_SIZE - 2, 1, -1):
                down, right = random.integers(-1, 2, (2, len(images)))
                original = blurred[:, row, column].copy()
                blurred[:, row, column] = blurred[all_images, row + down, column + right]
                blurred[all_images, row + down, column + right] = original
    return np.asarray(ndimage.gaussian_filter(blurred, 0.7, axes=(1, 2)))


def motion_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Motion along a line of 10 pixels, up to 45 degrees from the horizontal."""
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
        mask = chosen == index
        blurred[mask] = ndimage.convolve(images[mask], kernel / kernel.sum(), mode="constant")
    return blurred


def shear(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Horizontal shear by 0.2 to 0.4 pixels per row."""
    matrices = np.tile(np.eye(2), (len(images), 1, 1))
    matrices[:, 1, 0] = random_sign(random, len(images), 0.2, 0.4)
    return affine(images, matrices)


def scale(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Scaling to 60 to 75% of the size."""
    return affine(images, np.eye(2) / random.uniform(0.6, 0.75, (len(images), 1, 1)))


def rotate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Rotation by 15 to 30 degrees either way."""
    return affine(images, rotation(np.radians(random_sign(random, len(images), 15, 30))))


def brightness(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Brightness raised by 0.6: black paper becomes light grey."""
    return images + 0.6


def translate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Translation by 2 to 3 pixels along each axis."""
    shifts = np.stack([random_sign(random, len(images), 2, 3) for _ in "yx"], axis=1)
    return affine(images, np.tile(np.eye(2), (len(images), 1, 1)), shifts)


def stripe(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Inversion of a vertical stripe in the middle, 6 pixels wide."""
    striped = images.copy()
    striped[:, :, 11:17] = 1 - striped[:, :, 11:17]
    return striped


def fog(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Clouds (a plasma fractal) over the image, up to 1.5 times as bright as its ink."""
    clouds = plasma(len(images), random)[:, 2:-2, 2:-2]
    return (images + 1.5 * clouds) / 2.5


def plasma(count: int, random: np.random.Generator, side: int = 32, decay: float = 2.0) -> Floats:
    """Periodic plasma fractals (count, side, side) of 0..1, by the diamond-square algorithm; `side` is a power of two.

    Fournier, Fussell, Carpenter: Computer rendering of stochastic models (1982).
    """
    surface = np.zeros((count, side, side))
    step, amplitude = side, 1.0
    while step > 1:
        half = step // 2
        corners = surface[:, ::step, ::step]
        rows = corners + np.roll(corners, -1, axis=1)
        middle = (rows + np.roll(rows, -1, axis=2)) / 4
        middle = middle + amplitude * random.uniform(-1, 1, middle.shape)
        surface[:, half::step, half::step] = middle
        across, down = corners + np.roll(corners, -1, axis=2), rows
        for target, line, beside in (
            ((slice(None, None, step), slice(half, None, step)), across, middle + np.roll(middle, 1, axis=1)),
            ((slice(half, None, step), slice(None, None, step)), down, middle + np.roll(middle, 1, axis=2)),
        ):
            surface[(slice(None), *target)] = (line + beside) / 4 + amplitude * random.uniform(-1, 1, line.shape)
        step, amplitude = half, amplitude / decay
    surface -= surface.min(axis=(1, 2), keepdims=True)
    return np.asarray(surface / surface.max(axis=(1, 2), keepdims=True))


def spatter(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Drops with soft edges, where smoothed noise is high."""
    noise = ndimage.gaussian_filter(random.normal(size=images.shape), 1.5, axes=(1, 2), mode="wrap")
    drops = np.clip((noise / noise.std() - 1.2) * 3, 0, 1)
    return np.asarray(images * (1 - drops) + 0.8 * drops)


def dotted_line(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A straight dotted line from border to border."""
    start, end = border_to_border(len(images), random)
    dots = start[:, None] + np.linspace(0, 1, 12)[None, :, None] * (end - start)[:, None]
    return draw(images, np.stack([dots, dots], axis=2), 1.0)


def zigzag(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A zigzag line from border to border, with an amplitude of 3 pixels."""
    start, end = border_to_border(len(images), random)
    direction = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    share, side = np.linspace(0, 1, 9), np.array([0, 1, -1, 1, -1, 1, -1, 1, 0])
    corners = start[:, None] + share[None, :, None] * (end - start)[:, None]
    corners = corners + 3 * side[None, :, None] * normal[:, None]
    return draw(images, np.stack([corners[:, :-1], corners[:, 1:]], axis=2), 1.0)


def border_to_border(count: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Start and end (count, 2) of lines from left to right, or from top to bottom for half of the images."""
    rows = random.uniform(4, IMAGE_SIZE - 5, (count, 2))
    start, end = np.stack([rows[:, 0], np.zeros(count)], 1), np.stack([rows[:, 1], np.full(count, IMAGE_SIZE - 1.0)], 1)
    upright = random.random(count) < 0.5
    start[upright], end[upright] = start[upright, ::-1], end[upright, ::-1]
    return start, end


def canny_edges(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Edges found by the Canny detector, white on black."""
    return np.stack([canny(image, sigma=1.0) for image in images]).astype(np.float32)


CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        shot_noise, impulse_noise, glass_blur, motion_blur, shear, scale, rotate, brightness, translate, stripe, fog,
        spatter, dotted_line, zigzag, canny_edges,
    )
}  # fmt: skip


def vary(images: Images, random: np.random.Generator) -> dict[str, dict[float, NDArray[np.uint8]]]:
    """Images (n, 28, 28) of 0..1 to `{property: {amount: uint8 images}}`.

    Amounts: shift in pixels in a random direction, rotation in degrees either way, scale as a share of the size, stroke
    as pixels added to its width.
    """
    count = len(images)
    identity, angle = np.tile(np.eye(2), (count, 1, 1)), random.uniform(0, 2 * np.pi, count)
    direction, sign = np.stack([np.sin(angle), np.cos(angle)], axis=1), random_sign(random, count, 1, 1)
    return {
        "shift": {step: to_bytes(affine(images, identity, step * direction)) for step in (0.0, 1, 2, 3, 4, 5, 6, 8)},
        "rotation": {
            degrees: to_bytes(affine(images, rotation(np.radians(degrees) * sign)))
            for degrees in (0.0, 10, 20, 30, 40, 50, 60)
        },
        "scale": {
            size: to_bytes(affine(images, identity / size)) for size in (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)
        },
        "stroke": {width: to_bytes(restroke(images, width)) for width in (-2.0, -1, -0.5, 0, 0.5, 1, 2, 3, 4)},
    }


def restroke(images: Images, width: float) -> Images:
    """Strokes widened (or thinned) by `width` pixels: grey dilation (erosion) in steps of 2, the last one blended."""
    change = ndimage.grey_dilation if width > 0 else ndimage.grey_erosion
    rest = abs(width)
    while rest > 0:
        weight = min(rest / 2, 1)
        images = (1 - weight) * images + weight * change(images, size=(1, 3, 3))
        rest -= 2
    return images
