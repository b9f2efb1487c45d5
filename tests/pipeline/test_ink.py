"""From a picture to ink: noise, threshold, which components are the digit, the second and the closer look."""

import numpy as np
from PIL import ImageOps

from pipeline.ink import (
    ODD,
    WORKING_SIDE,
    digit_components,
    extract_ink,
    find_glyph,
    ink_box,
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


def test_oddness_is_that_of_blobs_and_of_many_parts():
    glyph = np.zeros((40, 40), np.float32)
    glyph[5:35, 10:14] = glyph[5:9, 10:30] = 1
    assert oddness(glyph[5:35, 10:30]) < ODD < oddness(np.ones((30, 20), np.float32))
    glyph[15:25, 20:22] = glyph[15:25, 26:28] = 1
    assert oddness(glyph[5:35, 10:30]) > ODD
    assert oddness(np.ones((40, 12), np.float32)) == 0  # a thick one


def test_a_digit_small_in_its_picture_is_looked_at_again():
    large = ImageOps.expand(draw(), (2600, 200, 400, 2400), (255, 255, 255))
    ink = extract_ink(large)
    box = ink_box(ink)
    assert box is not None
    closer = look_closer(large, box, ink.shape)
    assert closer is not None and 150 < max(closer.size) < 600
    found = find_glyph(large)
    assert found is not None and max(found.shape) > 5 * (box[1] - box[0])
    assert look_closer(draw(), (40, 150, 40, 150), (192, 192)) is None
