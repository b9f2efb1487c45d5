"""The fifteen corruptions of MNIST-C (Mu and Gilmer, arXiv 1906.02337), and variations by known amounts.

The corruptions are our own implementation with the parameters that the authors state in their code
(https://github.com/google-research/mnist-c, corruptions.py, commit aa07569); docs/recipes.md lists the differences.
Each takes a batch of images, float32 (n, 28, 28) of 0..1 with bright ink, and a random generator, and returns the same
shape, not yet clipped.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from skimage.util import random_noise

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
    """Poisson noise, with a mean of 3 photons at full brightness."""
    return random.poisson(images * 3) / 3


def impulse_noise(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Salt-and-pepper noise on 17% of the pixels."""
    return np.asarray(random_noise(images, "s&p", rng=random, amount=0.17))


def glass_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Blur, two rounds that swap half of the pixels with a neighbour above or to the left, and blur again."""
    blurred = ndimage.gaussian_filter(images, 0.7, axes=(1, 2))
    all_images = np.arange(len(images))
    for _ in range(2):
        for row in range(IMAGE_SIZE - 1, 1, -1):
            for column in range(IMAGE_SIZE - 1, 1, -1):
                up, left = random.integers(0, 2, (2, len(images))) * random.integers(0, 2, len(images))
                original = blurred[:, row, column].copy()
                blurred[:, row, column] = blurred[all_images, row - up, column - left]
                blurred[all_images, row - up, column - left] = original
    return np.asarray(ndimage.gaussian_filter(blurred, 0.7, axes=(1, 2)))


def motion_blur(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Motion up to 45 degrees from the horizontal: one half of a Gaussian with a standard deviation of 3 pixels."""
    angle, steps = np.radians(random.uniform(-45, 45, len(images))), np.arange(11)
    identity = np.tile(np.eye(2), (len(images), 1, 1))
    direction, weights = np.stack([np.sin(angle), np.cos(angle)], axis=1), np.exp(-(steps**2) / (2 * 3**2))
    parts = (weight * affine(images, identity, -step * direction) for step, weight in zip(steps, weights, strict=True))
    return np.asarray(sum(parts) / weights.sum())


def shear(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Horizontal shear by 0.4 radians either way, which also makes the image 9% higher, as in scikit-image 0.15."""
    matrices = np.tile(np.array([[np.cos(0.4), 0], [0, 1]]), (len(images), 1, 1))
    matrices[:, 1, 0] = random.choice([-1, 1], len(images)) * np.sin(0.4)
    return affine(images, matrices)


def scale(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Scaling to 70% of the size."""
    return affine(images, np.tile(np.eye(2) / 0.7, (len(images), 1, 1)))


def rotate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Rotation by 0.4 radians (23 degrees) either way."""
    return affine(images, rotation(0.4 * random.choice([-1, 1], len(images))))


def brightness(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Brightness raised by 0.5: black paper becomes grey."""
    return images + 0.5


def translate(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Translation by 3 pixels along each axis."""
    return affine(images, np.tile(np.eye(2), (len(images), 1, 1)), 3.0 * random.choice([-1, 1], (len(images), 2)))


def stripe(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Inversion of all but a vertical stripe in the middle, 14 pixels wide."""
    striped = 1 - images
    striped[:, :, 7:21] = images[:, :, 7:21]
    return striped


def fog(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """Clouds (a plasma fractal) over the image, three times as bright as its ink; 64 images share one large cloud."""
    clouds = plasma(-(-len(images) // 64), random, 256, decay=1.4**2).reshape(-1, 8, 32, 8, 32)
    cut = clouds.transpose(0, 1, 3, 2, 4).reshape(-1, 32, 32)[: len(images), :IMAGE_SIZE, :IMAGE_SIZE]
    return (images + 3 * cut) / 4


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
    """Dark grey drops with soft edges, where smoothed noise is high."""
    noise = ndimage.gaussian_filter(random.normal(size=images.shape), 1, axes=(1, 2), mode="nearest")
    drops = ndimage.gaussian_filter((noise > 0).astype(np.float32), 1.5, axes=(1, 2), mode="nearest")
    drops[drops < 0.8] = 0
    return np.asarray(images * (1 - drops) + 63 / 255 * drops)


def dotted_line(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A straight line from the left to the right border, interrupted in every other pair of columns."""
    rows = random.integers(0, IMAGE_SIZE - 1, (2, len(images)))
    dots = line(np.zeros(len(images)), rows[0], np.full(len(images), IMAGE_SIZE - 1), rows[1])
    return images + dots * (np.arange(IMAGE_SIZE) // 2 % 2)


def zigzag(images: Images, random: np.random.Generator) -> NDArray[np.floating]:
    """A zigzag line from column 2 to column 25, with an amplitude of 2 pixels and teeth 4 pixels long."""
    top, drop = random.integers(0, IMAGE_SIZE - 1, len(images)), random.integers(-5, 5, len(images))
    angle, length = np.arctan(drop / 23), np.hypot(23, drop)
    along = np.stack([*np.broadcast_arrays(0 * length, *range(2, 23, 4), length)])
    across = np.array([0, 2, -2, 2, -2, 2, -2, 0])[:, None]
    columns = 2 + along * np.cos(angle) - across * np.sin(angle)
    rows = top + along * np.sin(angle) + across * np.cos(angle)
    drawn = images.copy()
    for start in range(len(along) - 1):
        drawn += line(columns[start], rows[start], columns[start + 1], rows[start + 1])
    return drawn


def line(left: Floats, start: Floats, right: Floats, end: Floats) -> Floats:
    """Lines (n, 28, 28) from column `left` and row `start` to column `right` and row `end`, (n,) each.

    Their brightness falls from 1 to 0 over 1.45 pixels above and below: 1 + log(1 - distance / 2.3).
    """
    left, start, right, end = (np.asarray(values)[:, None, None] for values in (left, start, right, end))
    rows, columns = np.arange(IMAGE_SIZE)[:, None], np.arange(IMAGE_SIZE)
    distance = np.abs(rows - start - (end - start) / (right - left) * (columns - left))
    brightness = np.clip(1 + np.log1p(-np.minimum(distance, 2.29) / 2.3), 0, 1)
    return np.asarray(brightness * ((columns >= np.floor(left)) & (columns < np.ceil(right))))


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
