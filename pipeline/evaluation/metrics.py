"""Metrics of one model: accuracy, calibration, robustness and cost."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_recall_fscore_support

from pipeline.data.datasets import Dataset
from pipeline.data.splits import Split
from pipeline.evaluation import calibration
from pipeline.evaluation.calibration import Labels, Probabilities
from pipeline.evaluation.statistics import Correct, accuracy_interval
from pipeline.params import Augmentation, Evaluate
from pipeline.paths import DERIVED
from recognition.classifier import Classifier

# Corruptions, and the setting of the augmentation that makes the same kind of change
SEEN_THROUGH = {
    "shear": "shear", "scale": "scale", "rotate": "rotation", "translate": "shift", "stripe": "invert",
    "dotted_line": "lines", "zigzag": "lines", "canny_edges": "outline",
}  # fmt: skip


def compute_metrics(
    probabilities: dict[str, Probabilities],
    splits: dict[str, Split],
    dataset: Dataset,
    temperature: float,
    settings: Evaluate,
) -> dict[str, Any]:
    """All metrics and curves of one model, from its probabilities (n, classes) on "test", "val" and "calibration".

    The calibration images set the confidence threshold and are not measured.
    """
    test, labels, bins = probabilities["test"], splits["test"].labels, settings.calibration_bins
    uncalibrated = calibration.undo_temperature(test, temperature)
    measured = {split: splits[split].labels for split in ("test", "val")}
    metrics = {split: split_metrics(probabilities[split], labels, bins) for split, labels in measured.items()}
    threshold = calibration.selective_threshold(
        probabilities["calibration"], splits["calibration"].labels, settings.selective_accuracy
    )
    metrics["val"]["threshold"] = threshold
    metrics["test"] |= {
        "ece_before_temperature": calibration.expected_calibration_error(uncalibrated, labels, bins),
        **selective_metrics(test, labels, threshold),
    }
    if dataset.contested_labels:
        correct = np.delete(test.argmax(axis=1) == labels, dataset.contested_labels)
        metrics["test"]["accuracy_without_contested_labels"] = float(correct.mean())
    return {
        "metrics": metrics,
        "per_class": {
            split: per_class(probabilities[split], labels, dataset.classes) for split, labels in measured.items()
        },
        "reliability": calibration.reliability(test, labels, bins),
        "reliability_before_temperature": calibration.reliability(uncalibrated, labels, bins),
        "risk_coverage": calibration.risk_coverage(test, labels),
    }


def split_metrics(probabilities: Probabilities, labels: Labels, bins: int) -> dict[str, float]:
    """Accuracy with its 95% interval, cross-entropy, Brier score (0 to 2) and calibration error of one split."""
    correct = probabilities.argmax(axis=1) == labels
    low, high = accuracy_interval(correct)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "cross_entropy": cross_entropy(probabilities, labels),
        "brier": brier_score_loss(labels, probabilities, labels=range(probabilities.shape[1])),
        "ece": calibration.expected_calibration_error(probabilities, labels, bins),
    }


def selective_metrics(probabilities: Probabilities, labels: Labels, threshold: float) -> dict[str, float]:
    """Share of the answers whose confidence is at least `threshold`, and their accuracy."""
    coverage, accuracy = calibration.selective_accuracy(probabilities, labels, threshold)
    return {"coverage_above_threshold": coverage, "accuracy_above_threshold": accuracy}


def derived_metrics(probabilities: Probabilities, labels: Labels, threshold: float, bins: int) -> dict[str, float]:
    """Accuracy, calibration error and selective accuracy on images that are not of the dataset."""
    return {
        "accuracy": float((probabilities.argmax(axis=1) == labels).mean()),
        "ece": calibration.expected_calibration_error(probabilities, labels, bins),
        **selective_metrics(probabilities, labels, threshold),
    }


def cross_entropy(probabilities: Probabilities, labels: Labels) -> float:
    """Mean of -ln(probability of the label), in nats."""
    of_label = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_label, np.finfo(np.float32).tiny)).mean())


def per_class(probabilities: Probabilities, labels: Labels, classes: list[str]) -> dict[str, Any]:
    """Precision, recall, F1 and number of images of each class, and the confusion matrix (rows: labels)."""
    predictions, indices = probabilities.argmax(axis=1), list(range(len(classes)))
    scores = precision_recall_fscore_support(labels, predictions, labels=indices, zero_division=0.0)
    table = {
        name: {"precision": float(precision), "recall": float(recall), "f1": float(f1), "images": int(images)}
        for name, precision, recall, f1, images in zip(classes, *scores, strict=True)
    }
    return {"classes": table, "confusion": confusion_matrix(labels, predictions, labels=indices).tolist()}


def seen_corruptions(augmentation: Augmentation) -> list[str]:
    """Corruptions whose kind of change the training images of a model include, whatever its amount."""
    return [name for name, setting in SEEN_THROUGH.items() if getattr(augmentation, setting)]


def corruption_metrics(
    classifier: Classifier, labels: Labels, seen: list[str], threshold: float, bins: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Error rates by corruption after their mean, and metrics on all corrupted images; `labels`: of the test images."""
    probabilities = _probabilities(classifier, "corrupted")
    errors = {
        name: float((found.argmax(axis=1) != labels[: len(found)]).mean()) for name, found in probabilities.items()
    }
    repeated = np.concatenate([labels[: len(found)] for found in probabilities.values()])
    metrics = derived_metrics(np.concatenate([*probabilities.values()]), repeated, threshold, bins)
    unseen = float(np.mean([error for name, error in errors.items() if name not in seen]))
    return {"mean_error": float(np.mean([*errors.values()])), **errors}, {**metrics, "error_unseen": unseen}


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
    found = _probabilities(classifier, file)
    return {key: probabilities.argmax(axis=1) == labels[: len(probabilities)] for key, probabilities in found.items()}


def _probabilities(classifier: Classifier, file: str) -> dict[str, Probabilities]:
    with np.load(DERIVED / f"{file}.npz") as arrays:
        return {key: classifier.probabilities(arrays[key]) for key in arrays.files}


def cost(file: Path, training: dict[str, Any]) -> dict[str, Any]:
    """Parameters, multiply-adds, size (bytes) and format of the exported `file`; `training`: its training.json."""
    return {
        "parameters": training["parameters"],
        "multiply_adds": training["multiply_adds"],
        "bytes": file.stat().st_size,
        "format": training["export"]["format"],
    }


def measure_latency(classifier: Classifier, images: NDArray[np.uint8], calls: int) -> dict[str, float]:
    """Median and 99th percentile of the latency of one image (microseconds) over `calls` calls."""
    latencies = []
    for index in range(calls):
        image = images[index % len(images)][None]
        start = time.perf_counter_ns()
        classifier.probabilities(image)
        latencies.append((time.perf_counter_ns() - start) / 1000)
    return {
        "latency_median_us": round(float(np.median(latencies)), 1),
        "latency_p99_us": round(float(np.quantile(latencies, 0.99)), 1),
    }


def rounded(content: Any) -> Any:
    """A copy of JSON content with floats rounded to six decimals, which keeps diffs readable."""
    return json.loads(json.dumps(content), parse_float=lambda text: round(float(text), 6))
