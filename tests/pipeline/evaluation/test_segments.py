"""Segments of written numbers: whole digits, and what is not one digit."""

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.digits import draw_digits
from pipeline.evaluation.segments import make_segments


def test_segments_are_reproducible_and_in_mnist_format() -> None:
    images, _ = draw_digits(100, seed=1)
    first, second = make_segments(images, 12, seed=5), make_segments(images, 12, seed=5)
    for one, other in zip(first, second, strict=True):
        assert one.shape == (12, 28, 28) and one.dtype == np.uint8 and np.array_equal(one, other)
    assert not np.array_equal(first[0], make_segments(images, 12, seed=6)[0])


def test_two_touching_digits_are_broader_than_one() -> None:
    digits, others = make_segments(draw_digits(100, seed=1)[0], 90, seed=2)
    assert aspect(others[::3]) > 1.5 * aspect(digits)


def aspect(images: NDArray[np.uint8]) -> float:
    """Median width over height of the ink."""
    sides = [[np.ptp(np.flatnonzero(image.any(axis))) for axis in (0, 1)] for image in images]
    return float(np.median([width / height for width, height in sides]))
