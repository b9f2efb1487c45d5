"""Calibration and selective prediction, against values computed by hand or by scikit-learn."""

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from pipeline.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability,
    risk_coverage,
    selective_accuracy,
    selective_threshold,
    undo_temperature,
)

CONFIDENCE = np.array([0.99, 0.9, 0.9, 0.6])
PROBABILITIES = np.column_stack([CONFIDENCE, 1 - CONFIDENCE])
LABELS = np.array([0, 0, 1, 1])  # the last two predictions are wrong


def test_calibration_error_by_hand() -> None:
    # Two predictions at 0.9 (one correct), two at 0.6 (both correct): (2 |0.9 - 0.5| + 2 |0.6 - 1|) / 4 = 0.4
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert expected_calibration_error(probabilities, np.array([0, 1, 0, 0]), 10) == pytest.approx(0.4)
    rows = reliability(probabilities, np.array([0, 1, 0, 0]), 10)
    assert [(row["images"], row["accuracy"]) for row in rows] == [(2, 1.0), (2, 0.5)]


def test_bins_have_equal_width_and_the_last_one_includes_1() -> None:
    confidence = np.array([1.0, 0.95, 0.75, 0.71, 0.6])
    rows = reliability(np.column_stack([confidence, 1 - confidence]), np.array([0, 0, 0, 1, 0]), 10)
    assert [[round(row[key], 3) for key in ("from", "to", "images", "confidence", "accuracy")] for row in rows] == [
        [0.6, 0.7, 1, 0.6, 1.0],
        [0.7, 0.8, 2, 0.73, 0.5],
        [0.9, 1.0, 2, 0.975, 1.0],
    ]


def test_certain_and_correct_predictions_have_no_calibration_error() -> None:
    assert expected_calibration_error(np.eye(10), np.arange(10), 15) == 0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_fit_recovers_the_temperature(temperature: float) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 10)) + 2.5 * np.eye(10)[random.integers(0, 10, 4000)]
    probabilities = scipy.special.softmax(logits, axis=1)
    # Labels drawn from the probabilities, which are therefore calibrated at temperature 1
    labels = (probabilities.cumsum(axis=1) > np.random.default_rng(1).random((4000, 1))).argmax(axis=1)
    assert fit_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.06)


def test_a_temperature_is_undone() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 10)) * 4
    for temperature in (0.4, 1.0, 2.5):
        calibrated = scipy.special.softmax(logits / temperature, axis=1)
        assert undo_temperature(calibrated, temperature) == pytest.approx(scipy.special.softmax(logits, axis=1))


def test_a_probability_of_zero_is_accepted() -> None:
    undone = undo_temperature(np.array([[1.0, 0.0]], np.float32), 0.5)
    assert np.isfinite(undone).all() and undone[0, 0] == pytest.approx(1)


def test_risk_and_coverage_by_hand() -> None:
    assert risk_coverage(PROBABILITIES, LABELS) == [
        {"coverage": 0.25, "risk": 0.0, "confidence": 0.99},
        {"coverage": 0.75, "risk": pytest.approx(1 / 3), "confidence": 0.9},  # ties are not split
        {"coverage": 1.0, "risk": 0.5, "confidence": 0.6},
    ]


def test_risk_is_one_minus_the_precision_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probabilities = scipy.special.softmax(random.normal(size=(300, 4)) * 2, axis=1)
    labels = random.integers(0, 4, 300)
    correct = probabilities.argmax(axis=1) == labels
    precision, recall, _ = sklearn.metrics.precision_recall_curve(correct, probabilities.max(axis=1))
    expected = {round(r * correct.sum() / p): 1 - p for p, r in zip(precision[:-1], recall[:-1], strict=True) if p}
    for row in risk_coverage(probabilities, labels, 40):
        count = round(row["coverage"] * 300)
        assert count not in expected or row["risk"] == pytest.approx(expected[count])


def test_the_threshold_reaches_the_accuracy() -> None:
    confidence = np.array([0.99, 0.95, 0.9, 0.8, 0.7])
    probabilities = np.column_stack([confidence, 1 - confidence])
    labels = np.array([0, 0, 0, 1, 0])  # the fourth prediction is wrong
    assert selective_threshold(probabilities, labels, 1.0) == 0.9
    assert selective_threshold(probabilities, labels, 0.8) == 0.7
    assert selective_threshold(probabilities, 1 - labels, 0.8) == 1.0


def test_the_threshold_does_not_split_ties() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4)
    assert selective_threshold(probabilities, np.array([0, 0, 0, 1]), 0.9) == 1.0


def test_selective_accuracy_by_hand() -> None:
    assert selective_accuracy(PROBABILITIES, LABELS, 0.9) == (0.75, pytest.approx(2 / 3))
    assert selective_accuracy(PROBABILITIES, LABELS, 1.0) == (0.0, 1.0)
    assert selective_accuracy(np.array([[0.99, 0.01], [0.1, 0.9]]), np.array([0, 1]), 0.9) == (1.0, 1.0)
