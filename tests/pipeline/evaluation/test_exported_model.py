"""The cost of an exported model, and the known digits that verify copies of it."""

from pathlib import Path
from typing import cast

import numpy as np

from pipeline.data.splits import Split
from pipeline.evaluation.exported_model import known_digits, measure_cost
from recognition.classifier import Classifier
from tests.conftest import drawn_digits


def test_known_digits_are_the_most_confident_correct_images() -> None:
    images, labels = drawn_digits(3)
    probabilities = np.full((30, 10), 0.05, np.float32)
    probabilities[np.arange(30), labels] = 0.55
    probabilities[4, 1] = 0.9  # the second image of class 1 has the highest confidence
    probabilities[6, 2], probabilities[6, 3] = 0.1, 0.99  # the first image of class 2 is confident and wrong
    known = known_digits(probabilities, Split("mnist", images, labels))
    assert known["labels"].tolist() == list(range(10))
    assert np.array_equal(known["images"][1], images[4])
    assert np.array_equal(known["images"][2], images[7])
    assert np.array_equal(known["probabilities"][1], probabilities[4])


def test_the_cost_is_measured_on_single_images(tmp_path: Path) -> None:
    class Recorder:
        shapes: list[tuple[int, ...]] = []  # noqa: RUF012

        def probabilities(self, images: np.ndarray) -> np.ndarray:
            self.shapes.append(images.shape)
            return np.zeros((len(images), 10))

    (tmp_path / "model.tflite").write_bytes(b"12345")
    run = {"parameters": 7, "multiply_adds": 9, "export": {"format": "int8"}}
    recorder = Recorder()
    images = np.zeros((2, 28, 28), np.uint8)
    cost = measure_cost(tmp_path / "model.tflite", cast(Classifier, recorder), run, images, 5)
    assert recorder.shapes == [(1, 28, 28)] * 5
    assert (cost["parameters"], cost["multiply_adds"], cost["bytes"], cost["format"]) == (7, 9, 5, "int8")
    assert 0 < cost["latency_median_us"] <= cost["latency_p99_us"]
