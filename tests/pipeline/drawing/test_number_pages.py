"""Generated pages of numbers: what is drawn, and that it can be read."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.drawing.digits import draw_digits
from pipeline.drawing.number_pages import KINDS, distance, draw_line, draw_pages, stroke_widths
from recognition.pieces import find_lines, find_pieces
from recognition.segmentation import find_digits


@pytest.fixture(scope="module")
def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    return draw_digits(340, seed=3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_pages(digits: tuple[NDArray[np.uint8], NDArray[np.uint8]], kind: str) -> None:
    first, second, other = (draw_pages(*digits, kind, 3, seed) for seed in (1, 1, 2))
    assert [page.image.tobytes() for page in first] == [page.image.tobytes() for page in second]
    assert [page.numbers for page in first] != [page.numbers for page in other]


def test_clean_pages_show_as_many_lines_and_about_as_many_digits_as_they_say(
    digits: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    for page in draw_pages(*digits, "clean", 10, seed=4):
        lines = find_digits(page.image)
        assert len(lines) == len(page.numbers)
        assert [len(line) for line in lines] == pytest.approx([len(number) for number in page.numbers], abs=1)


def test_touching_digits_are_one_piece_and_others_are_apart() -> None:
    bar = np.ones((60, 10), np.float32)
    for touching, pieces in ((1.0, 1), (0.0, 3)):
        line, owners = draw_line([bar, bar, bar], 60, touching, np.random.default_rng(0))
        assert len(find_lines(find_pieces(np.pad(line, 5)))[0]) == pieces
        assert owners.shape == line.shape and set(np.unique(owners)) == {0, 1, 2, 3}
        assert (owners[line > 0.5] > 0).all()


def test_the_distance_is_that_of_the_ink() -> None:
    left, right = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)
    left[0, 0], right[0, 1], right[1, 3] = 1, 1, 1
    assert distance(left, right) == 4  # three columns right of the ink on the left, one column before that on the right


def test_stroke_widths_are_about_those_of_bars() -> None:
    bars = np.zeros((3, 28, 28), np.uint8)
    for index, width in enumerate((2, 4, 6)):
        bars[index, 4:24, 10 : 10 + width] = 255
    thin, middle, thick = stroke_widths(bars).tolist()
    assert 1.5 < thin < 2.5 < middle < 4.5 and middle < thick < 6.5
