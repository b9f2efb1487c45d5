"""How a model fares on the changed test images that the stage `corrupt` made."""

import numpy as np

from pipeline.inference import Classifier
from pipeline.paths import DERIVED
from pipeline.statistics import Labels

Curves = dict[str, list[dict[str, float]]]


def corruption_errors(classifier: Classifier, labels: Labels) -> dict[str, float]:
    """Share of wrong answers on each corruption, after their mean; `labels`: of the test images, in their order."""
    with np.load(DERIVED / "corrupted.npz") as corrupted:
        errors = {name: _error(classifier, corrupted[name], labels) for name in corrupted.files}
    return {"mean_error": float(np.mean(list(errors.values()))), **errors}


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
