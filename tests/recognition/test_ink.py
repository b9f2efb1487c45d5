"""Extraction of ink: large images, noise, threshold, the components of the digit, shape costs, small digits."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from recognition.ink import (
    DOUBTFUL_COST,
    WORKING_SIDE,
    blob_cost,
    crop_small_digit,
    digit_components,
    extract_ink,
    find_candidate,
    find_glyph,
    load_pixels,
    read_colours,
    shape_cost,
    soft_threshold,
)
from tests.drawing import draw, lit


@pytest.mark.parametrize(("size", "factor"), [((2000, 2000), 1), ((3000, 3001), 2), ((300, 50_000), 3)])
def test_large_images_are_averaged_down_to_less_than_four_megapixels(size, factor):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    loaded = load_pixels(image)
    assert loaded.width * loaded.height < 4 * 1024 * 1024
    assert loaded.tobytes() == image.reduce(factor).tobytes()  # the strips leave no seams


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "CMYK"])
def test_a_large_image_is_converted_without_a_second_one_of_its_size(mode, monkeypatch):
    image = Image.new(mode, (4000, 4000))
    image.info["transparency"] = bytes(range(256))
    converted = []
    convert = Image.Image.convert

    def record(self, *arguments, **options):
        converted.append(self.width * self.height)
        return convert(self, *arguments, **options)

    monkeypatch.setattr(Image.Image, "convert", record)
    find_glyph(load_pixels(image))
    assert converted and max(converted) < 4 * 1024 * 1024  # pixels


def test_noise_that_hides_the_ink_is_averaged_away():
    noisy = lit(draw(ink=(150, 150, 150), paper=(190, 190, 190)), np.ones((280, 280)), noise=25)
    clear, hidden = read_colours(draw(), WORKING_SIDE), read_colours(noisy, WORKING_SIDE)
    assert clear.shape == (1, 140, 140)  # 280 pixels are averaged by the least whole factor
    assert extract_ink(clear).shape == (140, 140)
    assert max(extract_ink(hidden).shape) == 70


def test_soft_threshold_keeps_edges_soft():
    ink = np.array([[0, 20, 55, 90, 120]], np.float32)
    assert soft_threshold(ink, contrast=100, noise=0).round(2).tolist() == [[0, 0, 0.5, 1, 1]]
    assert soft_threshold(ink, contrast=100, noise=30)[0, 1] == 0


def test_components_at_the_border_are_excluded_if_a_large_one_is_inside():
    boxes = np.array([[0, 60, 0, 3], [15, 50, 20, 40], [30, 32, 50, 52]])
    areas = np.array([180, 200, 3])
    assert digit_components(areas, boxes, (60, 60)).tolist() == [False, True, False]
    assert digit_components(areas[:1], boxes[:1], (60, 60)).tolist() == [True]


def test_frames_of_one_piece_or_of_two_lines_are_excluded():
    around, beside = [5, 95, 5, 95], [[5, 95, 5, 9], [5, 95, 91, 95]]
    digit = [30, 70, 35, 60]
    closed = digit_components(np.array([1400, 300]), np.array([around, digit]), (100, 100))
    open_ = digit_components(np.array([360, 360, 300]), np.array([*beside, digit]), (100, 100))
    assert closed.tolist() == [False, True] and open_.tolist() == [False, False, True]
    zero_with_a_speck = digit_components(np.array([1400, 30]), np.array([around, [48, 54, 48, 54]]), (100, 100))
    assert zero_with_a_speck[0]


def test_underlines_are_excluded_and_the_base_of_a_one_is_kept():
    one = [10, 70, 45, 50]
    bar = np.array([300, 180])
    assert digit_components(bar, np.array([one, [82, 85, 20, 80]]), (100, 100)).tolist() == [True, False]
    assert digit_components(bar, np.array([one, [71, 74, 20, 80]]), (100, 100)).tolist() == [True, True]


def test_blobs_and_many_parts_have_a_high_shape_cost():
    glyph = np.zeros((30, 20), np.float32)
    glyph[:, :4] = glyph[:4] = 1
    assert shape_cost(glyph, 1) < DOUBTFUL_COST < shape_cost(np.ones((30, 20), np.float32), 1)
    assert shape_cost(glyph, 3) > DOUBTFUL_COST
    assert shape_cost(np.ones((40, 12), np.float32), 1) == 0  # a thick one


def test_a_blob_is_broader_than_a_marker_stroke():
    marker = np.zeros((60, 40), np.float32)
    marker[:, :13] = marker[:13] = 1
    assert blob_cost(marker) == 0
    marker[30:, 10:] = 1
    assert blob_cost(marker) > 1


def test_a_small_digit_in_a_large_image_is_extracted_at_a_higher_resolution():
    large = ImageOps.expand(draw(), (2600, 200, 400, 2400), (255, 255, 255))
    rough = find_candidate(read_colours(large, WORKING_SIDE))
    assert rough is not None
    closer = crop_small_digit(large, rough)
    assert closer is not None and 150 < max(closer.size) < 600
    found = find_glyph(large)
    assert found is not None and max(found.shape) > 5 * max(rough.ink.shape)
    medium = find_candidate(read_colours(draw(), WORKING_SIDE))
    assert medium is not None and crop_small_digit(draw(), medium) is None
