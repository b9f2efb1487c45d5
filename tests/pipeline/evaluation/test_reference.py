"""Features of images, and the reference that travels with a version."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.data.splits import Split
from pipeline.evaluation.features import FEATURES, feature_quantiles, image_features
from pipeline.evaluation.reference import REFERENCE_FILE, load_reference, make_reference, save_reference
from pipeline.monitoring import drift
from recognition.model import FILES
from tests.conftest import drawn_digits


def test_off_centre_is_the_distance_from_the_centred_range() -> None:
    def dot(row: int, column: int) -> NDArray[np.uint8]:
        image = np.zeros((28, 28), np.uint8)
        image[row : row + 2, column : column + 2] = 255  # its centre is half a pixel further
        return image

    centred, beside = np.stack([dot(13, 13), dot(14, 13)]), np.stack([dot(13, 16), dot(10, 13)])
    assert image_features(centred)["off_centre"].tolist() == [0, 0]
    assert image_features(beside)["off_centre"].tolist() == [2.0, 2.5]


def test_quantiles_stand_for_the_images() -> None:
    images, _ = drawn_digits(600)  # more than one batch
    whole, quantiles = image_features(images), feature_quantiles(images)
    assert quantiles.shape == (1000, len(FEATURES))
    assert np.allclose(quantiles.mean(), whole.mean(), rtol=0.002, atol=0.002)
    assert np.allclose(quantiles.std(), whole.std(), rtol=0.01, atol=0.01)
    shifted = image_features(np.roll(images[:500], 2, axis=2))
    for name in FEATURES:
        found = shifted[name].to_numpy()
        effect, expected = (drift.population_stability(each[name].to_numpy(), found) for each in (quantiles, whole))
        assert effect == pytest.approx(expected, rel=0.05, abs=0.02), name


def test_a_reference_is_small_holds_no_picture_and_is_read_as_written(tmp_path: Path) -> None:
    images, labels = drawn_digits(600)
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.full(10, 0.1), len(images)).astype(np.float32)
    made = make_reference(images, Split("mnist", images, labels), probabilities, probabilities.max(axis=1) < 0.5)
    for name in ("one.npz", "two.npz"):
        save_reference(tmp_path / name, made)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert (tmp_path / "one.npz").stat().st_size < 120_000  # for 6,000 validation images, as many as MNIST's
    found = load_reference(tmp_path / "one.npz")
    assert found is not None and found.images == made.images
    pd.testing.assert_frame_equal(found.training, made.training.astype(np.float64))
    for name in ("labels", "predictions", "confidences", "uncertain"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    other = make_reference(images, Split("mnist", images[::-1], labels), probabilities, made.uncertain)
    assert other.images != made.images


def test_services_do_not_carry_the_reference() -> None:
    assert REFERENCE_FILE not in FILES


def test_a_missing_or_damaged_reference_is_none(tmp_path: Path) -> None:
    assert load_reference(tmp_path / "reference.npz") is None
    for content in (b"", b"PK\x03\x04 cut", b"text"):
        (tmp_path / "reference.npz").write_bytes(content)
        assert load_reference(tmp_path / "reference.npz") is None, content
    np.savez(tmp_path / "reference.npz", training=np.zeros((1000, 6)))
    assert load_reference(tmp_path / "reference.npz") is None
