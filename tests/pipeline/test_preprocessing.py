"""From drawn pictures to MNIST's 28x28: the whole chain on what people send, and each step alone."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from pipeline import preprocessing as p

SEVEN = [(0.25, 0.2), (0.75, 0.2), (0.4, 0.85)]


def draw(points=SEVEN, size=(280, 280), width=20, ink=(0, 0, 0), paper=(255, 255, 255)) -> Image.Image:
    """A polyline of `points`, in shares of the picture, with round joints."""
    image = Image.new("RGB", size, paper)
    pen = ImageDraw.Draw(image)
    path = [(x * size[0], y * size[1]) for x, y in points]
    pen.line(path, fill=ink, width=width, joint="curve")
    for x, y in path:
        pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=ink)
    return image


def likeness(first: p.Digit, second: p.Digit) -> float:
    """Correlation of two results; a shift by a pixel or another stroke width lowers it, another shape much
    more.
    """
    a, b = (Image.fromarray(digit.pixels).filter(ImageFilter.GaussianBlur(1)) for digit in (first, second))
    return float(np.corrcoef(np.asarray(a).ravel(), np.asarray(b).ravel())[0, 1])


def lit(image: Image.Image, light: np.ndarray, noise: float = 3.0) -> Image.Image:
    """As a camera sees it under `light` (height, width, 0..1), with sensor noise."""
    shaded = np.asarray(image, np.float32) * light[..., None]
    shaded += np.random.default_rng(0).normal(0, noise, shaded.shape)
    return Image.fromarray(shaded.clip(0, 255).astype(np.uint8))


def slope(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")


@pytest.fixture(scope="module")
def seven() -> p.Digit:
    return p.to_digit(draw())


def test_the_result_has_mnist_geometry(seven):
    assert seven.pixels.shape == (28, 28) and seven.pixels.dtype == np.uint8 and not seven.blank
    rows, columns = np.flatnonzero(seven.pixels.any(1)), np.flatnonzero(seven.pixels.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert seven.pixels.max() > 230 and seven.pixels[0].max() == 0
    assert p.is_mnist_like(seven.pixels)


def test_what_is_mnist_like_passes_unchanged(seven):
    for image in (Image.fromarray(seven.pixels), Image.fromarray(seven.pixels).convert("RGB")):
        assert np.array_equal(p.to_digit(image).pixels, seven.pixels)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 255 - x,
        lambda x: np.roll(x, 3, axis=1),
        lambda x: x // 3,
        lambda x: np.pad(x, 1),
        lambda x: np.where(np.arange(28)[:, None] == 1, 255, x).astype(np.uint8),
        lambda x: x.astype(np.float32),
        lambda x: x * 0,
    ],
    ids=["dark ink", "off centre", "pale", "30x30", "beyond the box", "float", "empty"],
)
def test_what_is_not_mnist_like(seven, change):
    assert not p.is_mnist_like(change(seven.pixels))


PICTURES = {
    "light on dark": draw(ink=(255, 255, 255), paper=(0, 0, 0)),
    "chalk": lit(draw(ink=(200, 200, 190), paper=(50, 70, 60)), np.ones((280, 280)), noise=6),
    "yellow on white": draw(ink=(255, 240, 60)),
    "light blue on white": draw(ink=(175, 215, 250)),
    "red on green of equal luminance": draw(ink=(200, 70, 70), paper=(86, 129, 86)),
    "low contrast": draw(ink=(180, 180, 180), paper=(205, 205, 205)),
    "marker": draw(width=36),
    "hairline of a large picture": draw(size=(1400, 1400), width=3),
    "small": draw(size=(28, 28), width=2),
    "in a corner of a large picture": ImageOps.expand(draw(), (900, 80, 100, 700), (255, 255, 255)),
    "vignette": lit(draw(paper=(230, 225, 210)), 1 - 0.35 * sum(a * a for a in slope(280, 280)) / 2),
    "slanting light": lit(draw(paper=(230, 225, 210)), 0.7 + 0.28 * slope(280, 280)[1]),
    "a shadow's edge": lit(
        draw(paper=(230, 225, 210)), np.where(slope(280, 280)[0] + 0.3 * slope(280, 280)[1] > 0, 0.55, 1)
    ),
    "noise": lit(draw(ink=(120, 120, 120), paper=(190, 190, 190)), np.ones((280, 280)), noise=20),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_one_digit_however_it_was_made(picture, seven):
    assert likeness(p.to_digit(PICTURES[picture]), seven) > 0.9


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("tilt", [0.0, 0.04])
def test_paper_lines_vanish_even_as_dark_as_the_pen(seven, squared, tilt):
    image = draw(paper=(240, 240, 240))
    pen = ImageDraw.Draw(image)
    for at in range(15, 320, 40):
        pen.line([(0, at), (280, at + 280 * tilt)], fill=(20, 20, 20), width=2)
        if squared:
            pen.line([(at, 0), (at - 280 * tilt, 280)], fill=(20, 20, 20), width=2)
    assert likeness(p.to_digit(image), seven) > 0.85


def test_a_frame_and_specks_are_not_the_digit(seven):
    image = draw()
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 0, 279, 279], outline=(0, 0, 0), width=4)
    for x, y in ((20, 250), (260, 30), (30, 40)):
        pen.ellipse([x, y, x + 4, y + 4], fill=(0, 0, 0))
    assert likeness(p.to_digit(image), seven) > 0.95


def test_a_table_round_the_paper_is_not_the_digit(seven):
    image = Image.new("RGB", (400, 400), (70, 50, 40))
    image.paste(draw(paper=(220, 220, 215)), (55, 65))
    assert likeness(p.to_digit(lit(image, np.ones((400, 400)))), seven) > 0.9


def test_a_broken_stroke_stays_one_digit(seven):
    image = draw()
    ImageDraw.Draw(image).rectangle([0, 130, 280, 142], fill=(255, 255, 255))
    assert likeness(p.to_digit(image), seven) > 0.9


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (230, 30, 30)])
def test_transparent_ground_takes_ink_of_any_brightness(seven, ink):
    mask = ImageOps.invert(draw().convert("L"))
    image = Image.new("RGBA", mask.size, (0, 0, 0, 0))
    image.paste(Image.new("RGBA", mask.size, (*ink, 255)), mask=mask)
    assert likeness(p.to_digit(image), seven) > 0.98


def test_an_opaque_picture_with_a_few_transparent_corners(seven):
    image = draw().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 30))
    assert likeness(p.to_digit(image), seven) > 0.98


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"]
)
def test_every_mode_gives_the_same_digit(seven, mode):
    base = draw()
    if mode == "I;16":
        image = Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 150 + 2000)
    elif mode == "LAB":
        image = Image.merge("LAB", (base.convert("L"), *[Image.new("L", base.size, 128)] * 2))
    elif mode in ("PA", "RGBa"):
        image = base.convert("RGBA").convert("P").convert("PA") if mode == "PA" else base.convert("RGBA").convert(mode)
    else:
        image = base.convert("L").convert(mode) if mode in ("LA", "I", "F") else base.convert(mode)
    assert image.mode == mode
    assert likeness(p.to_digit(image), seven) > 0.98


@pytest.mark.parametrize(("orientation", "turn"), [(6, Image.Transpose.ROTATE_90), (3, Image.Transpose.ROTATE_180)])
def test_a_photograph_is_turned_as_its_exif_says(seven, orientation, turn):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    draw().transpose(turn).save(buffer, "JPEG", exif=exif, quality=95)
    assert likeness(p.to_digit(Image.open(buffer)), seven) > 0.98


def test_broken_exif_is_no_obstacle(seven):
    image = draw()
    image.info["exif"] = b"Exif\0\0II*\0\xff\xff\xff\x7f"
    assert likeness(p.to_digit(image), seven) > 0.98


def empty_pictures():
    rng = np.random.default_rng(1)
    yield "white", np.full((100, 80), 255.0)
    yield "black", np.zeros((28, 28))
    yield "one pixel", np.full((1, 1), 90.0)
    yield "paper", 220 + rng.normal(0, 3, (300, 300))
    yield "noise only", rng.uniform(0, 255, (200, 200))
    yield "noise only, MNIST's size", rng.uniform(0, 255, (28, 28))
    yield "slanting light", 150 + 60 * slope(300, 300)[0] + rng.normal(0, 2, (300, 300))
    yield "transparent", None


@pytest.mark.parametrize(
    ("name", "pixels"), list(empty_pictures()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_blank_pictures(name, pixels):
    image = (
        Image.new("RGBA", (50, 50), (255, 0, 0, 0))
        if pixels is None
        else Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    )
    digit = p.to_digit(image)
    assert digit.blank and not digit.pixels.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (5, 3), (3000, 20)])
def test_any_size_is_answered(size):
    for colours in ((255, 0), (0, 255)):
        image = Image.new("L", size, colours[0])
        image.putpixel((size[0] // 2, size[1] // 2), colours[1])
        assert p.to_digit(image).pixels.shape == (28, 28)


IMAGES = hnp.arrays(
    np.uint8,
    st.one_of(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 40)] * 2, st.sampled_from([3, 4]))),
)


@given(IMAGES)
@settings(max_examples=120, deadline=None)
def test_any_picture_gives_one_answer_and_stays_as_it_was(pixels):
    image = Image.fromarray(pixels)
    before = image.tobytes()
    first, second = p.to_digit(image), p.to_digit(image)
    assert first.pixels.shape == (28, 28) and first.pixels.dtype == np.uint8
    assert first.blank == (not first.pixels.any())
    assert np.array_equal(first.pixels, second.pixels)
    assert image.tobytes() == before


# --- each step alone


def test_ground_is_found_under_ink():
    _, x = slope(32, 32)
    cells = (180 + 40 * x)[..., None]
    inked = cells.copy()
    inked[8:24, 14:18] = 20
    surface = p.ground_surface(p.fit_ground(inked), 32, 32)
    assert np.abs(surface - cells).max() < 2


def test_even_ground_is_one_value():
    assert np.all(p.ground_surface(np.array([[7.0], [0], [0], [0], [0], [0]]), 3, 5) == 7)


def test_polarity_is_that_of_the_rarer_side():
    deviation = np.zeros((60, 60), np.float32)
    deviation[10:50, 28:32] = 30
    assert p.polarity(deviation) > 0 > p.polarity(-deviation)


def test_polarity_of_a_digit_cropped_close_goes_by_its_parts():
    ring = Image.new("L", (60, 60))
    ImageDraw.Draw(ring).ellipse([0, 0, 59, 59], outline=255, width=18)  # two thirds of the picture are ink
    deviation = np.asarray(ring, np.float32) - 128
    assert p.polarity(deviation) > 0 > p.polarity(-deviation)


def test_box_mean_is_the_mean_over_a_square():
    values = np.arange(25, dtype=np.float32).reshape(5, 5)
    assert p.box_mean(values, 1)[2, 2] == values[1:4, 1:4].mean()
    assert np.allclose(p.box_mean(np.full((4, 7), 3, np.float32), 2), 3)


def test_shadows_go_and_strokes_stay():
    ink = np.zeros((120, 120), np.float32)
    ink[60:] = 50  # a shadow over half of the sheet
    ink[20:100, 50:58] += 80
    cleaned = p.remove_shadows(ink)
    assert cleaned[90, 10] < 1 and cleaned[30, 54] > 70 and cleaned[80, 54] > 70


def test_noise_level_is_the_standard_deviation_and_ignores_strokes():
    ink = np.random.default_rng(0).normal(0, 5, (200, 200)).astype(np.float32)
    ink[:, 90:100] += 200
    assert p.noise_level(ink) == pytest.approx(5, rel=0.05)
    assert p.noise_level(np.zeros((1, 1), np.float32)) == 0


def test_otsu_separates_two_levels():
    values = np.array([10, 12, 11, 10, 90, 88], np.float32)
    assert 12 < p.otsu(values) < 88
    assert p.otsu(np.zeros(4, np.float32)) == 0


def test_soft_threshold_keeps_edges_soft():
    ink = np.array([[0, 20, 55, 90, 120]], np.float32)
    assert p.soft_threshold(ink, level=100, noise=0).round(2).tolist() == [[0, 0, 0.5, 1, 1]]
    assert p.soft_threshold(ink, level=100, noise=30)[0, 1] == 0


def test_lines_are_erased_but_for_the_strokes_that_cross_them():
    ink = np.zeros((128, 128), np.float32)
    ink[20::30] = 100
    ink[10:110, 60:68] = 100
    cleaned = p.remove_lines(ink, level=100)
    assert cleaned[:, :55].max() == 0 and cleaned[:, 75:].max() == 0
    assert cleaned[12:108, 62:66].min() == 100


def test_a_single_stroke_from_side_to_side_is_no_paper_line():
    ink = np.zeros((128, 128), np.float32)
    ink[20:26] = 100
    ink[20:120, 60:66] = 100
    assert p.remove_lines(ink, level=100) is ink


def test_connected_components():
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [1, 1, 0, 1, 0]], bool)
    labels, areas, boxes = p.connected_components(mask)
    assert labels.max() == 4 and labels[0, 0] == labels[1, 1] != labels[0, 3] == labels[1, 4]
    assert sorted(areas.tolist()) == [1, 2, 2, 3]
    assert boxes[labels[0, 3] - 1].tolist() == [0, 2, 3, 5]
    assert np.array_equal(labels > 0, mask)


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=150, deadline=None)
def test_components_are_those_of_a_flood_fill(mask):
    labels, areas, _ = p.connected_components(mask)
    seen = np.zeros(mask.shape, bool)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        count, stack, seen[start] = count + 1, [start], True
        while stack:
            y, x = stack.pop()
            assert labels[y, x] == labels[start]
            window = np.zeros(mask.shape, bool)
            window[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = True
            for following in zip(*np.nonzero(window & mask & ~seen), strict=True):
                seen[following] = True
                stack.append(following)
    assert len(areas) == count and areas.sum() == mask.sum()


def test_components_at_the_border_go_if_something_sizeable_is_inside():
    boxes = np.array([[0, 60, 0, 3], [15, 50, 20, 40], [30, 32, 50, 52]])
    areas = np.array([180, 200, 3])
    assert p.digit_components(areas, boxes, (60, 60)).tolist() == [False, True, False]
    assert p.digit_components(areas[:1], boxes[:1], (60, 60)).tolist() == [True]


@pytest.mark.parametrize("width", [2, 5, 9])
def test_stroke_width_is_measured_in_pixels(width):
    ink = np.zeros((80, 80), np.float32)
    ink[5:75, 30 : 30 + width] = 1
    assert p.stroke_width(ink) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("width", [1, 8, 40])
def test_stroke_widths_are_brought_near_mnists(width):
    glyph = np.zeros((160, 160), np.float32)
    glyph[:, :width] = 1
    glyph[-width:] = 1
    normal = p.stroke_width(p.normalise_stroke_width(glyph)) / p.SUPERSAMPLING
    assert p.STROKE_WIDTH[0] * 0.8 < normal < p.STROKE_WIDTH[1] * 1.25


def test_thicken_adds_its_radius_on_every_side():
    ink = np.zeros((31, 31), np.float32)
    ink[15, 15] = 1
    assert p.thicken(ink, 4)[15].sum() == 9
    assert p.thicken(ink, 0.5)[15].tolist()[14:17] == [0.5, 1, 0.5]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_fit_to_box_crops_scales_and_keeps_dtype_and_aspect(dtype):
    ink = np.zeros((100, 100), dtype)
    ink[10:90, 30:50] = 200
    fitted = p.fit_to_box(ink)
    assert fitted.shape == (20, 5) and fitted.dtype == dtype and fitted.max() == 200
    assert p.fit_to_box(ink, box=8).shape == (8, 2)
    assert p.fit_to_box(np.zeros((9, 9), dtype)).shape == (1, 1)


def test_fit_to_box_enlarges_the_small_digits_of_scikit_learn():
    ink = np.zeros((8, 8), np.float32)
    ink[0:8, 3:5] = 16
    digit = p.centre_by_mass(p.fit_to_box(ink))
    assert digit.shape == (28, 28) and np.ptp(np.flatnonzero(digit.any(1))) + 1 == 20 and digit.max() <= 16


def test_centre_by_mass_puts_the_centre_within_half_a_pixel_of_the_middle():
    ink = np.zeros((20, 12), np.uint8)
    ink[:, :3] = 255
    ink[16:, :] = 255
    placed = p.centre_by_mass(ink)
    assert placed.shape == (28, 28) and placed.sum(dtype=int) == ink.sum(dtype=int)
    for axis in (0, 1):
        assert abs(placed.sum(1 - axis) @ (np.arange(28) + 0.5) / placed.sum() - 14) <= 0.5


def test_centre_by_mass_keeps_all_ink_inside():
    ink = np.zeros((20, 20), np.uint8)
    ink[0, :], ink[19, 0] = 255, 1
    assert p.centre_by_mass(ink).sum(dtype=int) == ink.sum(dtype=int)
    assert not p.centre_by_mass(np.zeros((20, 20), np.uint8)).any()
