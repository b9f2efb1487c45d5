"""Architectures: each one trains on few images; costs, ensembles, test-time augmentation and errors."""

import numpy as np
import pytest

from pipeline.console import PipelineError
from pipeline.params import load_params
from pipeline.training import architectures

SMALL = {
    "mlp": {"widths": [16]},
    "cnn": {"filters": [4, 4, 8, 8]},
    "vgg": {"filters": [4, 8], "depth": 2},
    "residual": {"filters": [8, 8]},
    "densenet": {"growth": 4, "depth": 2},
    "plain": {"stack": ["conv 8", "pool 2", "dense 32", "dropout 0.1"]},
}


def test_every_architecture_has_a_test() -> None:
    assert SMALL.keys() == architectures.ARCHITECTURES.keys()


@pytest.mark.parametrize("name", SMALL)
def test_an_architecture_fits_few_images(name: str, digits) -> None:
    import keras

    keras.utils.set_random_seed(0)
    network = architectures.build(name, 10, SMALL[name])
    network.compile(
        optimizer=keras.optimizers.Adam(0.01), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    images, labels = digits[0].astype(np.float32) / 255, digits[1]
    network.fit(images, labels, epochs=40, batch_size=20, verbose=0)
    assert (network.predict(images, verbose=0).argmax(1) == labels).mean() > 0.95


def test_multiply_adds_and_parameters_match_a_manual_count() -> None:
    mlp = architectures.build("mlp", 10, {"widths": [128]})
    assert architectures.multiply_adds(mlp) == 784 * 128 + 128 * 10
    assert mlp.count_params() == 784 * 128 + 4 * 128 + 128 * 10 + 10  # 4 batch normalization values per unit
    cnn = architectures.build("cnn", 10, {"filters": [28, 40, 64, 128]})
    kernels = [25 * 28, 9 * 28 * 40, 9 * 40 * 64, 9 * 64 * 128]
    by_layer = [kernel * side**2 for kernel, side in zip(kernels, [24, 10, 8, 4], strict=True)] + [4 * 4 * 128 * 10]
    assert architectures.multiply_adds(cnn) == sum(by_layer)


def test_brightness_and_contrast_do_not_change_the_logits(digits) -> None:
    cnn = architectures.build("cnn", 10, SMALL["cnn"])
    images = digits[0].astype(np.float32) / 255
    bright = cnn.predict(0.3 + 0.5 * images, verbose=0)
    assert bright == pytest.approx(cnn.predict(images, verbose=0), abs=0.15)
    assert np.isfinite(cnn.predict(np.zeros((1, 28, 28)), verbose=0)).all()


def test_probabilities_use_the_temperature() -> None:
    network = architectures.build("mlp", 10, {"widths": [8]})
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.float32)
    logits = network.predict(images / 255, verbose=0)
    probabilities = architectures.with_probabilities(network, 2.0).predict(images, verbose=0)
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    assert probabilities == pytest.approx(expected, abs=1e-5)


def test_an_ensemble_averages_its_members(digits) -> None:
    members = [architectures.build("cnn", 10, SMALL["cnn"]) for _ in range(3)]
    images = digits[0][:5].astype(np.float32) / 255
    mean = np.mean([member.predict(images, verbose=0) for member in members], axis=0)
    cost = architectures.multiply_adds(members[0])
    combined = architectures.ensemble(members)
    assert combined.predict(images, verbose=0) == pytest.approx(mean, abs=1e-5)
    assert architectures.multiply_adds(combined) == 3 * cost


def test_test_time_augmentation_averages_over_shifts(digits) -> None:
    network = architectures.build("cnn", 10, SMALL["cnn"])
    images = digits[0][:5].astype(np.float32) / 255
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, row : row + 28, column : column + 28] for row in range(3) for column in range(3)]
    mean = np.mean([network.predict(shift, verbose=0) for shift in shifted], axis=0)
    combined = architectures.with_tta(network, 1)
    assert combined.predict(images, verbose=0) == pytest.approx(mean, abs=1e-5)
    assert architectures.multiply_adds(combined) == 9 * architectures.multiply_adds(network)
    assert combined.count_params() == network.count_params()


def test_unknown_architectures_and_arguments_are_errors() -> None:
    with pytest.raises(PipelineError, match="known: mlp, cnn, vgg"):
        architectures.build("vit", 10, {})
    with pytest.raises(PipelineError, match="accepts widths, dropout"):
        architectures.build("mlp", 10, {"width": [8]})
    with pytest.raises(PipelineError, match="cnn accepts filters"):
        architectures.build("cnn", 10, {"filters": [8]})
    with pytest.raises(PipelineError, match="unknown layer 'convolution'; known layers: conv, pool"):
        architectures.build("plain", 10, {"stack": ["convolution 8"]})


def test_the_models_of_the_repository_build() -> None:
    for settings in load_params().models.values():
        assert architectures.build(settings.architecture, 10, settings.arguments).output_shape == (None, 10)
