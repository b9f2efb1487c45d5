"""Corruptions, variations and OOD samples: shape, dtype, range, reproducibility and effect."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt, plasma, vary
from pipeline.evaluation.ood_samples import KINDS, LETTERS, make_ood_samples, other_letters
from tests.conftest import drawn_digits

IMAGES = drawn_digits(3)[0]


def test_the_fifteen_of_the_benchmark() -> None:
    assert sorted(CORRUPTIONS) == [
        "brightness", "canny_edges", "dotted_line", "fog", "glass_blur", "impulse_noise", "motion_blur", "rotate",
        "scale", "shear", "shot_noise", "spatter", "stripe", "translate", "zigzag",
    ]  # fmt: skip


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_keeps_the_shape_changes_the_image_and_is_reproducible(name: str) -> None:
    before = IMAGES.copy()
    changed = corrupt(IMAGES, name, 0)
    assert changed.shape == IMAGES.shape and changed.dtype == np.uint8
    assert np.array_equal(IMAGES, before)
    assert (changed != IMAGES).any(axis=(1, 2)).all()
    assert changed.min() >= 0 and changed.max() > 100
    assert np.array_equal(changed, corrupt(IMAGES, name, 0))
    fixed = name in ("brightness", "stripe", "canny_edges", "scale")
    assert np.array_equal(changed, corrupt(IMAGES, name, 1)) == fixed


def test_brightness_and_stripe_by_hand() -> None:
    black = np.zeros((1, 28, 28), np.uint8)
    assert (corrupt(black, "brightness", 0) == 128).all()
    striped = corrupt(black, "stripe", 0)[0]
    assert (striped[:, 7:21] == 0).all() and striped.sum() == 28 * 14 * 255


def test_impulse_noise_changes_17_percent_of_the_pixels() -> None:
    grey = np.full((20, 28, 28), 128, np.uint8)
    assert (corrupt(grey, "impulse_noise", 0) != 128).mean() == pytest.approx(0.17, abs=0.02)


def test_shot_noise_keeps_the_mean_and_black_pixels() -> None:
    images = np.full((50, 28, 28), 40, np.uint8)  # more than three photons, which are clipped, are rare
    images[:, :14] = 0
    noisy = corrupt(images, "shot_noise", 0)
    assert noisy[:, :14].max() == 0 and noisy[:, 14:].mean() == pytest.approx(40, abs=1)


def test_shot_noise_counts_up_to_few_photons() -> None:
    levels = np.unique(corrupt(np.full((50, 28, 28), 200, np.uint8), "shot_noise", 0))
    assert levels.tolist() == [0, 85, 170, 255]


def test_translation_scaling_and_rotation_have_the_authors_amounts() -> None:
    dot = np.zeros((200, 28, 28), np.uint8)
    dot[:, 13:15, 13:15] = 255
    moved = corrupt(dot, "translate", 0)
    shifts = np.array([ndimage.center_of_mass(image) for image in moved]) - 13.5
    assert (
        np.abs(shifts) == pytest.approx(np.full((200, 2), 3.0), abs=0.01)
        and len(np.unique(shifts.round(), axis=0)) == 4
    )
    shrunk = corrupt(IMAGES, "scale", 0).sum(dtype=float) / IMAGES.sum(dtype=float)
    assert shrunk == pytest.approx(0.7**2, abs=0.03)
    bar = np.zeros((20, 28, 28), np.uint8)
    bar[:, 4:24, 13:15] = 255
    for name, expected in (("rotate", np.tan(0.4)), ("shear", np.sin(0.4))):
        columns = [ndimage.center_of_mass(image[16:]) for image in corrupt(bar, name, 0)]
        slopes = [abs(column - 13.5) / (row + 16 - 13.5) for row, column in columns]
        assert slopes == pytest.approx([expected] * 20, abs=0.03), name


def test_motion_blur_moves_ink_to_one_side() -> None:
    dot = np.zeros((100, 28, 28), np.uint8)
    dot[:, 14, 14] = 255
    centres = np.array([ndimage.center_of_mass(image) for image in corrupt(dot, "motion_blur", 0)]) - 14
    distance, angle = np.hypot(*centres.T), np.degrees(np.arctan2(centres[:, 0], centres[:, 1]))
    assert distance.std() < 0.5 and distance.mean() == pytest.approx(2.0, abs=0.4)
    assert np.abs(180 - np.abs(angle)).max() < 50


def test_lines_only_add_ink() -> None:
    for name in ("dotted_line", "zigzag"):
        assert (corrupt(IMAGES, name, 0) >= IMAGES).all()


def test_plasma_ranges_from_0_to_1() -> None:
    clouds = plasma(5, np.random.default_rng(0))
    assert clouds.shape == (5, 32, 32)
    assert (clouds.min(axis=(1, 2)) == 0).all() and (clouds.max(axis=(1, 2)) == 1).all()


def test_variations_have_the_stated_amounts_and_zero_changes_nothing() -> None:
    varied = vary(IMAGES.astype(np.float32) / 255, np.random.default_rng(0))
    for name, nothing in (("shift", 0), ("rotation", 0), ("scale", 1), ("stroke", 0)):
        assert np.array_equal(varied[name][nothing], IMAGES)
    ink = {width: images.sum(dtype=float) for width, images in varied["stroke"].items()}
    assert list(ink.values()) == sorted(ink.values())
    dot = np.zeros((1, 28, 28), np.float32)
    dot[0, 14, 14] = 1
    places = ndimage.center_of_mass(vary(dot, np.random.default_rng(0))["shift"][4][0])
    assert np.hypot(places[0] - 14, places[1] - 14) == pytest.approx(4, abs=0.05)
    assert (vary(dot, np.random.default_rng(0))["stroke"][2] > 0).sum() == 9  # two pixels wider: 3x3 from one


def test_letters_that_are_classes_are_no_ood_samples() -> None:
    assert other_letters(["0", "9", "Trouser"]) == LETTERS
    others = other_letters(["A", "b", "Ж"])
    assert not {*"AaÄЖж"} & {*others} and len(others) == len(LETTERS) - 5
    classes = [*"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"]
    assert not any(letter.isascii() and letter.isalpha() for letter in other_letters(classes))
    samples, kinds = make_ood_samples(50, IMAGES, 0, classes)
    digits, _ = make_ood_samples(50, IMAGES, 0)
    assert not np.array_equal(samples[kinds == "letters"], digits[kinds == "letters"])


def test_ood_samples_come_in_rotation_and_are_reproducible() -> None:
    images, kinds = make_ood_samples(23, IMAGES, 0)
    assert images.shape == (23, 28, 28) and images.dtype == np.uint8
    assert kinds[:6].tolist() == [*KINDS, "noise"]
    assert images.any(axis=(1, 2)).all() and len(np.unique(images, axis=0)) == 23
    assert np.array_equal(images, make_ood_samples(23, IMAGES, 0)[0])
