"""Confidence intervals and significance tests for accuracies; `correct` is bool (n,), one entry per image."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

Correct = NDArray[np.bool_]


def accuracy_interval(correct: Correct, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the accuracy. E. B. Wilson, JASA 22 (1927)."""
    interval = scipy.stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_interval(
    differences: NDArray[Any], resamples: int, seed: int, confidence: float = 0.95
) -> tuple[float, float]:
    """BCa bootstrap interval of the mean of paired differences (n,). Efron, JASA 82 (1987)."""
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    interval = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, batch=200, method="BCa", rng=seed, confidence_level=confidence
    ).confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same images: discordant counts, accuracy(second) - accuracy(first), 95% interval, p-value."""

    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float


def compare_paired(first: Correct, second: Correct, resamples: int, seed: int) -> PairedTest:
    """Exact McNemar test, and the bootstrap interval of the difference in accuracy."""
    differences = second.astype(np.int8) - first.astype(np.int8)
    low, high = bootstrap_interval(differences, resamples, seed)
    return PairedTest(*_discordant(first, second), float(differences.mean()), low, high, mcnemar_p_value(first, second))


def mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Two-sided p-value of the exact McNemar test; 1.0 without discordant images. McNemar, Psychometrika 12 (1947)."""
    only_first, only_second = _discordant(first, second)
    return float(scipy.stats.binomtest(only_second, max(only_first + only_second, 1)).pvalue)


def lower_bound(first: Correct, second: Correct, significance: float) -> float:
    """One-sided lower confidence bound of accuracy(second) - accuracy(first), paired.

    It follows from the exact (Clopper-Pearson) bound of the second model's share of the discordant images.
    """
    only_first, only_second = _discordant(first, second)
    discordant = only_first + only_second
    if discordant == 0:
        return 0.0
    share = scipy.stats.binomtest(only_second, discordant, alternative="greater").proportion_ci(1 - significance).low
    return float((2 * share - 1) * discordant / len(first))


def holm(p_values: Mapping[str, float], significance: float) -> dict[str, bool]:
    """Whether each hypothesis is rejected by Holm's step-down procedure. Holm, Scand. J. Statist. 6 (1979)."""
    rejected = dict.fromkeys(p_values, False)
    for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > significance / (len(p_values) - position):
            break
        rejected[name] = True
    return rejected


def _discordant(first: Correct, second: Correct) -> tuple[int, int]:
    """Number of images that only the first model and only the second model classifies correctly."""
    return int((first & ~second).sum()), int((~first & second).sum())
