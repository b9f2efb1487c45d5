"""Pen strokes: digits in forms that are rare in MNIST, with MNIST's size and position."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.drawing.digits import TEST, draw_digits
from pipeline.drawing.forms import FORMS
from pipeline.drawing.pen import draw
from recognition.image_format import BOX_SIZE, IMAGE_SIZE


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return draw_digits(70 * len(FORMS), 3)


def form(digits: tuple[np.ndarray, np.ndarray], name: str) -> np.ndarray:
    """Images of one form, (70, 28, 28) of 0..1."""
    return digits[0][list(FORMS).index(name) :: len(FORMS)] / 255


def test_the_forms_alternate_and_have_their_labels(digits) -> None:
    images, labels = digits
    assert images.dtype == labels.dtype == np.uint8 and images.shape == (len(labels), IMAGE_SIZE, IMAGE_SIZE)
    assert labels[: len(FORMS)].tolist() == [label for label, _, _ in FORMS.values()]
    assert set(labels) == set(range(10))


def test_zero_images() -> None:
    assert [len(part) for part in draw_digits(0)] == [0, 0]


def test_images_depend_on_the_seed_and_all_differ(digits) -> None:
    assert np.array_equal(digits[0], draw_digits(len(digits[1]), 3)[0])
    assert not np.array_equal(digits[0], draw_digits(len(digits[1]), 4)[0])
    assert len(np.unique(digits[0], axis=0)) == len(digits[0])


def test_size_and_position_match_mnist(digits) -> None:
    images = digits[0] / 255
    axis, mass = np.arange(IMAGE_SIZE), images.sum((1, 2))
    centre = np.stack([(images.sum(2) @ axis) / mass, (images.sum(1) @ axis) / mass])
    assert np.abs(centre - 14).max() < 0.75
    inked = images > 0.1
    heights, widths = inked.any(2).sum(1), inked.any(1).sum(1)
    assert np.maximum(heights, widths).max() <= BOX_SIZE + 2 and np.maximum(heights, widths).min() >= BOX_SIZE - 2


def test_stroke_widths_cover_thin_and_thick(digits) -> None:
    share = (digits[0] / 255).sum((1, 2)) / IMAGE_SIZE**2
    assert share.min() < 0.04 and share.max() > 0.2


def test_a_one_with_a_base_has_more_ink_at_the_bottom(digits) -> None:
    def widest(images: np.ndarray) -> float:
        """Ink of the fullest lower row, averaged over the images."""
        return float(images[:, 18:].sum(2).max(1).mean())

    with_base, without = form(digits, "1 with a flag and a base"), form(digits, "1 with a flag")
    assert widest(with_base) > 1.7 * widest(without)


def test_a_closed_4_has_a_hole_and_an_open_4_has_none(digits) -> None:
    def holes(name: str) -> float:
        """Mean number of dark areas within thin strokes; the background is not counted."""
        thin = [image for image in form(digits, name) if image.sum() < 60]
        assert len(thin) > 10
        return float(np.mean([ndimage.label(image < 0.3)[1] - 1 for image in thin]))

    assert holes("closed 4") > 0.8 and holes("pointed 4") > 0.8 and holes("open 4") < 0.2
    assert holes("8 of two loops") > 1.5


def test_the_forms_for_tests_are_wider_varied(digits) -> None:
    """Taller tilts: the extent of a 1 along the columns grows with its tilt."""
    images, _ = draw_digits(200 * len(FORMS), 3, TEST)
    ones, trained = images[list(FORMS).index("1") :: len(FORMS)], form(digits, "1")
    assert (ones > 100).any(1).sum(1).max() > (trained > 0.4).any(1).sum(1).max()


def test_a_line_has_its_width_and_soft_edges() -> None:
    ends = np.array([[[[14.0, 4.0], [14.0, 23.0]]]])
    line = draw(ends, np.array([2.0]))
    assert line[0, 14, 10] == 1 and line[0, 13, 10] == pytest.approx(0.5) and line[0, 11, 10] == 0
