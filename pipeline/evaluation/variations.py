"""Images changed in one property by known amounts: shift, rotation, scale, stroke width."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.evaluation.corruptions import (
    Images,
    affine,
    either_way,
    rotation,
    to_bytes,
)

Bytes = NDArray[np.uint8]


def vary(images: Images, random: np.random.Generator) -> dict[str, dict[float, Bytes]]:
    """The same images (n, 28, 28) of 0..1 changed in one property by several amounts: property, amount, uint8 images.

    Shift in pixels in a random direction, rotation in degrees to either side, scale as a share of the size, stroke as
    pixels that are added to its width.
    """
    count = len(images)
    same, angle = np.tile(np.eye(2), (count, 1, 1)), random.uniform(0, 2 * np.pi, count)
    direction, sign = np.stack([np.sin(angle), np.cos(angle)], axis=1), either_way(random, count, 1, 1)
    return {
        "shift": {step: to_bytes(affine(images, same, step * direction)) for step in (0.0, 1, 2, 3, 4, 5, 6, 8)},
        "rotation": {
            degrees: to_bytes(affine(images, rotation(np.radians(degrees) * sign)))
            for degrees in (0.0, 10, 20, 30, 40, 50, 60)
        },
        "scale": {share: to_bytes(affine(images, same / share)) for share in (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)},
        "stroke": {width: to_bytes(restroke(images, width)) for width in (-2.0, -1, -0.5, 0, 0.5, 1, 2, 3, 4)},
    }


def restroke(images: Images, width: float) -> Images:
    """Strokes wider (or thinner) by `width` pixels: grey dilation (erosion) by whole steps of 2, blended between."""
    change = ndimage.grey_dilation if width > 0 else ndimage.grey_erosion
    rest = abs(width)
    while rest > 0:
        weight = min(rest / 2, 1)
        images = (1 - weight) * images + weight * change(images, size=(1, 3, 3))
        rest -= 2
    return images
