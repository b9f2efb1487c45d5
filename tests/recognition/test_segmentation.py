"""Segmentation of numbers: boxes, reading order, touching digits, specks."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recognition.preprocessing import Digit
from recognition.segmentation import Box, cut, find_digits, find_lines, find_pieces

STROKES = {
    "1": [[(0.5, 0), (0.5, 1)]],
    "4": [[(0.6, 0), (0, 0.65), (1, 0.65)], [(0.75, 0.3), (0.75, 1)]],
    "5": [[(0.1, 0.1), (0.1, 0.5), (0.9, 0.6), (0.8, 1), (0, 1)], [(0.2, 0), (1, 0)]],
    "7": [[(0, 0), (1, 0), (0.4, 1)]],
    "0": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]],
}


def write(pen: ImageDraw.ImageDraw, number: str, x: float, y: float, height: float = 80, gap: float = 25) -> list[Box]:
    """Draws `number` to the right of (x, y) and returns the boxes of its digits, without the width of the pen."""
    boxes = []
    for digit in number:
        width = 0.6 * height * (digit != "1")
        for stroke in STROKES[digit]:
            pen.line([(x + a * width, y + b * height) for a, b in stroke], fill=0, width=8, joint="curve")
        boxes.append(Box(int(x), int(y), int(width), int(height)))
        x += width + gap
    return boxes


def paper(width: int = 600, height: int = 160) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("L", (width, height), 255)
    return image, ImageDraw.Draw(image)


def test_digits_are_ordered_from_left_to_right_with_their_boxes():
    image, pen = paper()
    written = write(pen, "7014", 60, 40)
    (line,) = find_digits(image)
    assert len(line) == 4
    for (box, digit), truth in zip(line, written, strict=True):
        assert abs(box.x - truth.x) <= 6 and abs(box.y - truth.y) <= 6
        assert abs(box.x + box.width - truth.x - truth.width) <= 6 and abs(box.height - truth.height) <= 10
        assert isinstance(digit, Digit) and digit.pixels.shape == (28, 28) and not digit.blank


def test_sloping_lines_are_ordered_from_top_to_bottom():
    image, pen = paper(700, 420)
    for index, digit in enumerate("7010"):
        write(pen, digit, 60 + 90 * index, 100 - 15 * index)
        if index < 3:
            write(pen, digit, 60 + 90 * index, 260 - 15 * index)
    assert [len(line) for line in find_digits(image)] == [4, 3]


def test_boxes_of_a_large_image_are_in_its_own_pixels():
    image, pen = paper(3000, 1000)
    (truth,) = write(pen, "0", 2000, 300, height=400)
    ((box, _),) = find_digits(image)[0]
    assert abs(box.x - truth.x) < 20 and abs(box.width - truth.width) < 30 and abs(box.height - truth.height) < 30


def test_boxes_refer_to_the_image_after_its_exif_orientation():
    image, pen = paper(300, 160)
    write(pen, "77", 60, 40)
    sideways = image.transpose(Image.Transpose.ROTATE_90)
    sideways.getexif()[0x0112] = 6
    (line,) = find_digits(sideways)
    assert [box.x for box, _ in line] == sorted(box.x for box, _ in line) and len(line) == 2
    assert all(box.width < box.height for box, _ in line)


def test_specks_and_a_frame_are_ignored():
    image, pen = paper()
    write(pen, "70", 60, 40)
    pen.ellipse([400, 80, 404, 84], fill=0)
    pen.rectangle([0, 0, 599, 159], outline=0, width=2)
    assert [len(line) for line in find_digits(image)] == [2]


def test_a_frame_is_not_a_piece():
    ink = np.pad(np.zeros((98, 198), np.float32), 1, constant_values=1)
    ink[20:80, 90:100] = 1
    assert [(piece.left, piece.width) for piece in find_pieces(ink)] == [(90, 10)]


def test_the_boxes_of_a_form_are_ignored():
    image, pen = paper()
    write(pen, "705", 60, 40, gap=52)
    for at in range(3):
        pen.rectangle([34 + 100 * at, 20, 134 + 100 * at, 140], outline=0, width=2)
    assert [len(line) for line in find_digits(image)] == [3]


def test_specks_near_a_digit_are_not_digits():
    image, pen = paper()
    write(pen, "0", 60, 40)
    for at in range(5):
        pen.rectangle([62 + 9 * at, 128, 67 + 9 * at, 137], fill=0)
    assert [len(line) for line in find_digits(image, confident_in(0.6, 0.5))] == [1]


def test_the_parts_of_a_five_are_one_digit():
    image, pen = paper()
    write(pen, "75", 60, 40)
    (line,) = find_digits(image)
    assert len(line) == 2 and line[1][0].y < 45  # the separate bar at the top is in the box


def test_blank_paper_has_no_digits():
    assert find_digits(Image.new("RGB", (200, 100), (240, 240, 240))) == []
    assert find_lines([]) == []


def test_broad_pieces_are_cut_at_the_column_with_the_least_ink():
    image, pen = paper()
    write(pen, "00", 60, 40, gap=24)
    pen.line([(108, 80), (132, 80)], fill=0, width=4)  # a thin line connects them
    (line,) = find_digits(image)
    assert len(line) == 2
    assert abs(line[1][0].x - 120) < 16


def confident_in(*aspects: float):
    """A stub classifier that is confident in glyphs with one of these ratios of width to height, and only in them."""

    def classify(pixels: np.ndarray) -> np.ndarray:
        probabilities = np.full((len(pixels), 10), 0.1)
        for index, image in enumerate(pixels):
            rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
            aspect = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
            probabilities[index, 0] = 0.99 if any(abs(aspect - other) < 0.12 for other in aspects) else 0.1
        return probabilities

    return classify


def test_the_classifier_decides_whether_a_piece_is_one_digit_or_two():
    image, pen = paper()
    write(pen, "00", 60, 40, height=80, gap=-18)  # two overlapping rings, 78 pixels wide
    assert len(find_digits(image, confident_in(0.95, 1.0))[0]) == 1
    assert len(find_digits(image, confident_in(0.55, 0.4))[0]) >= 2


def test_the_classifier_is_called_once_per_line_with_images_in_mnist_format():
    calls = []

    def classify(pixels: np.ndarray) -> np.ndarray:
        calls.append(pixels)
        return np.full((len(pixels), 10), 0.1)

    image, pen = paper()
    write(pen, "701", 60, 40)
    find_digits(image, classify)
    assert len(calls) == 1 and calls[0].dtype == np.uint8 and calls[0].shape[1:] == (28, 28)


def test_distant_digits_are_never_joined():
    image, pen = paper()
    write(pen, "11", 60, 40, gap=60)
    assert len(find_digits(image, confident_in(0.9))[0]) == 2


def test_cutting_keeps_all_ink_and_the_first_slice_has_no_cost():
    ink = np.zeros((40, 90), np.float32)
    ink[:, :10] = ink[:, 40:50] = ink[:, 80:] = 1
    ink[18:22] = 1
    (piece,) = find_pieces(np.pad(ink, 3))
    slices = cut(piece)
    assert sum(float(part.ink.sum()) for part in slices) == ink.sum()
    assert slices[0].cut_cost == 0 and all(part.cut_cost > 0 for part in slices[1:])
    assert sum(part.share for part in slices) == pytest.approx(1)
