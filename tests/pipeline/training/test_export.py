"""Export: the LiteRT file agrees with Keras for every batch size; equal models give equal bytes."""

import time
from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.console import PipelineError
from pipeline.data.splits import Split
from pipeline.params import Export
from pipeline.training import export as exporting
from pipeline.training.architectures import build, with_probabilities
from recognition.classifier import BATCH, Classifier
from tests.conftest import drawn_digits

LIMITS = Export(changed_decisions=0.001, accuracy_loss=0.0005)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A CNN trained on the drawn digits."""
    keras.utils.set_random_seed(0)
    images, labels = drawn_digits(20)
    network = build("cnn", 10, {"filters": [8, 8, 16, 16]})
    network.compile(optimizer=keras.optimizers.Adam(0.01), loss=keras.losses.SparseCategoricalCrossentropy(True))
    network.fit(images.astype(np.float32) / 255, labels, epochs=15, batch_size=20, verbose=0)
    return with_probabilities(network, 0.7)


@pytest.fixture(scope="module")
def val() -> Split:
    return Split("mnist", *drawn_digits(15, seed=5))


def test_int8_is_chosen_if_it_changes_nothing(model, val) -> None:
    content, record = exporting.export(model, val, LIMITS)
    assert record["format"] == "dynamic_range_int8"
    assert record["int8_changed_decisions"] == 0
    probabilities = Classifier(content).probabilities(val.images)
    reference = model.predict(val.images.astype(np.float32), verbose=0)
    assert (probabilities.argmax(1) == reference.argmax(1)).all()
    assert probabilities.sum(1) == pytest.approx(np.ones(len(probabilities)), abs=1e-3)


def test_float32_is_chosen_if_int8_changes_too_much(model, val, monkeypatch) -> None:
    broken = with_probabilities(build("cnn", 10, {"filters": [8, 8, 16, 16]}), 1.0)
    convert = exporting.convert
    monkeypatch.setattr(exporting, "convert", lambda m, quantize: convert(broken if quantize else m, quantize))
    _, record = exporting.export(model, val, LIMITS)
    assert record["format"] == "float32"
    assert record["int8_changed_decisions"] > 0.5


def test_an_export_that_disagrees_with_keras_is_an_error(model, val, monkeypatch) -> None:
    other = with_probabilities(build("cnn", 10, {"filters": [8, 8, 16, 16]}), 1.0)
    convert = exporting.convert
    monkeypatch.setattr(exporting, "convert", lambda m, quantize: convert(other, quantize))
    with pytest.raises(PipelineError, match="disagrees with Keras"):
        exporting.export(model, val, LIMITS)


def test_probabilities_do_not_depend_on_the_batch_size(model) -> None:
    classifier = Classifier(exporting.convert(model, quantize=True))
    images = np.random.default_rng(0).integers(0, 256, (2 * BATCH + 3, 28, 28), dtype=np.uint8)
    together = classifier.probabilities(images)
    alone = np.concatenate([classifier.probabilities(image[None]) for image in images])
    assert np.abs(together - alone).max() < 1e-5
    assert classifier.probabilities(images[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 28, 28)), np.zeros((28, 28), np.uint8), np.zeros((1, 28, 29), np.uint8)]
)
def test_other_shapes_and_types_are_rejected(model, images) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(n, 28, 28\)"):
        Classifier(exporting.convert(model, quantize=False)).probabilities(images)


def test_invalid_and_missing_models_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Classifier(b"no model")
    with pytest.raises(FileNotFoundError):
        Classifier(tmp_path / "missing.tflite")


def test_keras_archives_of_equal_models_are_equal_and_load(model, tmp_path: Path, val) -> None:
    one, two = tmp_path / "one.keras", tmp_path / "two.keras"
    exporting.save_keras(model, one)
    time.sleep(1.1)  # Keras stores the time in seconds
    exporting.save_keras(model, two)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.keras", "two.keras"]
    images = val.images.astype(np.float32)
    assert np.array_equal(keras.models.load_model(two).predict(images, verbose=0), model.predict(images, verbose=0))
