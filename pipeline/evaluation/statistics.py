"""Confidence intervals and significance tests for accuracies; `correct` is bool (n,), one entry per image."""

from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

Correct = NDArray[np.bool_]


def accuracy_interval(correct: Correct, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the accuracy. E. B. Wilson, JASA 22 (1927)."""
    interval = scipy.stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def difference_interval(first: Correct, second: Correct, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of accuracy(second) - accuracy(first) on the same images. T. Tango, Stat. Med. 17 (1998), 891-908.

    One-sided, the lower end has the level (1 + confidence) / 2. Without discordant images, the interval still has the
    width that `n` images allow.
    """
    count, quantile = len(first), scipy.stats.norm.ppf((1 + confidence) / 2)
    lost, won = _discordant(first, second)
    difference = (won - lost) / count

    def score(margin: float) -> float:
        """Tango's test statistic of the hypothesis that the difference equals `margin`, between -1 and 1."""
        linear = (2 * count - won + lost) * margin - won - lost
        root = np.sqrt(linear**2 + 8 * count * lost * margin * (1 - margin))
        lost_share = (root - linear) / (4 * count)  # maximum likelihood estimate under the hypothesis
        variance = count * (2 * lost_share + margin * (1 - margin))
        return float((won - lost - count * margin) / np.sqrt(max(variance, 1e-12)))

    def end(target: float, limit: float) -> float:
        if abs(difference - limit) < 1e-9:
            return limit
        return float(scipy.optimize.brentq(lambda margin: score(margin) - target, *sorted((limit, difference))))

    return end(quantile, -1.0), end(-quantile, 1.0)


def mean_interval(differences: NDArray[np.floating[Any]], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean of paired differences (n,). Student, Biometrika 6 (1908)."""
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        return mean, mean
    interval = scipy.stats.ttest_1samp(differences, 0.0).confidence_interval(confidence)
    return float(interval.low), float(interval.high)


def t_test_p_value(differences: NDArray[np.floating[Any]]) -> float:
    """Two-sided p-value of Student's t test that the mean of paired differences (n,) is 0; 1.0 if all are 0."""
    if np.ptp(differences) == 0:
        return float(differences[0] == 0)
    return float(scipy.stats.ttest_1samp(differences, 0.0).pvalue)


def mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Two-sided p-value of the exact McNemar test; 1.0 without discordant images. McNemar, Psychometrika 12 (1947)."""
    lost, won = _discordant(first, second)
    return float(scipy.stats.binomtest(won, max(lost + won, 1)).pvalue)


def _discordant(first: Correct, second: Correct) -> tuple[int, int]:
    """Number of images that only the first model and only the second model classifies correctly."""
    return int((first & ~second).sum()), int((~first & second).sum())
