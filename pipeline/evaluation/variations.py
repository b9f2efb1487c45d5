"""Images with one property changed by known amounts: shift, rotation, scale, stroke width."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.evaluation.corruptions import Images, affine, random_sign, rotation, to_bytes


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
