"""Distortions: each one has its named effect, within its limits, and is reproducible."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.params import Augmentation
from pipeline.training.augmentation import (
    blur,
    change_strokes,
    degrade,
    distort,
    draw_lines,
    elastic_displacement,
    outline,
    rectangle,
    sample,
)
from recognition.image_format import IMAGE_SIZE

SEED = tf.constant([1, 2])


@pytest.fixture
def images() -> np.ndarray:
    """Float32 (64, 28, 28) of 0..1 with a filled square in the middle."""
    square = np.zeros((64, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    square[:, 9:19, 9:19] = 1
    return square


def centre(images) -> np.ndarray:
    """Rows and columns of the centres of mass, (n, 2)."""
    images = np.asarray(images)
    axis, mass = np.arange(IMAGE_SIZE), images.sum((1, 2))
    return np.stack([(images.sum(2) @ axis) / mass, (images.sum(1) @ axis) / mass], axis=1)


def test_default_settings_change_nothing(images) -> None:
    assert np.asarray(distort(images, SEED, Augmentation())) == pytest.approx(images, abs=1e-5)


def test_the_same_seed_gives_the_same_images(images) -> None:
    settings = Augmentation(rotation=10, shear=10, scale=0.1, shift=2, elastic=1, smoothness=4, stroke=0.5)
    one, again = distort(images, SEED, settings), distort(images, SEED, settings)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, distort(images, SEED + 1, settings))
    assert np.asarray(one).min() >= 0 and np.asarray(one).max() <= 1
    assert not np.array_equal(one[0], one[1])


def test_shift_moves_images_in_every_direction_up_to_its_limit(images) -> None:
    moved = centre(distort(images, SEED, Augmentation(shift=3))) - 13.5
    assert np.abs(moved).max() <= 3.01
    assert moved.min() < -2 and moved.max() > 2


def test_rotation_keeps_the_centre_and_the_mass(images) -> None:
    turned = np.asarray(distort(images, SEED, Augmentation(rotation=30)))
    assert centre(turned) == pytest.approx(np.full((64, 2), 13.5), abs=0.05)
    assert turned.sum((1, 2)) == pytest.approx(np.full(64, 100), rel=0.03)
    assert not np.allclose(turned, images, atol=0.2)


def test_scale_shrinks_and_enlarges(images) -> None:
    area = np.asarray(distort(images, SEED, Augmentation(scale=0.2))).sum((1, 2))
    assert 100 / 1.2**2 - 3 < area.min() < 80 and 120 < area.max() < 100 / 0.8**2 + 3


def test_shear_moves_rows_relative_to_each_other(images) -> None:
    slanted = np.asarray(distort(images, SEED, Augmentation(shear=30)))
    axis = np.arange(IMAGE_SIZE)
    top, bottom = (slanted[:, row] @ axis / slanted[:, row].sum(1) for row in (10, 17))
    assert np.abs(top - bottom).max() > 2


def test_strokes_get_thinner_and_thicker(images) -> None:
    area = np.asarray(change_strokes(images, SEED)).sum((1, 2))
    assert 64 <= area.min() < 70 and 130 < area.max() <= 144


@pytest.mark.parametrize("setting", ["stroke", "degraded"])
def test_a_share_of_the_batch_is_changed(images, setting: str) -> None:
    settings = Augmentation.model_validate({setting: 0.25, "noise": 0.0, "erase": 0.0, "outline": 1.0})
    assert changed(distort(images, SEED, settings), images).sum() == 16
    degraded_in_final_phase = changed(distort(images, SEED, settings, 0.5), images).sum()
    assert degraded_in_final_phase == (8 if setting == "degraded" else 16)


def changed(after, before) -> np.ndarray:
    """Mask of the images (n, 28, 28) that differ: bool (n,)."""
    return np.abs(np.asarray(after) - before).max((1, 2)) > 1e-6


def test_light_and_noise_are_left_out_of_half_of_the_images_and_the_result_is_clipped(images) -> None:
    many = np.tile(images, (10, 1, 1))
    degraded = np.asarray(degrade(many, SEED, Augmentation(light=1.0, noise=0.5)))
    assert changed(degraded, many).mean() == pytest.approx(0.75, abs=0.05)  # a quarter gets neither
    assert degraded.min() >= 0 and degraded.max() <= 1
    assert not changed(degrade(many, SEED, Augmentation()), many).any()


@pytest.mark.parametrize("setting", ["outline", "lines", "invert", "erase"])
def test_other_changes_apply_to_their_share(images, setting: str) -> None:
    many = np.tile(images, (10, 1, 1))
    half = changed(degrade(many, SEED, Augmentation.model_validate({setting: 0.5})), many).mean()
    every = changed(degrade(many, SEED, Augmentation.model_validate({setting: 1.0})), many).mean()
    assert every > 0.8 and half == pytest.approx(every / 2, abs=0.07)


def test_light_is_smooth_and_noise_is_not(images) -> None:
    blank = np.zeros_like(images)
    lit = np.asarray(degrade(blank, SEED, Augmentation(light=1.0)))
    noisy = np.asarray(degrade(blank, SEED, Augmentation(noise=0.5)))
    assert lit.max() > 0.5 and noisy.max() > 0.5
    assert np.abs(np.diff(lit, axis=1)).max() < 0.2 < np.abs(np.diff(noisy, axis=1)).max()


def test_blur_keeps_the_ink_and_softens_the_edge(images) -> None:
    soft = np.asarray(blur(images))
    assert soft.sum((1, 2)) == pytest.approx(images.sum((1, 2)), rel=1e-4)
    assert soft[0, 14, 8] == pytest.approx(0.3, abs=0.1) and soft[0, 14, 14] == pytest.approx(1.0)


def test_a_rectangle_has_sides_within_its_limits() -> None:
    masks = np.asarray(rectangle(200, SEED, 2.0, 14.0))
    touched = masks[masks.any((1, 2))]
    assert len(touched) > 180
    for mask in touched:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert np.ptp(rows) < 15 and np.ptp(columns) < 15 and mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_inversion_reverses_a_part(images) -> None:
    inverted = np.asarray(degrade(images, SEED, Augmentation(invert=1.0)))
    assert set(np.unique(np.abs(inverted - images))) == {0.0, 1.0}
    assert 0.1 < np.abs(inverted - images).mean() < 0.9


def test_an_outline_surrounds_the_ink(images) -> None:
    drawn = np.asarray(outline(images))[0]
    assert drawn.sum() == 12 * 12 - 10 * 10 and not drawn[9:19, 9:19].any()


def test_lines_only_add_ink_and_have_all_directions(images) -> None:
    added = np.asarray(draw_lines(np.zeros_like(images), SEED))
    assert (np.asarray(draw_lines(images, SEED)) >= images).all()
    inked = added > 0.25
    assert inked.any((1, 2)).mean() > 0.95 and inked.mean((1, 2)).max() < 0.4
    rows, columns = inked.any(2).sum(1), inked.any(1).sum(1)
    assert (rows > 2 * columns).any() and (columns > 2 * rows).any()


def test_elastic_displacement_is_smooth_and_has_the_given_deviation() -> None:
    field = np.asarray(elastic_displacement(200, SEED, 1.5, 4))
    assert field.shape == (200, IMAGE_SIZE, IMAGE_SIZE, 2)
    assert field[:, 14, 14].std() == pytest.approx(1.5, rel=0.45)
    rough, smooth = (np.abs(np.diff(elastic_displacement(200, SEED, 1.5, gap), axis=1)).mean() for gap in (4, 7))
    assert smooth < 0.7 * rough < 0.35


def test_sampling_is_bilinear() -> None:
    image = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    image[0, 5, 5:7] = [1.0, 0.5]
    rows, columns = np.full((1, 1, 3), 5.0, np.float32), np.array([[[5.0, 5.5, 40.0]]], np.float32)
    assert np.asarray(sample(image, rows, columns))[0, 0] == pytest.approx([1.0, 0.75, 0.0], abs=1e-5)
