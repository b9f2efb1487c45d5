"""Segmentation of numbers: boxes, reading order, touching digits, specks, limits."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recognition.cutting import cut
from recognition.decoding import decode_image
from recognition.ink import extract_ink, read_colours
from recognition.pieces import MAX_PIECES, TooManyDigits, find_lines, find_pieces, union
from recognition.preprocessing import Digit
from recognition.segmentation import MAX_GLYPHS, Box, find_digits, segment_shapes, split_line
from recognition.shapes import NO_CUT, NO_GAP, SHAPES, Shape, penalty
from tests.drawing import lit

STROKES = {
    "1": [[(0.5, 0), (0.5, 1)]],
    "4": [[(0.6, 0), (0, 0.65), (1, 0.65)], [(0.75, 0.3), (0.75, 1)]],
    "5": [[(0.1, 0.1), (0.1, 0.5), (0.9, 0.6), (0.8, 1), (0, 1)], [(0.2, 0), (1, 0)]],
    "7": [[(0, 0), (1, 0), (0.4, 1)]],
    "0": [[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]],
}


def write(
    pen: ImageDraw.ImageDraw, number: str, x: float, y: float, height: float = 80, gap: float = 25, pen_width: int = 8
) -> list[Box]:
    """Draws `number` to the right of (x, y) and returns the boxes of its digits, without the width of the pen."""
    boxes = []
    for digit in number:
        width = 0.6 * height * (digit != "1")
        for stroke in STROKES[digit]:
            pen.line([(x + a * width, y + b * height) for a, b in stroke], fill=0, width=pen_width, joint="curve")
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


def test_boxes_of_a_huge_turned_image_are_in_its_own_pixels():
    image, pen = paper(5000, 1500)  # more than four megapixels: averaged down before it is turned
    truths = write(pen, "07", 3000, 400, height=700, gap=300, pen_width=40)
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    (line,) = find_digits(decode_image(buffer.getvalue()))
    for (box, _), truth in zip(line, truths, strict=True):
        assert abs(box.x + 20 - truth.x) < 30 and abs(box.y + 20 - truth.y) < 30
        assert abs(box.width - 40 - truth.width) < 40 and abs(box.height - 40 - truth.height) < 40


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


def test_broad_pieces_are_cut_where_they_have_the_least_ink():
    image, pen = paper()
    write(pen, "00", 60, 40, gap=24)
    pen.line([(108, 80), (132, 80)], fill=0, width=4)  # a thin line connects them
    (line,) = find_digits(image)
    assert len(line) == 2
    assert abs(line[1][0].x - 120) < 16


def confident_in(*aspects: float):
    """A stub score that is high for glyphs with one of these ratios of width to height, and only for them."""

    def score(pixels: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        scores = np.empty(len(pixels))
        for index, image in enumerate(pixels):
            rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
            aspect = (np.ptp(columns) + 1) / (np.ptp(rows) + 1)
            scores[index] = np.log(0.99 if any(abs(aspect - other) < 0.12 for other in aspects) else 0.1)
        return scores * shapes[:, Shape.SHARE] - penalty(shapes)

    return score


def test_the_score_decides_whether_a_piece_is_one_digit_or_two():
    image, pen = paper()
    write(pen, "00", 60, 40, height=80, gap=-18)  # two overlapping rings, 78 pixels wide
    assert len(find_digits(image, confident_in(0.95, 1.0))[0]) == 1
    assert len(find_digits(image, confident_in(0.55, 0.4))[0]) >= 2


def test_the_score_is_called_once_per_line_with_images_in_mnist_format():
    calls = []

    def score(pixels: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        calls.append(pixels)
        assert shapes.shape == (len(pixels), SHAPES) and shapes.dtype == np.float32
        return np.full(len(pixels), -1.0)

    image, pen = paper()
    write(pen, "701", 60, 40)
    find_digits(image, score)
    assert len(calls) == 1 and calls[0].dtype == np.uint8 and calls[0].shape[1:] == (28, 28)


def test_distant_digits_are_never_joined():
    image, pen = paper()
    write(pen, "11", 60, 40, gap=60)
    assert len(find_digits(image, confident_in(0.9))[0]) == 2


def test_shapes_measure_segments_in_heights_of_the_line():
    ink = np.zeros((40, 90), np.float32)
    ink[:, :20] = ink[:, 60:80] = 1
    ink[18:22, :80] = 1  # a bar connects two blocks
    (components,) = find_lines(find_pieces(np.pad(ink, 3)))
    pieces, height, join_costs = split_line(components, 0.5)
    segments = [union(pieces[start:end]) for start, end in join_costs]
    shapes = dict(zip(join_costs, segment_shapes(pieces, height, join_costs, segments), strict=True))
    assert height == 40 and len(pieces) > 2
    first, last = shapes[0, 1], shapes[len(pieces) - 1, len(pieces)]
    assert (
        first[Shape.HEIGHT] == 1
        and first[Shape.ASPECT] == pytest.approx(first[Shape.WIDTH])
        and first[Shape.SHARE] < 0.6
    )
    assert first[Shape.LEFT_CUT] == 0 < first[Shape.RIGHT_CUT] and last[Shape.RIGHT_CUT] == 0 < last[Shape.LEFT_CUT]
    assert first[Shape.INNER_CUT] == NO_CUT and first[Shape.INNER_CUTS] == 0 and first[Shape.GAP] == NO_GAP
    assert shapes[0, 2][Shape.INNER_CUTS] == 1 and shapes[0, 2][Shape.INNER_CUT] == pytest.approx(
        first[Shape.RIGHT_CUT]
    )
    assert not any(column.max() > 2 for column in np.array(list(shapes.values()))[:, [Shape.WIDTH, Shape.HEIGHT]].T)


def test_narrow_touching_digits_are_cut_if_there_is_a_score():
    image, pen = paper()
    write(pen, "11", 60, 40, gap=40)
    write(pen, "11", 300, 40, gap=34)
    pen.line([(300, 80), (334, 80)], fill=0, width=4)  # joins the second pair, which is narrower than a 0
    slim = confident_in(0.1, 0.2)
    assert len(find_digits(image, slim)[0]) == 4


def test_cutting_keeps_all_ink_and_the_first_slice_has_no_cost():
    ink = np.zeros((40, 90), np.float32)
    ink[:, :10] = ink[:, 40:50] = ink[:, 80:] = 1
    ink[18:22] = 1
    (piece,) = find_pieces(np.pad(ink, 3))
    slices = cut(piece)
    assert sum(float(part.ink.sum()) for part in slices) == ink.sum()
    assert slices[0].cut_cost == 0 and all(part.cut_cost > 0 for part in slices[1:])
    assert sum(part.share for part in slices) == pytest.approx(1)


def scattered(count: int, size: int = 1, side: int = 800) -> Image.Image:
    """Squares of `size` pixels at random places, one pixel apart at least."""
    places = np.random.default_rng(0).permutation((side // (size + 1)) ** 2)[:count]
    pixels = np.full((side, side), 255, np.uint8)
    for row, column in zip(*np.divmod(places, side // (size + 1)), strict=True):
        y, x = row * (size + 1), column * (size + 1)
        pixels[y : y + size, x : x + size] = 0
    return Image.fromarray(pixels)


def no_score(pixels: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    pytest.fail(f"{len(pixels)} glyphs were scored")


@pytest.mark.parametrize(("count", "size"), [(1600, 1), (10_000, 1), (40_000, 1), (1600, 9), (MAX_PIECES + 1, 20)])
def test_too_many_digits_are_rejected_before_any_is_scored(count, size):
    with pytest.raises(TooManyDigits, match="more than 200 digits"):
        find_digits(scattered(count, size), no_score)


def test_many_specks_take_little_memory():
    tracemalloc.start()
    with pytest.raises(TooManyDigits):
        find_digits(scattered(40_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000  # bytes; one bit for each pair of specks takes 200,000,000


def test_overlapping_shapes_are_rejected():
    image, pen = paper(800, 800)
    for at in range(0, 300, 5):  # parallel diagonals, whose boxes cover the image 23 times
        pen.line([(at + 10, 10), (at + 490 - at % 2, 790)], fill=0)
    with pytest.raises(TooManyDigits):
        find_digits(image, no_score)


def test_ten_lines_of_ten_digits_are_found():
    image, pen = paper(800, 800)
    for row in range(10):
        write(pen, "7014577014", 30, 20 + 78 * row, height=45, gap=50)
    scored = []

    def score(pixels: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        scored.append(len(pixels))
        return np.full(len(pixels), -1.0)

    assert [len(line) for line in find_digits(image, score)] == [10] * 10
    assert len(scored) == 10 and sum(scored) < MAX_GLYPHS / 2


def scribbles(rows: int, columns: int) -> Image.Image:
    """Zigzags as broad as three digits, each of which is cut into seven slices."""
    image, pen = paper(800, 800)
    for top in np.arange(rows) * 780 / rows + 10:
        for left in np.arange(columns) * 780 / columns + 10:
            width, height = 650 / columns, 500 / rows
            pen.line([(left + i * width / 9, top + height * (i % 2)) for i in range(10)], fill=0, width=2)
    return image


def near_touching() -> Image.Image:
    image, pen = paper(800, 800)
    for row in range(12):
        write(pen, "701" * 5, 20, 20 + 64 * row, height=40, gap=9)
    return image


def spiral() -> Image.Image:
    image, pen = paper(800, 800)
    ends = [
        (400 + sign * k * 9, 400 + other * k * 9) for k in range(1, 40) for sign, other in ((1, -1), (1, 1), (-1, 1))
    ]
    pen.line(ends, fill=0, width=3)
    return image


Y, X = np.mgrid[0:800, 0:800]
BUSY = {
    "checkerboard": Image.fromarray(((X + Y) % 2 * 255).astype(np.uint8)),
    "coarse checkerboard": Image.fromarray(((X // 30 + Y // 30) % 2 * 255).astype(np.uint8)),
    "grid": Image.fromarray(np.where((X % 20 < 2) | (Y % 20 < 2), 0, 255).astype(np.uint8)),
    "noise": Image.fromarray(np.random.default_rng(0).integers(0, 256, (800, 800), dtype=np.uint8)),
    "spiral": spiral(),
    "near-touching digits": near_touching(),
    **{f"{rows} x {columns} scribbles": scribbles(rows, columns) for rows, columns in ((10, 3), (10, 7), (12, 12))},
}


@pytest.mark.parametrize("name", BUSY)
def test_a_busy_image_is_rejected_or_few_glyphs_are_scored(name):
    scored = []

    def score(pixels: np.ndarray, shapes: np.ndarray) -> np.ndarray:
        scored.append(len(pixels))
        return np.full(len(pixels), -1.0)

    try:
        digits = sum(map(len, find_digits(BUSY[name], score)))
    except TooManyDigits:
        assert not scored
    else:
        assert digits <= sum(scored) <= MAX_GLYPHS


def test_scribbles_with_too_many_cuts_are_rejected():
    with pytest.raises(TooManyDigits):
        find_digits(scribbles(12, 12), no_score)


@pytest.mark.parametrize("grain", [10, 30, 60])
def test_grainy_paper_is_not_rejected(grain):
    image, pen = paper(800, 500)
    for row in range(3):
        write(pen, "70147", 60, 30 + 160 * row, height=110, gap=70)
    noisy = lit(image.convert("RGB"), np.full((500, 800), 0.8), noise=grain)
    assert [len(line) for line in find_digits(noisy)] == [5, 5, 5]


def test_cuts_follow_the_gap_between_slanted_digits():
    image, pen = paper()
    for left in (60, 110):  # two slanted bars, whose boxes overlap by half
        pen.line([(left + 60, 30), (left, 130)], fill=0, width=10)
    pen.line([(90, 80), (140, 80)], fill=0, width=2)  # a thin line connects them
    (piece,) = find_pieces(extract_ink(read_colours(image, 800)))
    slices = cut(piece)
    left_of = np.cumsum([part.ink.sum() for part in slices[:-1]]) / piece.ink.sum()
    middle = int(np.abs(left_of - 0.5).argmin())
    assert left_of[middle] == pytest.approx(0.5, abs=0.05)
    assert slices[middle + 1].cut_cost < 2  # the cut crosses the thin line, and no bar


def test_a_digit_with_a_broken_stroke_is_one_digit():
    image, pen = paper()
    write(pen, "70777", 60, 40)
    pen.rectangle((120, 78, 190, 83), fill=255)  # the pen left a gap across the 0
    (line,) = find_digits(image)
    assert len(line) == 5 and line[1][0].height > 80


def test_digits_of_two_close_lines_are_not_joined():
    image, pen = paper(600, 240)
    write(pen, "70", 60, 30)
    write(pen, "70", 60, 130)
    assert [len(line) for line in find_digits(image)] == [2, 2]


def test_dark_digits_that_fill_a_shaded_page_are_not_taken_for_bright_gaps():
    image, pen = paper(570, 300)
    for row in range(4):
        for column, digit in enumerate("4051405140"):
            write(pen, digit, 20 + 54 * column, 8 + 75 * row + 7 * (column % 3), height=52)
    light = np.broadcast_to(np.linspace(0.5, 0.95, 570), (300, 570))
    lines = find_digits(lit(image.convert("RGB"), light, noise=4))
    assert len(lines) == 4 and min(map(len, lines)) >= 8
