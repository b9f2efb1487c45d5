"""Background: uneven light, polarity, sheets of paper, ruled lines."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recognition.paper import (
    MAX_STROKE,
    Assumptions,
    is_evenly_lit,
    level_light,
    polarity,
    remove_lines,
    sheet_mask,
    subtract_background,
)
from recognition.raster import skewness
from tests.drawing import slope


def written(paper: np.ndarray, ink: float, width: int = 5) -> np.ndarray:
    """An image float32 (1, h, w) with two strokes. `ink`: their brightness divided by the paper's."""
    picture = np.array(paper, np.float32)
    picture[30:90, 40 : 40 + width] *= ink
    picture[30 : 30 + width, 40:80] *= ink
    return picture[None]


def papers():
    y, x = slope(120, 120)
    noise = np.random.default_rng(0).normal(0, 1, (120, 120))
    yield "even", np.full((120, 120), 120.0)
    yield "slanting light", 120 + 40 * x + 20 * y + noise
    yield "the edge of a shadow", np.where(x + 0.4 * y > 0.1, 60, 130) + noise
    yield "a table beside the paper", np.where(x > 0.6, 20, 120) + noise


@pytest.mark.parametrize(("name", "paper"), list(papers()), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("ink", [0.5, 1.6])
def test_strokes_are_kept_and_paper_is_removed_in_any_light(name, paper, ink):
    picture = written(paper, ink)
    found = subtract_background(picture)
    stroke = found[40:80, 42].min()
    outside = np.ones((120, 120), bool)
    outside[28:92, 38:82] = False
    assert stroke > 30 and np.quantile(found[outside], 0.99) < stroke / 2


def test_only_even_paper_is_evenly_lit():
    light = dict(papers())
    assert is_evenly_lit(written(light["even"], 0.3))
    assert not any(is_evenly_lit(written(paper, 0.3)) for name, paper in light.items() if name != "even")
    assert is_evenly_lit(
        np.random.default_rng(0).uniform(0, 255, (1, 20, 20)).astype(np.float32)
    )  # too small to show its light


@pytest.mark.parametrize(("name", "paper"), list(papers()), ids=lambda value: value if isinstance(value, str) else "")
def test_the_finest_details_show_the_polarity(name, paper):
    assert polarity(written(paper, 0.5)) < 0 < polarity(written(paper, 1.8))


def test_polarity_is_correct_where_ink_is_more_frequent_than_paper():
    ring = Image.new("L", (60, 60))
    ImageDraw.Draw(ring).ellipse([0, 0, 59, 59], outline=255, width=13)  # more than half of the image is ink
    deviation = np.asarray(ring, np.float32) - 255
    assert skewness(deviation) < 0 < polarity(deviation[None])


def test_ink_is_as_strong_in_a_shadow_as_in_the_light():
    paper = np.where(np.arange(120)[None, :] > 60, 60.0, 130.0) * np.ones((120, 1))
    distance = level_light(written(paper, 0.5), bright=False)[0]
    assert distance[32, 45] == pytest.approx(distance[32, 75], rel=0.1)


def test_ink_on_the_table_around_a_sheet_is_removed():
    picture = written(np.full((120, 120), 130.0), 0.4)
    picture[..., 95:] = 30
    picture[:, 40:80, 105:108] = 10  # the grain of the table
    assumptions = Assumptions(max_stroke=MAX_STROKE, sheet=True)
    found = subtract_background(picture, assumptions)
    assert found[:, 96:].max() == 0 < found[40:80, 42].min()


def test_a_gradual_change_of_light_is_not_the_edge_of_a_sheet():
    y, x = slope(64, 64)
    assert sheet_mask((150 + 60 * x).astype(np.float32)).all()
    assert sheet_mask(np.full((64, 64), 99, np.float32)).all()
    sheet = sheet_mask(np.where(x > 0.5, 60, 150 + 20 * y).astype(np.float32))
    assert sheet[:, :46].all() and not sheet[:, 48:].any()


def test_colours_of_equal_luminance_are_distinguished():
    picture = np.full((60, 60, 3), (86, 129, 86), np.float32)
    picture[10:50, 28:32] = (200, 70, 70)
    found = subtract_background(picture.transpose(2, 0, 1))
    assert found[20, 30] > 100 > 1 > abs(found[20, 5])


def test_lines_are_erased_and_strokes_that_cross_them_are_kept():
    ink = np.zeros((128, 128), np.float32)
    ink[20::30] = 100
    ink[10:110, 60:68] = 100
    cleaned = remove_lines(ink, contrast=100)
    assert cleaned[:, :55].max() == 0 and cleaned[:, 75:].max() == 0
    assert cleaned[12:108, 62:66].min() == 100


def test_a_single_stroke_across_the_image_is_not_a_paper_line():
    ink = np.zeros((128, 128), np.float32)
    ink[20:22] = 100
    ink[20:120, 60:66] = 100
    assert remove_lines(ink, contrast=100) is ink
