"""Metrics of one model, against values computed by hand or by scikit-learn."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split
from pipeline.evaluation import metrics
from pipeline.evaluation.corruptions import CORRUPTIONS
from pipeline.params import Augmentation, load_params
from recognition.classifier import Classifier

PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]], np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_cross_entropy_and_brier_score() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 4000)
    probabilities = scipy.special.softmax(random.normal(size=(4000, 10)) + 2.5 * np.eye(10)[labels], axis=1)
    computed = metrics.split_metrics(probabilities, labels, 15)
    assert computed["cross_entropy"] == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    assert computed["brier"] == pytest.approx(((probabilities - np.eye(10)[labels]) ** 2).sum(axis=1).mean())


def test_a_probability_of_zero_gives_a_finite_cross_entropy() -> None:
    assert 80 < metrics.cross_entropy(np.array([[1.0, 0.0]], np.float32), np.array([1])) < 100


def test_the_metrics_of_a_split_begin_with_the_accuracy() -> None:
    computed = metrics.split_metrics(PROBABILITIES, LABELS, 15)
    assert next(iter(computed)) == "accuracy"
    assert computed["accuracy"] == 0.75
    assert computed["accuracy_low"] < 0.75 < computed["accuracy_high"]


def test_per_class_by_hand() -> None:
    tables = metrics.per_class(PROBABILITIES, LABELS, ["a", "b", "c"])
    assert tables["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert tables["classes"]["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "images": 1}
    assert tables["classes"]["b"]["recall"] == 0.5


def test_a_class_without_images_is_listed() -> None:
    assert metrics.per_class(PROBABILITIES, LABELS, ["a", "b", "c", "d"])["classes"]["d"]["images"] == 0


def test_metrics_of_the_test_split_by_hand() -> None:
    dataset = load_dataset("mnist").model_copy(update={"classes": ["a", "b", "c"], "contested_labels": [1]})
    splits = dict.fromkeys(
        ("test", "val", "calibration"), Split("mnist", np.zeros((4, 28, 28), np.uint8), LABELS.astype(np.uint8))
    )
    probabilities = dict.fromkeys(splits, PROBABILITIES)
    settings = load_params().evaluate
    test = metrics.compute_metrics(probabilities, splits, dataset, 1.0, settings)["metrics"]["test"]
    assert test["accuracy_without_contested_labels"] == 1.0  # the label of the only error is contested
    assert (test["coverage_above_threshold"], test["accuracy_above_threshold"]) == (0.75, 1.0)  # above 0.7
    assert test["ece_before_temperature"] == pytest.approx(test["ece"])
    uncontested = dataset.model_copy(update={"contested_labels": []})
    test = metrics.compute_metrics(probabilities, splits, uncontested, 1.0, settings)["metrics"]["test"]
    assert "accuracy_without_contested_labels" not in test


def test_the_calibration_images_alone_set_the_confidence_threshold() -> None:
    dataset = load_dataset("mnist").model_copy(update={"classes": ["a", "b", "c"], "contested_labels": []})
    split = Split("mnist", np.zeros((4, 28, 28), np.uint8), LABELS.astype(np.uint8))
    splits, settings = dict.fromkeys(("test", "val", "calibration"), split), load_params().evaluate
    all_correct = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]], np.float32)
    for val, calibration, threshold in ((PROBABILITIES, all_correct, 0.6), (all_correct, PROBABILITIES, 0.7)):
        probabilities = {"test": PROBABILITIES, "val": val, "calibration": calibration}
        found = metrics.compute_metrics(probabilities, splits, dataset, 1.0, settings)["metrics"]["val"]["threshold"]
        assert found == pytest.approx(threshold)


def test_metrics_on_derived_images_by_hand() -> None:
    found = metrics.derived_metrics(PROBABILITIES, LABELS, 0.7, 15)
    assert (found["accuracy"], found["coverage_above_threshold"], found["accuracy_above_threshold"]) == (0.75, 0.75, 1)


def test_corruptions_are_marked_as_seen_by_the_kind_of_change() -> None:
    assert metrics.seen_corruptions(Augmentation(noise=0.3, blur=1, light=1)) == []
    assert metrics.seen_corruptions(Augmentation(shift=1, lines=0.1)) == ["translate", "dotted_line", "zigzag"]
    assert set(metrics.SEEN_THROUGH) <= set(CORRUPTIONS)


def test_error_rates_under_corruption_and_under_those_that_training_does_not_include(workspace: Path) -> None:
    class Reader:
        def probabilities(self, images: np.ndarray) -> np.ndarray:
            """The class is the value of the first pixel."""
            return np.eye(3)[images[:, 0, 0]]

    images = np.zeros((2, 28, 28), np.uint8)
    (workspace / "data" / "derived").mkdir(parents=True, exist_ok=True)
    np.savez(workspace / "data" / "derived" / "corrupted.npz", fog=images, shear=images + np.uint8(1))
    labels = np.array([0, 1, 2])  # two of them are corrupted
    errors, all_images = metrics.corruption_metrics(cast(Classifier, Reader()), labels, ["shear"], 0.9, 15)
    assert errors == {"mean_error": 0.5, "fog": 0.5, "shear": 0.5}
    assert all_images["accuracy"] == 0.5 and all_images["coverage_above_threshold"] == 1
    images[1] = 1
    np.savez(workspace / "data" / "derived" / "corrupted.npz", fog=images, shear=images * 0)
    errors, all_images = metrics.corruption_metrics(cast(Classifier, Reader()), labels, ["shear"], 0.9, 15)
    assert errors["mean_error"] == 0.25 and all_images["error_unseen"] == 0


def test_rounding_keeps_six_decimals() -> None:
    assert metrics.rounded({"a": 0.12345678, "b": [1, "x", None]}) == {"a": 0.123457, "b": [1, "x", None]}


def test_the_contested_labels_of_mnist_are_test_images() -> None:
    contested = load_dataset("mnist").contested_labels
    assert len(set(contested)) == 15 and max(contested) < 10_000


def test_the_cost_has_no_times_and_the_latency_is_that_of_single_images(tmp_path: Path) -> None:
    class Recorder:
        shapes: list[tuple[int, ...]] = []  # noqa: RUF012

        def probabilities(self, images: np.ndarray) -> np.ndarray:
            self.shapes.append(images.shape)
            return np.zeros((len(images), 10))

    (tmp_path / "model.tflite").write_bytes(b"12345")
    training = {"parameters": 7, "multiply_adds": 9, "export": {"format": "int8"}}
    recorder = Recorder()
    images = np.zeros((2, 28, 28), np.uint8)
    cost = metrics.cost(tmp_path / "model.tflite", training)
    assert cost == {"parameters": 7, "multiply_adds": 9, "bytes": 5, "format": "int8"}
    latency = metrics.measure_latency(cast(Classifier, recorder), images, 5)
    assert recorder.shapes == [(1, 28, 28)] * 5
    assert 0 < latency["latency_median_us"] <= latency["latency_p99_us"]
