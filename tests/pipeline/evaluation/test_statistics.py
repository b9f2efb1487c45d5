"""Each statistic against a value computed by hand or by another library."""

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import statistics

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 10, 4000)
LOGITS = RANDOM.normal(size=(4000, 10)) + 2.5 * np.eye(10)[LABELS]
PROBABILITIES = scipy.special.softmax(LOGITS, axis=1)


def right(count: int, of: int) -> np.ndarray:
    return np.arange(of) < count


def test_wilson_interval_of_a_textbook_case() -> None:
    # By hand for 8 of 10 and z = 1.959964: (0.8 + z²/20 -+ z sqrt(0.016 + z²/400)) / (1 + z²/10)
    assert statistics.accuracy_interval(right(8, 10)) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_cross_entropy_and_brier_score_agree_with_scikit_learn() -> None:
    assert statistics.cross_entropy(PROBABILITIES, LABELS) == pytest.approx(
        sklearn.metrics.log_loss(LABELS, PROBABILITIES)
    )
    by_class = [sklearn.metrics.brier_score_loss(k == LABELS, PROBABILITIES[:, k]) for k in range(10)]
    assert statistics.brier_score(PROBABILITIES, LABELS) == pytest.approx(sum(by_class))


def test_a_probability_of_zero_gives_a_finite_cross_entropy() -> None:
    assert 80 < statistics.cross_entropy(np.array([[1.0, 0.0]], np.float32), np.array([1])) < 100


def test_calibration_error_by_hand() -> None:
    # Two answers at 0.9 (one right), two at 0.6 (both right): (2 |0.9 - 0.5| + 2 |0.6 - 1|) / 4 = 0.4
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert statistics.expected_calibration_error(probabilities, np.array([0, 1, 0, 0]), 10) == pytest.approx(0.4)
    rows = statistics.reliability(probabilities, np.array([0, 1, 0, 0]), 10)
    assert [(row["images"], row["accuracy"]) for row in rows] == [(2, 1.0), (2, 0.5)]


def test_certain_and_right_is_perfectly_calibrated() -> None:
    assert statistics.expected_calibration_error(np.eye(10), np.arange(10), 15) == 0


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_applied_is_found(temperature: float) -> None:
    # Labels drawn from the probabilities themselves: these are calibrated at temperature 1
    drawn = (PROBABILITIES.cumsum(axis=1) > np.random.default_rng(1).random((4000, 1))).argmax(axis=1)
    assert statistics.fit_temperature(LOGITS * temperature, drawn) == pytest.approx(temperature, rel=0.06)


def test_threshold_above_which_answers_are_reliable() -> None:
    confidence = np.array([0.99, 0.95, 0.9, 0.8, 0.7])
    probabilities = np.column_stack([confidence, 1 - confidence])
    labels = np.array([0, 0, 0, 1, 0])  # the fourth is wrong
    assert statistics.selective_threshold(probabilities, labels, 1.0) == 0.9
    assert statistics.selective_threshold(probabilities, labels, 0.8) == 0.7
    assert statistics.selective_threshold(probabilities, 1 - labels, 0.8) == 1.0


def test_equal_confidences_are_kept_or_refused_together() -> None:
    probabilities = np.array([[0.9, 0.1]] * 4)
    assert statistics.selective_threshold(probabilities, np.array([0, 0, 0, 1]), 0.9) == 1.0


def test_mcnemar_by_hand() -> None:
    # 9 against 1 among 10 discordant images: 2 (1 + 10) / 2^10
    first = np.r_[np.ones(90, bool), np.zeros(9, bool), np.ones(1, bool)]
    second = np.r_[np.ones(90, bool), np.ones(9, bool), np.zeros(1, bool)]
    test = statistics.compare_paired(first, second, 500, 0)
    assert (test.only_first, test.only_second) == (1, 9)
    assert test.p_value == pytest.approx(22 / 1024)
    assert test.difference == pytest.approx(0.08)
    assert test.low < 0.08 < test.high
    assert test == statistics.compare_paired(first, second, 500, 0)


def test_equal_answers_are_no_difference() -> None:
    test = statistics.compare_paired(right(5, 10), right(5, 10), 500, 0)
    assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)
    assert statistics.lower_bound(right(5, 10), right(5, 10), 0.05) == 0


def test_the_lower_bound_holds_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        kind = random.choice(4, 1000, p=[0.9, 0.04, 0.03, 0.03])  # both right, only first, only second, none
        first, second = kind < 2, (kind == 0) | (kind == 2)
        held += statistics.lower_bound(first, second, 0.05) <= -0.01
    assert held / 400 >= 0.93


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_lower_bound_lies_below_the_difference(only_first: int, only_second: int) -> None:
    first = np.r_[np.ones(only_first, bool), np.zeros(only_second, bool), np.ones(20, bool)]
    second = np.r_[np.zeros(only_first, bool), np.ones(only_second, bool), np.ones(20, bool)]
    difference = second.mean() - first.mean()
    assert -1 <= statistics.lower_bound(first, second, 0.05) <= difference + 1e-12
