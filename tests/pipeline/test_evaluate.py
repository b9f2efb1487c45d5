"""Evaluation's tables: by hand, and written so that others can read them."""

import numpy as np
import pytest

from pipeline import evaluate
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split
from pipeline.evaluation import metrics
from pipeline.params import load_params
from tests.conftest import drawn_digits

PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]], np.float32)
LABELS = np.array([0, 1, 1, 2])


def test_per_class_by_hand() -> None:
    tables = metrics.per_class(PROBABILITIES, LABELS, ["a", "b", "c"])
    assert tables["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert tables["classes"]["a"] == {
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3, abs=1e-6),
        "images": 1,
    }
    assert tables["classes"]["b"]["recall"] == 0.5


def test_a_class_that_never_occurs_is_listed() -> None:
    assert metrics.per_class(PROBABILITIES, LABELS, ["a", "b", "c", "d"])["classes"]["d"]["images"] == 0


def test_metrics_begin_with_the_accuracy() -> None:
    measured = metrics.measure(PROBABILITIES, LABELS, load_params().evaluate)
    assert next(iter(measured)) == "accuracy"
    assert measured["accuracy"] == 0.75
    assert measured["accuracy_low"] < 0.75 < measured["accuracy_high"]


def test_rounding_keeps_everything_but_the_far_digits() -> None:
    assert metrics.rounded({"a": 0.12345678, "b": [1, "x", None]}) == {"a": 0.123457, "b": [1, "x", None]}


def test_confusion_rows_carry_class_names(tmp_path) -> None:
    evaluate.write_confusion(tmp_path / "new" / "confusion.csv", PROBABILITIES, LABELS, ["a", "b", "c"])
    assert (tmp_path / "new" / "confusion.csv").read_text().splitlines() == [
        "label,predicted",
        "a,a",
        "b,a",
        "b,b",
        "c,c",
    ]


def test_known_digits_are_the_surest_right_answers(tmp_path) -> None:
    images, labels = drawn_digits(3)
    probabilities = np.full((30, 10), 0.05, np.float32)
    probabilities[np.arange(30), labels] = 0.55
    probabilities[4, 1] = 0.9  # the second image of class 1 is the surest
    probabilities[6, 2], probabilities[6, 3] = 0.1, 0.99  # the first of class 2 is sure, and wrong
    evaluate.save_known_digits(tmp_path / "known.npz", probabilities, Split("mnist", images, labels), 10)
    with np.load(tmp_path / "known.npz") as known:
        assert known["labels"].tolist() == list(range(10))
        assert np.array_equal(known["images"][1], images[4])
        assert np.array_equal(known["images"][2], images[7])


def test_what_concerns_the_test_images_alone_by_hand() -> None:
    dataset = load_dataset("mnist").model_copy(update={"contested_labels": [1]})
    found = metrics.further_measures(PROBABILITIES, PROBABILITIES, LABELS, dataset, 0.65, load_params().evaluate)
    assert found["accuracy_without_contested_labels"] == 1.0  # the one mistake is contested
    assert (found["coverage_above_threshold"], found["accuracy_above_threshold"]) == (0.75, 1.0)
    none = dataset.model_copy(update={"contested_labels": []})
    without = metrics.further_measures(PROBABILITIES, PROBABILITIES, LABELS, none, 0.65, load_params().evaluate)
    assert "accuracy_without_contested_labels" not in without


def test_the_published_contested_labels_are_those_of_test_images() -> None:
    contested = load_dataset("mnist").contested_labels
    assert len(set(contested)) == 15 and max(contested) < 10_000
