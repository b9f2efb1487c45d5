"""Intervals and tests, against published values and values computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import statistics


def correct(count: int, of: int) -> np.ndarray:
    return np.arange(of) < count


def pair(lost: int, won: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Two models on `count` images: `lost` only the first classifies correctly, `won` only the second."""
    first, second = np.ones(count, bool), np.ones(count, bool)
    second[:lost] = False
    first[lost : lost + won] = False
    return first, second


def test_wilson_interval_of_a_textbook_case() -> None:
    # By hand for 8 of 10 and z = 1.959964: (0.8 + z²/20 -+ z sqrt(0.016 + z²/400)) / (1 + z²/10)
    assert statistics.accuracy_interval(correct(8, 10)) == pytest.approx((0.490162, 0.943318), abs=1e-6)
    # ... and for z = 1.644854
    assert statistics.accuracy_interval(correct(8, 10), 0.9) == pytest.approx((0.540793, 0.931442), abs=1e-6)


def test_mcnemar_by_hand() -> None:
    # 9 against 1 among 10 discordant images: 2 (1 + 10) / 2^10
    assert statistics.mcnemar_p_value(*pair(1, 9, 100)) == pytest.approx(22 / 1024)
    assert statistics.mcnemar_p_value(*pair(0, 0, 10)) == 1


@pytest.mark.parametrize(
    ("lost", "won", "count", "confidence", "published"),
    [
        (7, 1, 21, 0.95, (-0.517, -0.026)),  # Fagerland, Lydersen and Laake, Stat. Med. 33 (2014): airway reactivity
        (1, 0, 44, 0.90, (-0.096, None)),  # Tango (1998): two systems of disinfecting contact lenses
    ],
)
def test_the_score_interval_has_the_published_values(
    lost: int, won: int, count: int, confidence: float, published: tuple[float, float | None]
) -> None:
    found = statistics.difference_interval(*pair(lost, won, count), confidence)
    for value, expected in zip(found, published, strict=True):
        assert expected is None or round(value, 3) == expected


@pytest.mark.parametrize(("count", "margin"), [(200, 0.02), (200, 0.03), (1000, 0.01), (6000, 0.001), (6000, 0.0025)])
@pytest.mark.parametrize("discordant", [1.0, 1.5, 2.0, 4.0, 10.0], ids=lambda factor: f"{factor} margins discordant")
def test_a_loss_of_exactly_the_margin_is_tolerated_in_five_percent_of_the_cases(
    count: int, margin: float, discordant: float
) -> None:
    random = np.random.default_rng(0)
    lost, won = margin * (discordant + 1) / 2, margin * (discordant - 1) / 2
    tables, frequency = np.unique(
        random.multinomial(count, [lost, won, 1 - lost - won], 20_000)[:, :2], axis=0, return_counts=True
    )
    tolerated = [
        statistics.difference_interval(*pair(*map(int, table), count), 0.9)[0] > -margin  # type: ignore[arg-type]
        for table in tables
    ]
    assert frequency[tolerated].sum() / frequency.sum() <= 0.06


def test_identical_answers_leave_the_uncertainty_of_few_images() -> None:
    z_squared = 1.959964**2
    for count in (100, 6000):
        low, high = statistics.difference_interval(*pair(0, 0, count))
        assert (low, high) == pytest.approx((-z_squared / (count + z_squared), z_squared / (count + z_squared)))


@settings(deadline=None)  # the first call may be slow on a busy machine
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_the_score_interval_contains_the_difference_and_is_symmetric(lost: int, won: int, both: int) -> None:
    count = max(lost + won + both, 1)
    first, second = pair(lost, won, count)
    low, high = statistics.difference_interval(first, second)
    assert -1 <= low <= (won - lost) / count <= high <= 1 and low < high
    assert statistics.difference_interval(second, first) == pytest.approx((-high, -low), abs=1e-9)


def test_students_interval_by_hand() -> None:
    # Mean 2, standard deviation 1, t quantile of 2 degrees of freedom 4.302653: 2 -+ 4.302653 / sqrt(3)
    low, high = statistics.mean_interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / np.sqrt(3), 2 + 4.302653 / np.sqrt(3)), abs=1e-6)
    assert statistics.mean_interval(np.array([0.5, 0.5])) == (0.5, 0.5)
    # Mean 1/3, standard deviation 1 / sqrt(3), 99 % quantile of one side 6.964557
    low, high = statistics.mean_interval(np.array([0.0, 0.0, 1.0]), 0.98)
    assert (low, high) == pytest.approx(((1 - 6.964557) / 3, (1 + 6.964557) / 3), abs=1e-6)
    assert statistics.t_test_p_value(np.array([0.0, 0.0])) == 1
    assert statistics.t_test_p_value(np.array([0.5, 0.5])) == 0
    # t = 2 sqrt(3) with 2 degrees of freedom: p = 1 - t / sqrt(t² + 2)
    assert statistics.t_test_p_value(np.array([1.0, 2.0, 3.0])) == pytest.approx(1 - np.sqrt(12 / 14))
