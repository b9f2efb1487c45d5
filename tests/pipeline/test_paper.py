"""Ground, polarity, shadows and ruled lines."""

import numpy as np
from PIL import Image, ImageDraw

from pipeline.paper import fit_ground, ground_surface, polarity, remove_lines, remove_shadows
from pipeline.raster import skewness
from tests.drawing import slope


def test_ground_is_found_under_ink():
    _, x = slope(32, 32)
    cells = (180 + 40 * x)[..., None]
    inked = cells.copy()
    inked[8:24, 14:18] = 20
    surface = ground_surface(fit_ground(inked), 32, 32)
    assert np.abs(surface - cells).max() < 2


def test_even_ground_is_one_value():
    assert np.all(ground_surface(np.array([[7.0], [0], [0], [0], [0], [0]]), 3, 5) == 7)


def test_polarity_is_that_of_the_rarer_side():
    deviation = np.zeros((60, 60), np.float32)
    deviation[10:50, 28:32] = 30
    assert polarity(deviation) > 0 > polarity(-deviation)


def test_polarity_of_a_digit_cropped_close_goes_by_its_parts():
    ring = Image.new("L", (60, 60))
    ImageDraw.Draw(ring).ellipse([0, 0, 59, 59], outline=255, width=13)  # more than half of the picture is ink
    deviation = np.asarray(ring, np.float32) - 255
    assert skewness(deviation) < 0 < polarity(deviation)


def test_polarity_in_real_light_goes_by_what_is_local():
    deviation = np.random.default_rng(0).normal(0, 2, (160, 160)).astype(np.float32)
    deviation[:, 100:] -= 90  # paper beyond a shadow's edge is brighter than the one in it
    deviation[20:100, 40:46] += 90
    assert skewness(deviation) < 0 < polarity(deviation)


def test_shadows_go_and_strokes_stay():
    ink = np.zeros((120, 120), np.float32)
    ink[60:] = 50  # a shadow over half of the sheet
    ink[20:100, 50:58] += 80
    cleaned = remove_shadows(ink)
    assert cleaned[90, 10] < 1 and cleaned[30, 54] > 70 and cleaned[80, 54] > 70


def test_lines_are_erased_but_for_the_strokes_that_cross_them():
    ink = np.zeros((128, 128), np.float32)
    ink[20::30] = 100
    ink[10:110, 60:68] = 100
    cleaned = remove_lines(ink, level=100)
    assert cleaned[:, :55].max() == 0 and cleaned[:, 75:].max() == 0
    assert cleaned[12:108, 62:66].min() == 100


def test_a_single_stroke_from_side_to_side_is_no_paper_line():
    ink = np.zeros((128, 128), np.float32)
    ink[20:22] = 100
    ink[20:120, 60:66] = 100
    assert remove_lines(ink, level=100) is ink
