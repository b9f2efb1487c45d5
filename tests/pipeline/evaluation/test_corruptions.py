"""Corruptions, variations and OOD samples: shape, dtype, range, reproducibility and effect."""

import numpy as np
import pytest
from scipy import ndimage

from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt, plasma, vary
from pipeline.evaluation.ood_samples import KINDS, make_ood_samples
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
    fixed = name in ("brightness", "stripe", "canny_edges")
    assert np.array_equal(changed, corrupt(IMAGES, name, 1)) == fixed


def test_brightness_and_stripe_by_hand() -> None:
    black = np.zeros((1, 28, 28), np.uint8)
    assert (corrupt(black, "brightness", 0) == 153).all()
    striped = corrupt(black, "stripe", 0)[0]
    assert (striped[:, 11:17] == 255).all() and striped.sum() == 28 * 6 * 255


def test_impulse_noise_changes_a_fifth_of_the_pixels() -> None:
    grey = np.full((20, 28, 28), 128, np.uint8)
    assert (corrupt(grey, "impulse_noise", 0) != 128).mean() == pytest.approx(0.2, abs=0.02)


def test_shot_noise_keeps_the_mean_and_black_pixels() -> None:
    images = np.full((50, 28, 28), 100, np.uint8)
    images[:, :14] = 0
    noisy = corrupt(images, "shot_noise", 0)
    assert noisy[:, :14].max() == 0 and noisy[:, 14:].mean() == pytest.approx(100, abs=1)


def test_translation_scaling_and_rotation_have_the_stated_amounts() -> None:
    dot = np.zeros((200, 28, 28), np.uint8)
    dot[:, 13:15, 13:15] = 255
    moved = corrupt(dot, "translate", 0)
    shifts = np.array([ndimage.center_of_mass(image) for image in moved]) - 13.5
    assert (np.abs(shifts) >= 1.99).all() and (np.abs(shifts) <= 3.01).all()
    shrunk = corrupt(IMAGES, "scale", 0).sum(dtype=float) / IMAGES.sum(dtype=float)
    assert 0.6**2 < shrunk < 0.75**2
    turned = corrupt(IMAGES, "rotate", 0).sum(dtype=float) / IMAGES.sum(dtype=float)
    assert turned == pytest.approx(1, abs=0.05)


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


def test_ood_samples_come_in_rotation_and_are_reproducible() -> None:
    images, kinds = make_ood_samples(23, IMAGES, 0)
    assert images.shape == (23, 28, 28) and images.dtype == np.uint8
    assert kinds[:6].tolist() == [*KINDS, "noise"]
    assert images.any(axis=(1, 2)).all() and len(np.unique(images, axis=0)) == 23
    assert np.array_equal(images, make_ood_samples(23, IMAGES, 0)[0])
