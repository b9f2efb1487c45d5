"""Preprocessing: drawn images of many kinds, and the format of MNIST's images."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw, ImageOps

from pipeline.paths import PREPARED
from recognition.decoding import decode_image
from recognition.preprocessing import (
    STROKE_WIDTH,
    SUPERSAMPLING,
    Digit,
    centre_by_mass,
    fit_to_box,
    is_mnist_like,
    normalise_stroke_width,
    stroke_width,
    to_digit,
)
from tests.drawing import draw, likeness, lit, slope


@pytest.fixture(scope="module")
def seven() -> Digit:
    return to_digit(draw())


def test_the_result_has_the_format_of_mnist(seven):
    assert seven.pixels.shape == (28, 28) and seven.pixels.dtype == np.uint8 and not seven.blank
    rows, columns = np.flatnonzero(seven.pixels.any(1)), np.flatnonzero(seven.pixels.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
    assert seven.pixels.max() > 230 and seven.pixels[0].max() == 0
    assert is_mnist_like(seven.pixels)


def test_an_mnist_like_image_passes_unchanged(seven):
    for image in (Image.fromarray(seven.pixels), Image.fromarray(seven.pixels).convert("RGB")):
        assert np.array_equal(to_digit(image).pixels, seven.pixels)


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
def test_images_that_are_not_mnist_like(seven, change):
    assert not is_mnist_like(change(seven.pixels))


PICTURES = {
    "light on dark": draw(ink=(255, 255, 255), paper=(0, 0, 0)),
    "chalk": lit(draw(ink=(200, 200, 190), paper=(50, 70, 60)), np.ones((280, 280)), noise=6),
    "yellow on white": draw(ink=(255, 240, 60)),
    "light blue on white": draw(ink=(175, 215, 250)),
    "red on green of equal luminance": draw(ink=(200, 70, 70), paper=(86, 129, 86)),
    "low contrast": draw(ink=(180, 180, 180), paper=(205, 205, 205)),
    "marker": draw(width=36),
    "hairline in a large image": draw(size=(1400, 1400), width=3),
    "small": draw(size=(28, 28), width=2),
    "in a corner of a large image": ImageOps.expand(draw(), (900, 80, 100, 700), (255, 255, 255)),
    "vignette": lit(draw(paper=(230, 225, 210)), 1 - 0.35 * sum(a * a for a in slope(280, 280)) / 2),
    "slanting light": lit(draw(paper=(230, 225, 210)), 0.7 + 0.28 * slope(280, 280)[1]),
    "the edge of a shadow": lit(
        draw(paper=(230, 225, 210)), np.where(slope(280, 280)[0] + 0.3 * slope(280, 280)[1] > 0, 0.55, 1)
    ),
    "noise": lit(draw(ink=(120, 120, 120), paper=(190, 190, 190)), np.ones((280, 280)), noise=20),
}


@pytest.mark.parametrize("picture", PICTURES)
def test_every_kind_of_image_gives_the_same_digit(picture, seven):
    assert likeness(to_digit(PICTURES[picture]), seven) > 0.9


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("tilt", [0.0, 0.04])
def test_paper_lines_as_dark_as_the_pen_are_removed(seven, squared, tilt):
    image = draw(paper=(240, 240, 240))
    pen = ImageDraw.Draw(image)
    for at in range(15, 320, 40):
        pen.line([(0, at), (280, at + 280 * tilt)], fill=(20, 20, 20), width=2)
        if squared:
            pen.line([(at, 0), (at - 280 * tilt, 280)], fill=(20, 20, 20), width=2)
    assert likeness(to_digit(image), seven) > 0.85


def test_a_frame_and_specks_are_ignored(seven):
    image = draw()
    pen = ImageDraw.Draw(image)
    pen.rectangle([0, 0, 279, 279], outline=(0, 0, 0), width=4)
    for x, y in ((20, 250), (260, 30), (30, 40)):
        pen.ellipse([x, y, x + 4, y + 4], fill=(0, 0, 0))
    assert likeness(to_digit(image), seven) > 0.95


def test_a_table_around_the_paper_is_ignored(seven):
    image = Image.new("RGB", (400, 400), (70, 50, 40))
    image.paste(draw(paper=(220, 220, 215)), (55, 65))
    assert likeness(to_digit(lit(image, np.ones((400, 400)))), seven) > 0.9


@pytest.mark.parametrize("width", [10, 20, 36])
def test_a_table_taken_for_ink_is_corrected_by_other_assumptions(seven, width):
    image = Image.new("RGB", (400, 400), (70, 50, 40))  # no noise: the light seems to be even
    image.paste(draw(width=width, paper=(220, 220, 215)), (55, 65))
    assert likeness(to_digit(image), seven) > 0.9


def test_a_broken_stroke_is_one_digit(seven):
    image = draw()
    ImageDraw.Draw(image).rectangle([0, 130, 280, 142], fill=(255, 255, 255))
    assert likeness(to_digit(image), seven) > 0.9


@pytest.mark.parametrize("ink", [(0, 0, 0), (255, 255, 255), (230, 30, 30)])
def test_ink_of_any_brightness_on_a_transparent_background(seven, ink):
    mask = ImageOps.invert(draw().convert("L"))
    image = Image.new("RGBA", mask.size, (0, 0, 0, 0))
    image.paste(Image.new("RGBA", mask.size, (*ink, 255)), mask=mask)
    assert likeness(to_digit(image), seven) > 0.98


def test_an_opaque_image_with_transparent_corners(seven):
    image = draw().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 30))
    assert likeness(to_digit(image), seven) > 0.98


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
    assert likeness(to_digit(image), seven) > 0.98


@pytest.mark.parametrize(("orientation", "turn"), [(6, Image.Transpose.ROTATE_90), (3, Image.Transpose.ROTATE_180)])
def test_a_photograph_is_rotated_by_its_exif_orientation(seven, orientation, turn):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    draw().transpose(turn).save(buffer, "JPEG", exif=exif, quality=95)
    assert likeness(to_digit(Image.open(buffer)), seven) > 0.98


def test_invalid_exif_data_is_ignored(seven):
    image = draw()
    image.info["exif"] = "not bytes"
    assert likeness(to_digit(image), seven) > 0.98


def blank_images():
    rng = np.random.default_rng(1)
    yield "white", np.full((100, 80), 255.0)
    yield "black", np.zeros((28, 28))
    yield "one pixel", np.full((1, 1), 90.0)
    yield "paper", 220 + rng.normal(0, 3, (300, 300))
    yield "noise only", rng.uniform(0, 255, (200, 200))
    yield "noise only, MNIST's size", rng.uniform(0, 255, (28, 28))
    yield "gradual light", 150 + 60 * slope(300, 300)[0] + rng.normal(0, 2, (300, 300))
    yield "transparent", None


@pytest.mark.parametrize(
    ("name", "pixels"), list(blank_images()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_blank_images(name, pixels):
    image = (
        Image.new("RGBA", (50, 50), (255, 0, 0, 0))
        if pixels is None
        else Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    )
    digit = to_digit(image)
    assert digit.blank and not digit.pixels.any()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 2), (5, 3), (3000, 20)])
def test_any_size_is_accepted(size):
    for colours in ((255, 0), (0, 255)):
        image = Image.new("L", size, colours[0])
        image.putpixel((size[0] // 2, size[1] // 2), colours[1])
        assert to_digit(image).pixels.shape == (28, 28)


IMAGES = hnp.arrays(
    np.uint8,
    st.one_of(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 40)] * 2, st.sampled_from([3, 4]))),
)


@given(IMAGES)
@settings(max_examples=120, deadline=None)
def test_any_image_gives_a_reproducible_digit_and_is_not_modified(pixels):
    image = Image.fromarray(pixels)
    before = image.tobytes()
    first, second = to_digit(image), to_digit(image)
    assert first.pixels.shape == (28, 28) and first.pixels.dtype == np.uint8
    assert first.blank == (not first.pixels.any())
    assert np.array_equal(first.pixels, second.pixels)
    assert image.tobytes() == before


@pytest.mark.parametrize("width", [2, 5, 9])
def test_stroke_width_is_measured_in_pixels(width):
    ink = np.zeros((80, 80), np.float32)
    ink[5:75, 30 : 30 + width] = 1
    assert stroke_width(ink) == pytest.approx(width, rel=0.15)


@pytest.mark.parametrize("width", [1, 8, 60])
def test_stroke_widths_are_normalised_to_those_of_mnist(width):
    glyph = np.zeros((160, 160), np.float32)
    glyph[:, :width] = 1
    glyph[-width:] = 1
    normal = stroke_width(normalise_stroke_width(glyph)) / SUPERSAMPLING
    assert STROKE_WIDTH[0] * 0.8 < normal < STROKE_WIDTH[1] * 1.25


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_fit_to_box_crops_scales_and_keeps_dtype_and_aspect(dtype):
    ink = np.zeros((100, 100), dtype)
    ink[10:90, 30:50] = 200
    fitted = fit_to_box(ink)
    assert fitted.shape == (20, 5) and fitted.dtype == dtype and fitted.max() == 200
    assert fit_to_box(ink, box=8).shape == (8, 2)
    assert fit_to_box(np.zeros((9, 9), dtype)).shape == (1, 1)


def test_fit_to_box_enlarges_the_small_digits_of_scikit_learn():
    ink = np.zeros((8, 8), np.float32)
    ink[0:8, 3:5] = 16
    digit = centre_by_mass(fit_to_box(ink))
    assert digit.shape == (28, 28) and np.ptp(np.flatnonzero(digit.any(1))) + 1 == 20 and digit.max() <= 16


def test_centre_by_mass_places_the_centre_within_half_a_pixel_of_the_middle():
    ink = np.zeros((20, 12), np.uint8)
    ink[:, :3] = 255
    ink[16:, :] = 255
    placed = centre_by_mass(ink)
    assert placed.shape == (28, 28) and placed.sum(dtype=int) == ink.sum(dtype=int)
    for axis in (0, 1):
        assert abs(placed.sum(1 - axis) @ (np.arange(28) + 0.5) / placed.sum() - 14) <= 0.5


def test_centre_by_mass_keeps_all_ink_inside():
    ink = np.zeros((20, 20), np.uint8)
    ink[0, :], ink[19, 0] = 255, 1
    assert centre_by_mass(ink).sum(dtype=int) == ink.sum(dtype=int)
    assert not centre_by_mass(np.zeros((20, 20), np.uint8)).any()


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF"])
def test_mnists_own_images_pass_unchanged_through_lossless_files(format):
    if not PREPARED.joinpath("test.npz").exists():
        pytest.skip("there is no prepared test set (make run prepares it)")
    with np.load(PREPARED / "test.npz") as test:
        images = test["images"]
    if not is_mnist_like(images[0]):
        pytest.skip("the prepared test set is the fallback dataset, which is not MNIST-like")
    changed = 0
    for pixels in images[:: 1 if format == "PNG" else 50]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format)
        changed += not np.array_equal(to_digit(decode_image(buffer.getvalue())).pixels, pixels)
    assert changed == 0
