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
from pipeline.params import Evaluate
from pipeline.paths import DERIVED
from recognition.classifier import Classifier


def compute_metrics(
    probabilities: dict[str, Probabilities],
    splits: dict[str, Split],
    dataset: Dataset,
    temperature: float,
    settings: Evaluate,
) -> dict[str, Any]:
    """All metrics and curves of one model, from its probabilities (n, classes) on the splits "test", "val" and "tune".

    The tuning images set the confidence threshold and are not measured.
    """
    test, labels, bins = probabilities["test"], splits["test"].labels, settings.calibration_bins
    uncalibrated = calibration.undo_temperature(test, temperature)
    measured = {split: splits[split].labels for split in ("test", "val")}
    metrics = {split: split_metrics(probabilities[split], labels, bins) for split, labels in measured.items()}
    tuning, accuracy = splits["tune"].labels, settings.selective_accuracy
    threshold = calibration.selective_threshold(probabilities["tune"], tuning, accuracy)
    coverage, accuracy = calibration.selective_accuracy(test, labels, threshold)
    metrics["val"]["threshold"] = threshold
    metrics["test"] |= {
        "ece_before_temperature": calibration.expected_calibration_error(uncalibrated, labels, bins),
        "coverage_above_threshold": coverage,
        "accuracy_above_threshold": accuracy,
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
