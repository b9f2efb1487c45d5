"""Segments of written numbers: whole digits, and what is not one digit."""

import numpy as np
import pytest

from pipeline.drawing.digits import draw_digits
from pipeline.evaluation.segments import make_segments, overlap
from recognition.pieces import Piece
from recognition.shapes import SHAPES, Shape


def test_segments_are_reproducible_and_in_mnist_format_with_their_shapes() -> None:
    images, _ = draw_digits(100, seed=1)
    first, second = make_segments(images, 30, seed=5), make_segments(images, 30, seed=5)
    assert set(first) == {"digits", "digit_shapes", "others", "other_shapes"}
    for name, array in first.items():
        assert np.array_equal(array, second[name])
        if name.endswith("s") and not name.endswith("_shapes"):
            assert array.shape[1:] == (28, 28) and array.dtype == np.uint8
            shapes = first[f"{name[:-1]}_shapes"]
            assert shapes.shape == (len(array), SHAPES) and shapes.dtype == np.float32 and np.isfinite(shapes).all()
    assert not np.array_equal(first["digits"], make_segments(images, 30, seed=6)["digits"])


def test_others_are_parts_of_digits_and_several_digits() -> None:
    segments = make_segments(draw_digits(100, seed=1)[0], 200, seed=2)
    typical = np.median(segments["digit_shapes"][:, Shape.ASPECT])
    others = segments["other_shapes"]
    assert len(segments["digits"]) >= 180  # almost every digit is among the segments
    assert (others[:, Shape.ASPECT] > 1.5 * typical).any() and (others[:, Shape.SHARE] < 0.6).any()


def test_the_overlap_is_one_for_a_whole_digit_and_low_for_a_part_and_for_two() -> None:
    owners = np.zeros((10, 30), np.uint8)
    owners[:, :10], owners[:, 10:20] = 1, 2
    spans = {(0, 10): 1.0, (0, 5): 0.5, (0, 20): 0.5, (5, 15): 1 / 3}
    for (left, right), expected in spans.items():
        piece = Piece(np.ones((10, right - left), np.float32), 0, 10, left, right)
        assert overlap(piece, owners) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(20, 2), (3, 24), (1, 1)])
def test_narrow_low_and_faint_figures_give_segments_too(shape: tuple[int, int]) -> None:
    images = np.zeros((3, 28, 28), np.uint8)
    images[:2, 4 : 4 + shape[0], 2 : 2 + shape[1]] = np.array([255, 9])[:, None, None]  # the third one is blank
    segments = make_segments(images, 60, seed=0)
    assert segments["digits"].any(axis=(1, 2)).all() and len(segments["digits"])
