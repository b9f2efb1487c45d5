"""The demo network: it learns, and its two files have the same weights."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline import demo_network
from pipeline.data.splits import Split, save_split
from pipeline.params import DemoNetwork, load_params
from recognition.classifier import Classifier
from tests.conftest import drawn_digits


@pytest.fixture(scope="module")
def settings() -> DemoNetwork:
    changes = {"widths": [16, 12], "epochs": 1, "minimum_steps": 300, "batch_size": 20}
    return DemoNetwork.model_validate(load_params().demo_network.model_dump() | changes)


def read(content: bytes) -> tuple[dict, list[tuple[np.ndarray, np.ndarray]]]:
    """Header and (weights, biases) of each layer, read as the page does."""
    (length,) = struct.unpack_from("<I", content)
    header, offset = json.loads(content[4 : 4 + length]), 4 + length
    layers = []
    for inputs, outputs in zip(header["widths"], header["widths"][1:], strict=False):
        scale, bias = np.frombuffer(content, "<f4", 2 * outputs, offset).reshape(2, outputs)
        offset += 8 * outputs
        weights = np.frombuffer(content, "i1", inputs * outputs, offset).reshape(inputs, outputs)
        offset += inputs * outputs
        layers.append((weights * scale, bias))
    assert offset == len(content)
    return header, layers


def test_the_page_file_and_the_litert_file_give_equal_probabilities(
    workspace: Path, settings: DemoNetwork, monkeypatch
) -> None:
    params = load_params().model_copy(update={"demo_network": settings})
    monkeypatch.setattr(demo_network, "load_params", lambda: params)
    for name, seed in (("train", 1), ("val", 2)):
        save_split(name, Split("mnist", *drawn_digits(10, seed)))
    demo_network.main()
    header, layers = read(demo_network.DEMO_NETWORK.read_bytes())
    images, labels = drawn_digits(10, 2)
    expected = Classifier(demo_network.DEMO_NETWORK.with_suffix(".tflite")).probabilities(images)
    values = images.reshape(len(images), 784) / 255
    for weights, bias in layers[:-1]:
        values = np.maximum(values @ weights + bias, 0)
    logits = values @ layers[-1][0] + layers[-1][1]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert powers / powers.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=1e-5)
    assert header["widths"] == [784, 16, 12, 10] and header["dataset"] == "mnist"
    assert header["accuracy"] == pytest.approx((expected.argmax(1) == labels).mean(), abs=1e-4)
    assert header["accuracy"] > 0.8
