"""The statistics by which models are judged: intervals, paired comparison, calibration."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]
Correct = NDArray[np.bool_]


def accuracy_interval(correct: Correct, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of the share of right answers. E. B. Wilson, JASA 22 (1927)."""
    interval = scipy.stats.binomtest(int(correct.sum()), len(correct)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean of -ln(probability of the right class), in nats."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(right, np.finfo(np.float32).tiny)).mean())


def brier_score(probabilities: Probabilities, labels: Labels) -> float:
    """Mean squared distance of the probabilities (n, classes) from the one-hot label, 0 to 2. Brier (1950)."""
    wanted = np.zeros_like(probabilities)
    wanted[np.arange(len(labels)), labels] = 1
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def reliability(probabilities: Probabilities, labels: Labels, bins: int) -> list[dict[str, float]]:
    """Confidence and accuracy in equally wide bins of confidence; empty bins are left out."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for bin_ in np.unique(index):
        members = index == bin_
        rows.append(
            {
                "from": float(bin_ / bins),
                "to": float((bin_ + 1) / bins),
                "images": int(members.sum()),
                "confidence": float(confidence[members].mean()),
                "accuracy": float(correct[members].mean()),
            }
        )
    return rows


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int) -> float:
    """Mean of |confidence - accuracy| over the bins, weighted by their images. Guo et al., arXiv 1706.04599."""
    rows = reliability(probabilities, labels, bins)
    return float(sum(row["images"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(labels))


def fit_temperature(logits: NDArray[np.floating[Any]], labels: Labels) -> float:
    """The temperature T > 0 that gives softmax(logits / T) the least cross-entropy. Guo et al., arXiv 1706.04599."""
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        log_probabilities = scipy.special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[np.arange(len(labels)), labels].mean())

    best = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(best.x)), 6)


def selective_threshold(probabilities: Probabilities, labels: Labels, accuracy: float) -> float:
    """The least confidence from which on a share of `accuracy` of the answers is right; 1.0 where none reaches it."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    correct = (probabilities.argmax(axis=1) == labels)[order]
    kept = np.cumsum(correct) / np.arange(1, len(labels) + 1) >= accuracy
    last_of_tie = np.append(np.diff(confidence[order]) != 0, True)  # equal confidences are kept or refused together
    good = np.flatnonzero(kept & last_of_tie)
    return float(confidence[order][good[-1]]) if len(good) else 1.0


@dataclass(frozen=True)
class PairedTest:
    """How `second` differs from `first` on the same images; `difference` is accuracy(second) - accuracy(first)."""

    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p_value: float


def compare_paired(first: Correct, second: Correct, resamples: int, seed: int) -> PairedTest:
    """Exact McNemar test and a 95% bootstrap interval (BCa) of the paired difference.

    `first`, `second`: bool (n,), whether each image was answered right. McNemar (1947); Efron (1987).
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return PairedTest(0, 0, 0.0, 0.0, 0.0, 1.0)
    differences = second.astype(np.int8) - first.astype(np.int8)
    interval = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, batch=200, method="BCa", rng=seed
    ).confidence_interval
    p_value = scipy.stats.binomtest(only_second, only_first + only_second).pvalue
    return PairedTest(
        only_first, only_second, float(differences.mean()), float(interval.low), float(interval.high), float(p_value)
    )


def lower_bound(first: Correct, second: Correct, significance: float) -> float:
    """One-sided lower bound of accuracy(second) - accuracy(first), paired.

    From the exact (Clopper-Pearson) bound of second's share among the images where just one is right, given their
    number; the images where both agree carry no evidence either way.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    discordant = only_first + only_second
    if discordant == 0:
        return 0.0
    share = scipy.stats.binomtest(only_second, discordant, alternative="greater").proportion_ci(1 - significance).low
    return float((2 * share - 1) * discordant / len(first))
