"""Pen strokes: digits in the forms that MNIST lacks, placed and sized as MNIST's are, by many hands."""

import numpy as np
import pytest

from pipeline.data.pen_strokes import BOX, FORMS, SIDE, draw, write


@pytest.fixture(scope="module")
def written() -> tuple[np.ndarray, np.ndarray]:
    return write(70 * len(FORMS), 3)


def form(written: tuple[np.ndarray, np.ndarray], name: str) -> np.ndarray:
    """The images of one form, (70, 28, 28), as shares."""
    return written[0][list(FORMS).index(name) :: len(FORMS)] / 255


def test_forms_take_turns_under_their_labels(written) -> None:
    images, labels = written
    assert images.dtype == labels.dtype == np.uint8 and images.shape == (len(labels), SIDE, SIDE)
    assert labels[: len(FORMS)].tolist() == [label for label, _ in FORMS.values()]
    assert {label for label, _ in FORMS.values()} == {1, 4, 7, 9}


def test_no_image_is_asked_for_none_is_given() -> None:
    assert [len(part) for part in write(0)] == [0, 0]


def test_the_same_seed_writes_the_same_and_no_two_are_alike(written) -> None:
    assert np.array_equal(written[0], write(len(written[1]), 3)[0])
    assert not np.array_equal(written[0], write(len(written[1]), 4)[0])
    assert len(np.unique(written[0], axis=0)) == len(written[0])


def test_they_lie_as_mnists_do(written) -> None:
    images = written[0] / 255
    axis, mass = np.arange(SIDE), images.sum((1, 2))
    centre = np.stack([(images.sum(2) @ axis) / mass, (images.sum(1) @ axis) / mass])
    assert np.abs(centre - 14).max() < 0.75
    inked = images > 0.1
    heights, widths = inked.any(2).sum(1), inked.any(1).sum(1)
    assert np.maximum(heights, widths).max() <= BOX + 2 and np.maximum(heights, widths).min() >= BOX - 2


def test_strokes_go_from_hairline_to_marker(written) -> None:
    share = (written[0] / 255).sum((1, 2)) / SIDE**2
    assert share.min() < 0.04 and share.max() > 0.2


def test_a_one_with_a_base_ends_in_a_broad_line(written) -> None:
    def widest(images: np.ndarray) -> float:
        """Ink of the fullest of the lower rows, mean over the images."""
        return float(images[:, 18:].sum(2).max(1).mean())

    with_base, without = form(written, "1 with an upstroke and a base"), form(written, "1 with an upstroke")
    assert widest(with_base) > 1.7 * widest(without)


def test_a_line_is_as_wide_as_asked_and_soft_at_its_edges() -> None:
    ends = np.array([[[[14.0, 4.0], [14.0, 23.0]]]])
    line = draw(np.zeros((1, SIDE, SIDE), np.float32), ends, np.array([2.0]))
    assert line[0, 14, 10] == 1 and line[0, 13, 10] == pytest.approx(0.5) and line[0, 11, 10] == 0
    assert np.array_equal(line, draw(np.zeros((1, SIDE, SIDE), np.float32), ends, 2.0))
