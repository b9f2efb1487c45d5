"""From a picture to ink: noise, threshold, which components are the digit, the second and the closer look."""

import numpy as np
from PIL import ImageOps

from recognition.ink import (
    LIKELIEST,
    ODD,
    WORKING_SIDE,
    _look,
    blobs,
    digit_components,
    extract_ink,
    find_glyph,
    look_closer,
    oddness,
    soft_threshold,
)
from tests.drawing import draw, lit


def test_noise_that_drowns_the_ink_is_averaged_away():
    noisy = lit(draw(ink=(150, 150, 150), paper=(190, 190, 190)), np.ones((280, 280)), noise=14)
    assert max(extract_ink(draw()).shape) == WORKING_SIDE
    assert max(extract_ink(noisy).shape) < WORKING_SIDE


def test_soft_threshold_keeps_edges_soft():
    ink = np.array([[0, 20, 55, 90, 120]], np.float32)
    assert soft_threshold(ink, level=100, noise=0).round(2).tolist() == [[0, 0, 0.5, 1, 1]]
    assert soft_threshold(ink, level=100, noise=30)[0, 1] == 0


def test_components_at_the_border_go_if_something_sizeable_is_inside():
    boxes = np.array([[0, 60, 0, 3], [15, 50, 20, 40], [30, 32, 50, 52]])
    areas = np.array([180, 200, 3])
    assert digit_components(areas, boxes, (60, 60)).tolist() == [False, True, False]
    assert digit_components(areas[:1], boxes[:1], (60, 60)).tolist() == [True]


def test_frames_go_in_one_piece_or_as_two_lines():
    around, beside = [5, 95, 5, 95], [[5, 95, 5, 9], [5, 95, 91, 95]]
    digit = [30, 70, 35, 60]
    closed = digit_components(np.array([1400, 300]), np.array([around, digit]), (100, 100))
    open_ = digit_components(np.array([360, 360, 300]), np.array([*beside, digit]), (100, 100))
    assert closed.tolist() == [False, True] and open_.tolist() == [False, False, True]
    zero_with_a_speck = digit_components(np.array([1400, 30]), np.array([around, [48, 54, 48, 54]]), (100, 100))
    assert zero_with_a_speck[0]


def test_underlines_go_and_the_base_of_a_one_stays():
    one = [10, 70, 45, 50]
    bar = np.array([300, 180])
    assert digit_components(bar, np.array([one, [82, 85, 20, 80]]), (100, 100)).tolist() == [True, False]
    assert digit_components(bar, np.array([one, [71, 74, 20, 80]]), (100, 100)).tolist() == [True, True]


def test_oddness_is_that_of_blobs_and_of_many_parts():
    glyph = np.zeros((30, 20), np.float32)
    glyph[:, :4] = glyph[:4] = 1
    assert oddness(glyph, 1) < ODD < oddness(np.ones((30, 20), np.float32), 1)
    assert oddness(glyph, 3) > ODD
    assert oddness(np.ones((40, 12), np.float32), 1) == 0  # a thick one


def test_blobs_are_broader_than_any_stroke():
    marker = np.zeros((60, 40), np.float32)
    marker[:, :13] = marker[:13] = 1
    assert blobs(marker) == 0
    marker[30:, 10:] = 1
    assert blobs(marker) > 1


def test_a_digit_small_in_its_picture_is_looked_at_again():
    large = ImageOps.expand(draw(), (2600, 200, 400, 2400), (255, 255, 255))
    rough = _look(large, LIKELIEST)
    assert rough is not None
    closer = look_closer(large, rough.box, rough.shape)
    assert closer is not None and 150 < max(closer.size) < 600
    found = find_glyph(large)
    assert found is not None and max(found.shape) > 5 * max(rough.glyph.shape)
    assert look_closer(draw(), (40, 150, 40, 150), (192, 192)) is None
