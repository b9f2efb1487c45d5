"""Export and inference: the LiteRT file answers as Keras does, however images are grouped; same model, same bytes."""

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
    """A CNN that tells the drawn digits apart."""
    keras.utils.set_random_seed(0)
    images, labels = drawn_digits(20)
    network = build("cnn", 10, {"filters": [8, 8, 16, 16]})
    network.compile(optimizer=keras.optimizers.Adam(0.01), loss=keras.losses.SparseCategoricalCrossentropy(True))
    network.fit(images.astype(np.float32) / 255, labels, epochs=15, batch_size=20, verbose=0)
    return with_probabilities(network, 0.7)


@pytest.fixture(scope="module")
def val() -> Split:
    return Split("mnist", *drawn_digits(15, seed=5))


def test_the_small_format_is_chosen_where_it_costs_nothing(model, val) -> None:
    exported = exporting.export(model, val, LIMITS)
    assert exported.record["format"] == "dynamic_range_int8"
    assert exported.record["int8_changed_decisions"] == 0
    answers = Classifier(exported.content).probabilities(val.images)
    reference = model.predict(val.images.astype(np.float32), verbose=0)
    assert (answers.argmax(1) == reference.argmax(1)).all()
    assert answers.sum(1) == pytest.approx(np.ones(len(answers)), abs=1e-3)


def test_float32_is_chosen_where_int8_costs_too_much(model, val, monkeypatch) -> None:
    broken = with_probabilities(build("cnn", 10, {"filters": [8, 8, 16, 16]}), 1.0)
    convert = exporting.convert
    monkeypatch.setattr(exporting, "convert", lambda m, quantize: convert(broken if quantize else m, quantize))
    exported = exporting.export(model, val, LIMITS)
    assert exported.record["format"] == "float32"
    assert exported.record["int8_changed_decisions"] > 0.5


def test_an_export_that_disagrees_with_keras_stops(model, val, monkeypatch) -> None:
    other = with_probabilities(build("cnn", 10, {"filters": [8, 8, 16, 16]}), 1.0)
    convert = exporting.convert
    monkeypatch.setattr(exporting, "convert", lambda m, quantize: convert(other, quantize))
    with pytest.raises(PipelineError, match="disagrees with Keras"):
        exporting.export(model, val, LIMITS)


def test_answers_do_not_depend_on_the_grouping(model) -> None:
    classifier = Classifier(exporting.convert(model, quantize=True))
    images = np.random.default_rng(0).integers(0, 256, (2 * BATCH + 3, 28, 28), dtype=np.uint8)
    together = classifier.probabilities(images)
    alone = np.concatenate([classifier.probabilities(image[None]) for image in images])
    assert np.abs(together - alone).max() < 1e-5
    assert classifier.probabilities(images[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 28, 28)), np.zeros((28, 28), np.uint8), np.zeros((1, 28, 29), np.uint8)]
)
def test_other_shapes_and_types_are_refused(model, images) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(n, 28, 28\)"):
        Classifier(exporting.convert(model, quantize=False)).probabilities(images)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        Classifier(b"no model")
    with pytest.raises(FileNotFoundError):
        Classifier(tmp_path / "missing.tflite")


def test_a_keras_archive_has_the_same_bytes_every_time_and_loads(model, tmp_path: Path, val) -> None:
    one, two = tmp_path / "one.keras", tmp_path / "two.keras"
    exporting.save_keras(model, one)
    time.sleep(1.1)  # Keras writes the second it saves in
    exporting.save_keras(model, two)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.keras", "two.keras"]
    images = val.images.astype(np.float32)
    assert np.array_equal(keras.models.load_model(two).predict(images, verbose=0), model.predict(images, verbose=0))
