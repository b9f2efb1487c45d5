"""The paper's light, polarity and ruled lines."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recognition.paper import (
    BROAD,
    Look,
    evenly_lit,
    level_light,
    polarity,
    remove_lines,
    sheet_of_paper,
    subtract_ground,
)
from recognition.raster import skewness
from tests.drawing import slope


def written(paper: np.ndarray, ink: float, width: int = 5) -> np.ndarray:
    """float32 (h, w, 1): two strokes of brightness `ink` times the paper's."""
    picture = np.array(paper, np.float32)
    picture[30:90, 40 : 40 + width] *= ink
    picture[30 : 30 + width, 40:80] *= ink
    return picture[..., None]


def papers():
    y, x = slope(120, 120)
    noise = np.random.default_rng(0).normal(0, 1, (120, 120))
    yield "even", np.full((120, 120), 120.0)
    yield "slanting light", 120 + 40 * x + 20 * y + noise
    yield "a shadow's edge", np.where(x + 0.4 * y > 0.1, 60, 130) + noise
    yield "a table beside the paper", np.where(x > 0.6, 20, 120) + noise


@pytest.mark.parametrize(("name", "paper"), list(papers()), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("ink", [0.5, 1.6])
def test_strokes_stand_out_and_paper_vanishes_whatever_the_light(name, paper, ink):
    picture = written(paper, ink)
    found = subtract_ground(picture)
    stroke = found[40:80, 42].min()
    outside = np.ones((120, 120), bool)
    outside[28:92, 38:82] = False
    assert stroke > 30 and np.quantile(found[outside], 0.99) < stroke / 2


def test_only_even_paper_is_evenly_lit():
    light = dict(papers())
    assert evenly_lit(written(light["even"], 0.3))
    assert not any(evenly_lit(written(paper, 0.3)) for name, paper in light.items() if name != "even")
    assert evenly_lit(np.random.default_rng(0).uniform(0, 255, (20, 20, 1)).astype(np.float32))  # too small to judge


@pytest.mark.parametrize(("name", "paper"), list(papers()), ids=lambda value: value if isinstance(value, str) else "")
def test_polarity_is_that_of_the_finest_details(name, paper):
    assert polarity(written(paper, 0.5)) < 0 < polarity(written(paper, 1.8))


def test_polarity_of_a_digit_cropped_close_is_not_that_of_the_rarer_side():
    ring = Image.new("L", (60, 60))
    ImageDraw.Draw(ring).ellipse([0, 0, 59, 59], outline=255, width=13)  # more than half of the picture is ink
    deviation = np.asarray(ring, np.float32) - 255
    assert skewness(deviation) < 0 < polarity(deviation[..., None])


def test_ink_in_a_shadow_stands_out_as_in_the_light():
    paper = np.where(np.arange(120)[None, :] > 60, 60.0, 130.0) * np.ones((120, 1))
    distance = level_light(written(paper, 0.5), bright=False)[..., 0]
    assert distance[32, 45] == pytest.approx(distance[32, 75], rel=0.1)


def test_on_a_sheet_the_table_is_left_out():
    picture = written(np.full((120, 120), 130.0), 0.4)
    picture[:, 95:] = 30
    picture[40:80, 105:108] = 10  # the table's grain
    look = Look(broad=BROAD, sheet=True)
    assert subtract_ground(picture, look)[:, 96:].max() == 0 < subtract_ground(picture, look)[40:80, 42].min()


def test_a_slanting_light_is_no_edge_of_a_sheet():
    y, x = slope(64, 64)
    assert sheet_of_paper((150 + 60 * x).astype(np.float32)).all()
    assert sheet_of_paper(np.full((64, 64), 99, np.float32)).all()
    sheet = sheet_of_paper(np.where(x > 0.5, 60, 150 + 20 * y).astype(np.float32))
    assert sheet[:, :46].all() and not sheet[:, 48:].any()


def test_colours_of_one_luminance_are_told_apart():
    picture = np.full((60, 60, 3), (86, 129, 86), np.float32)
    picture[10:50, 28:32] = (200, 70, 70)
    found = subtract_ground(picture)
    assert found[20, 30] > 100 > 1 > abs(found[20, 5])


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
