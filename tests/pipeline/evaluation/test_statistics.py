"""Intervals and tests, against values computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation import statistics


def correct(count: int, of: int) -> np.ndarray:
    return np.arange(of) < count


def test_wilson_interval_of_a_textbook_case() -> None:
    # By hand for 8 of 10 and z = 1.959964: (0.8 + z²/20 -+ z sqrt(0.016 + z²/400)) / (1 + z²/10)
    assert statistics.accuracy_interval(correct(8, 10)) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_mcnemar_by_hand() -> None:
    # 9 against 1 among 10 discordant images: 2 (1 + 10) / 2^10
    first = np.r_[np.ones(90, bool), np.zeros(9, bool), np.ones(1, bool)]
    second = np.r_[np.ones(90, bool), np.ones(9, bool), np.zeros(1, bool)]
    test = statistics.compare_paired(first, second, 500, 0)
    assert (test.only_first, test.only_second) == (1, 9)
    assert test.p_value == statistics.mcnemar_p_value(first, second) == pytest.approx(22 / 1024)
    assert test.difference == pytest.approx(0.08)
    assert test.low < 0.08 < test.high
    assert test == statistics.compare_paired(first, second, 500, 0)


def test_equal_models_do_not_differ() -> None:
    test = statistics.compare_paired(correct(5, 10), correct(5, 10), 500, 0)
    assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)
    assert statistics.lower_bound(correct(5, 10), correct(5, 10), 0.05) == 0


def test_the_interval_of_a_constant_difference_is_this_difference() -> None:
    test = statistics.compare_paired(correct(0, 10), correct(10, 10), 500, 0)
    assert (test.difference, test.low, test.high) == (1, 1, 1)


def test_the_lower_bound_has_the_stated_coverage() -> None:
    random = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        kind = random.choice(4, 1000, p=[0.9, 0.04, 0.03, 0.03])  # both correct, only the first, only the second, none
        first, second = kind < 2, (kind == 0) | (kind == 2)
        covered += statistics.lower_bound(first, second, 0.05) <= -0.01
    assert covered / 400 >= 0.93


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_lower_bound_is_below_the_difference(only_first: int, only_second: int) -> None:
    first = np.r_[np.ones(only_first, bool), np.zeros(only_second, bool), np.ones(20, bool)]
    second = np.r_[np.zeros(only_first, bool), np.ones(only_second, bool), np.ones(20, bool)]
    difference = second.mean() - first.mean()
    assert -1 <= statistics.lower_bound(first, second, 0.05) <= difference + 1e-12


def test_holm_by_hand() -> None:
    assert statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03}, 0.05) == {"a": True, "b": False, "c": False}
    assert statistics.holm({"a": 0.01, "b": 0.02, "c": 0.04}, 0.05) == {"a": True, "b": True, "c": True}
    assert statistics.holm({}, 0.05) == {}
