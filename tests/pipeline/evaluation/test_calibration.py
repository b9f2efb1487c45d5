"""Calibration undone and selective answers, by hand and against a library."""

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from pipeline.evaluation.calibration import at_threshold, before_temperature, risk_coverage

CONFIDENCE = np.array([0.99, 0.9, 0.9, 0.6])
PROBABILITIES = np.column_stack([CONFIDENCE, 1 - CONFIDENCE])
LABELS = np.array([0, 0, 1, 1])  # the last two are answered wrong


def test_a_temperature_is_undone() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 10)) * 4
    for temperature in (0.4, 1.0, 2.5):
        calibrated = scipy.special.softmax(logits / temperature, axis=1)
        assert before_temperature(calibrated, temperature) == pytest.approx(scipy.special.softmax(logits, axis=1))


def test_a_probability_of_zero_stays_harmless() -> None:
    undone = before_temperature(np.array([[1.0, 0.0]], np.float32), 0.5)
    assert np.isfinite(undone).all() and undone[0, 0] == pytest.approx(1)


def test_risk_and_coverage_by_hand() -> None:
    rows = risk_coverage(PROBABILITIES, LABELS)
    assert rows == [
        {"coverage": 0.25, "risk": 0.0, "confidence": 0.99},
        {"coverage": 0.75, "risk": pytest.approx(1 / 3), "confidence": 0.9},  # equal confidences go together
        {"coverage": 1.0, "risk": 0.5, "confidence": 0.6},
    ]


def test_risk_is_one_minus_the_precision_of_the_surest() -> None:
    random = np.random.default_rng(0)
    probabilities = scipy.special.softmax(random.normal(size=(300, 4)) * 2, axis=1)
    labels = random.integers(0, 4, 300)
    right = probabilities.argmax(axis=1) == labels
    precision, recall, _ = sklearn.metrics.precision_recall_curve(right, probabilities.max(axis=1))
    expected = {round(r * right.sum() / p): 1 - p for p, r in zip(precision[:-1], recall[:-1], strict=True) if p}
    for row in risk_coverage(probabilities, labels, 40):
        count = round(row["coverage"] * 300)
        assert count not in expected or row["risk"] == pytest.approx(expected[count])


def test_what_a_threshold_leaves_by_hand() -> None:
    assert at_threshold(PROBABILITIES, LABELS, 0.9) == {"coverage": 0.75, "accuracy": pytest.approx(2 / 3)}
    assert at_threshold(PROBABILITIES, LABELS, 1.0) == {"coverage": 0.0, "accuracy": 1.0}
