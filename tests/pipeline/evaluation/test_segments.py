"""Segments of written numbers: whole digits, and what is not one digit."""

import numpy as np
import pytest
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


@pytest.mark.parametrize("shape", [(20, 2), (3, 24), (1, 1)])
def test_narrow_low_and_faint_figures_are_cut_too(shape: tuple[int, int]) -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    images[:2, 4 : 4 + shape[0], 2 : 2 + shape[1]] = np.array([255, 9])[:, None, None]  # the third one is blank
    digits, others = make_segments(images, 6, seed=0)
    assert digits.any(axis=(1, 2)).all() and others.any(axis=(1, 2)).all()


def aspect(images: NDArray[np.uint8]) -> float:
    """Median width over height of the ink."""
    sides = [[np.ptp(np.flatnonzero(image.any(axis))) for axis in (0, 1)] for image in images]
    return float(np.median([width / height for width, height in sides]))
