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
    elastic_displacement,
    erase,
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
    area = np.asarray(change_strokes(images, SEED, 1.0)).sum((1, 2))
    assert 64 <= area.min() < 80 and 120 < area.max() <= 144
    assert np.array_equal(change_strokes(images, SEED, 0.0), images)


def changed(after, before) -> np.ndarray:
    """Mask of the images (n, 28, 28) that differ: bool (n,)."""
    return np.abs(np.asarray(after) - before).max((1, 2)) > 1e-6


def test_a_share_of_the_images_is_degraded(images) -> None:
    many = np.tile(images, (10, 1, 1))
    settings = Augmentation(degraded=0.3, light=1.0, noise=0.5)
    share = changed(degrade(many, SEED, settings), many).mean()
    assert share == pytest.approx(0.3 * 0.75, abs=0.05)  # a quarter of them get neither light nor noise
    assert not changed(degrade(many, SEED, Augmentation(degraded=1.0)), many).any()
    degraded = np.asarray(degrade(many, SEED, settings))
    assert degraded.min() >= 0 and degraded.max() <= 1


def test_light_is_smooth_and_noise_is_not(images) -> None:
    blank = np.zeros_like(images)
    lit = np.asarray(degrade(blank, SEED, Augmentation(degraded=1.0, light=1.0)))
    noisy = np.asarray(degrade(blank, SEED, Augmentation(degraded=1.0, noise=0.5)))
    assert lit.max() > 0.5 and noisy.max() > 0.5
    assert np.abs(np.diff(lit, axis=1)).max() < 0.2 < np.abs(np.diff(noisy, axis=1)).max()


def test_blur_keeps_the_ink_and_softens_the_edge(images) -> None:
    soft = np.asarray(blur(images))
    assert soft.sum((1, 2)) == pytest.approx(images.sum((1, 2)), rel=1e-4)
    assert soft[0, 14, 8] == pytest.approx(0.3, abs=0.1) and soft[0, 14, 14] == pytest.approx(1.0)


def test_erase_covers_one_rectangle(images) -> None:
    covered = np.abs(np.asarray(erase(images, SEED, 1.0)) - images) > 1e-6
    touched = covered[covered.any((1, 2))]
    assert len(touched) > 50
    for mask in touched:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert np.ptp(rows) < 15 and np.ptp(columns) < 15
    assert 0 < changed(erase(images, SEED, 0.3), images).mean() < 0.5
    assert not changed(erase(images, SEED, 0.0), images).any()


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
