"""What a model's confidence is good for: its calibration undone, and the answers that remain when it may decline."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.statistics import Labels, Probabilities


def before_temperature(probabilities: Probabilities, temperature: float) -> NDArray[np.float64]:
    """The probabilities (n, classes) as they were before the logits were divided by `temperature`.

    softmax(z) is proportional to softmax(z / T) ** T, so a power and a division undo it.
    """
    logarithms = temperature * np.log(np.maximum(probabilities.astype(np.float64), 1e-300))
    powers = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def risk_coverage(probabilities: Probabilities, labels: Labels, points: int = 200) -> list[dict[str, float]]:
    """Share of wrong answers among the surest: rows of coverage, risk and confidence, about `points` of them.

    El-Yaniv and Wiener, JMLR 11 (2010). Coverage is the share of images that are answered, risk that of the answered
    which are wrong; equal confidences are answered or declined together.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((probabilities.argmax(axis=1) != labels)[order])
    answered = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True)) + 1
    chosen = answered[np.unique(np.linspace(0, len(answered) - 1, points).astype(int))]
    return [
        {
            "coverage": float(count / len(labels)),
            "risk": float(wrong[count - 1] / count),
            "confidence": float(confidence[order][count - 1]),
        }
        for count in chosen
    ]


def at_threshold(probabilities: Probabilities, labels: Labels, threshold: float) -> dict[str, Any]:
    """Share of images answered with a confidence of at least `threshold`, and the share of these that are right."""
    answered = probabilities.max(axis=1) >= threshold
    right = (probabilities.argmax(axis=1) == labels)[answered]
    return {"coverage": float(answered.mean()), "accuracy": float(right.mean()) if len(right) else 1.0}
