"""How a model fares on the changed images that the stage `corrupt` made."""

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.statistics import Labels
from pipeline.paths import DERIVED
from recognition.classifier import Classifier

Curves = dict[str, list[dict[str, float]]]


def corruption_errors(classifier: Classifier, labels: Labels) -> dict[str, float]:
    """Share of wrong answers on each corruption, after their mean; `labels`: of the test images, in their order."""
    with np.load(DERIVED / "corrupted.npz") as corrupted:
        errors = {name: _error(classifier, corrupted[name], labels) for name in corrupted.files}
    return {"mean_error": float(np.mean(list(errors.values()))), **errors}


def right_when_corrupted(classifier: Classifier, labels: Labels) -> NDArray[np.float32]:
    """For each of the first validation images the share of corruptions under which it is answered right, (n,)."""
    with np.load(DERIVED / "corrupted_val.npz") as corrupted:
        right = [
            classifier.probabilities(corrupted[name]).argmax(axis=1) == labels[: len(corrupted[name])]
            for name in corrupted.files
        ]
    share: NDArray[np.float32] = np.mean(right, axis=0, dtype=np.float32)
    return share


def sensitivity(classifier: Classifier, labels: Labels) -> Curves:
    """For each property (shift, rotation, scale, stroke) the error at each amount of change, as a curve."""
    curves: Curves = {}
    with np.load(DERIVED / "varied.npz") as varied:
        for key in varied.files:
            name, amount = key.split()
            point = {"amount": float(amount), "error": _error(classifier, varied[key], labels)}
            curves.setdefault(name, []).append(point)
    return curves


def _error(classifier: Classifier, images: np.ndarray, labels: Labels) -> float:
    answers = classifier.probabilities(images).argmax(axis=1)
    return float((answers != labels[: len(images)]).mean())
