"""Accuracy of a model on the altered images that the stage `corrupt` writes."""

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.calibration import Labels
from pipeline.evaluation.statistics import Correct
from pipeline.paths import DERIVED
from recognition.classifier import Classifier


def corruption_errors(classifier: Classifier, labels: Labels) -> dict[str, float]:
    """Mean error rate under corruption, then the error rate of each corruption; `labels`: of the test images."""
    errors = {name: float((~correct).mean()) for name, correct in _correct(classifier, "corrupted", labels).items()}
    return {"mean_error": float(np.mean(list(errors.values()))), **errors}


def corruption_accuracy(classifier: Classifier, labels: Labels) -> NDArray[np.float32]:
    """Share of corruptions under which each validation image is classified correctly, (n,)."""
    correct = list(_correct(classifier, "corrupted_val", labels).values())
    share: NDArray[np.float32] = np.mean(correct, axis=0, dtype=np.float32)
    return share


def sensitivity(classifier: Classifier, labels: Labels) -> dict[str, list[dict[str, float]]]:
    """Error rate by amount of shift, rotation, scaling and stroke width: one curve for each property."""
    curves: dict[str, list[dict[str, float]]] = {}
    for key, correct in _correct(classifier, "varied", labels).items():
        name, amount = key.split()
        curves.setdefault(name, []).append({"amount": float(amount), "error": float((~correct).mean())})
    return curves


def _correct(classifier: Classifier, file: str, labels: Labels) -> dict[str, Correct]:
    """Whether each image is classified correctly, bool (n,), for each array of `data/derived/FILE.npz`."""
    with np.load(DERIVED / f"{file}.npz") as arrays:
        predictions = {key: classifier.probabilities(arrays[key]).argmax(axis=1) for key in arrays.files}
    return {key: predicted == labels[: len(predicted)] for key, predicted in predictions.items()}
