"""Confidence calibration, and selective prediction: only answers above a confidence threshold count as certain."""

from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


def reliability(probabilities: Probabilities, labels: Labels, bins: int) -> list[dict[str, float]]:
    """Mean confidence and accuracy in `bins` equal-width bins of confidence; empty bins are omitted."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for index in np.unique(bin_of):
        mask = bin_of == index
        rows.append(
            {
                "from": float(index / bins),
                "to": float((index + 1) / bins),
                "images": int(mask.sum()),
                "confidence": float(confidence[mask].mean()),
                "accuracy": float(correct[mask].mean()),
            }
        )
    return rows


def expected_calibration_error(probabilities: Probabilities, labels: Labels, bins: int) -> float:
    """Mean of |confidence - accuracy| over the bins, weighted by their images. Guo et al., arXiv 1706.04599."""
    rows = reliability(probabilities, labels, bins)
    return float(sum(row["images"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(labels))


def fit_temperature(logits: Probabilities, labels: Labels) -> float:
    """Temperature T > 0 that minimises the cross-entropy of softmax(logits / T). Guo et al., arXiv 1706.04599."""
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        log_probabilities = scipy.special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_probabilities[np.arange(len(labels)), labels].mean())

    best = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return round(float(np.exp(best.x)), 6)


def undo_temperature(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """Probabilities (n, classes) as they were before the logits were divided by `temperature`.

    softmax(z) is proportional to softmax(z / T) ** T.
    """
    logarithms = np.log(np.maximum(probabilities.astype(np.float64), 1e-300))
    return np.asarray(scipy.special.softmax(temperature * logarithms, axis=1))


def risk_coverage(probabilities: Probabilities, labels: Labels, points: int = 200) -> list[dict[str, float]]:
    """Risk-coverage curve, thinned to at most `points` rows. El-Yaniv and Wiener, JMLR 11 (2010).

    Coverage: share of images with at least this confidence. Risk: their error rate.
    """
    confidence, correct, counts = _by_confidence(probabilities, labels)
    chosen = counts[np.unique(np.linspace(0, len(counts) - 1, points).astype(int))]
    return [
        {
            "coverage": float(count / len(labels)),
            "risk": float((count - correct[count - 1]) / count),
            "confidence": float(confidence[count - 1]),
        }
        for count in chosen
    ]


def selective_threshold(probabilities: Probabilities, labels: Labels, accuracy: float) -> float:
    """Lowest confidence threshold whose selective accuracy is at least `accuracy`; 1.0 if there is none."""
    confidence, correct, counts = _by_confidence(probabilities, labels)
    sufficient = counts[correct[counts - 1] / counts >= accuracy]
    return float(confidence[sufficient[-1] - 1]) if len(sufficient) else 1.0


def selective_accuracy(probabilities: Probabilities, labels: Labels, threshold: float) -> tuple[float, float]:
    """Coverage and accuracy of the answers whose confidence is at least `threshold`; accuracy 1.0 without answers."""
    certain = probabilities.max(axis=1) >= threshold
    correct = (probabilities.argmax(axis=1) == labels)[certain]
    return float(certain.mean()), float(correct.mean()) if len(correct) else 1.0


def _by_confidence(
    probabilities: Probabilities, labels: Labels
) -> tuple[Probabilities, NDArray[np.intp], NDArray[np.intp]]:
    """Confidence in descending order, cumulative number of correct answers, and the counts that do not split ties."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    correct = np.cumsum((probabilities.argmax(axis=1) == labels)[order])
    counts = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True)) + 1
    return confidence[order], correct, counts
