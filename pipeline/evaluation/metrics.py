"""The metrics of one model, from its probabilities on each split."""

import json
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from pipeline.data.datasets import Dataset
from pipeline.data.splits import Split
from pipeline.evaluation.calibration import at_threshold, before_temperature, risk_coverage
from pipeline.evaluation.statistics import (
    Labels,
    Probabilities,
    accuracy_interval,
    brier_score,
    cross_entropy,
    expected_calibration_error,
    reliability,
    selective_threshold,
)
from pipeline.params import Evaluate


def judge(
    answers: dict[str, Probabilities],
    splits: dict[str, Split],
    dataset: Dataset,
    temperature: float,
    settings: Evaluate,
) -> dict[str, Any]:
    """All that follows from the answers (n, classes) to each split alone, from one array of them."""
    labels, bins = splits["test"].labels, settings.calibration_bins
    uncalibrated = before_temperature(answers["test"], temperature)
    metrics = {split: measure(answers[split], data.labels, settings) for split, data in splits.items()}
    threshold = selective_threshold(answers["val"], splits["val"].labels, settings.selective_accuracy)
    metrics["val"]["threshold"] = threshold
    metrics["test"] |= further_measures(answers["test"], uncalibrated, labels, dataset, threshold, settings)
    return {
        "metrics": metrics,
        "per_class": {split: per_class(answers[split], data.labels, dataset.classes) for split, data in splits.items()},
        "reliability": reliability(answers["test"], labels, bins),
        "reliability_before_temperature": reliability(uncalibrated, labels, bins),
        "risk_coverage": risk_coverage(answers["test"], labels),
    }


def measure(probabilities: Probabilities, labels: Labels, settings: Evaluate) -> dict[str, float]:
    """Accuracy with its interval, cross-entropy (nats), Brier score, calibration error; shares are 0..1."""
    correct = probabilities.argmax(axis=1) == labels
    low, high = accuracy_interval(correct)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "cross_entropy": cross_entropy(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels, settings.calibration_bins),
    }


def further_measures(
    probabilities: Probabilities,
    uncalibrated: Probabilities,
    labels: Labels,
    dataset: Dataset,
    threshold: float,
    settings: Evaluate,
) -> dict[str, float]:
    """Of the test images alone: calibration error without the temperature, what the threshold leaves, label noise."""
    kept = at_threshold(probabilities, labels, threshold)
    correct = probabilities.argmax(axis=1) == labels
    found = {
        "ece_before_temperature": expected_calibration_error(uncalibrated, labels, settings.calibration_bins),
        "coverage_above_threshold": kept["coverage"],
        "accuracy_above_threshold": kept["accuracy"],
    }
    if dataset.contested_labels:
        found["accuracy_without_contested_labels"] = float(np.delete(correct, dataset.contested_labels).mean())
    return found


def per_class(probabilities: Probabilities, labels: Labels, classes: list[str]) -> dict[str, Any]:
    """Precision, recall, F1 and number of images by class, and the confusion matrix (rows: labels)."""
    predictions, numbers = probabilities.argmax(axis=1), list(range(len(classes)))
    measures = precision_recall_fscore_support(labels, predictions, labels=numbers, zero_division=0.0)
    table = {
        name: {
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "images": int(images),
        }
        for name, precision, recall, f1, images in zip(classes, *measures, strict=True)
    }
    return {"classes": table, "confusion": confusion_matrix(labels, predictions, labels=numbers).tolist()}


def rounded(content: Any) -> Any:
    """The same content with six digits behind the point: enough for every use, and readable in a diff."""
    return json.loads(json.dumps(content), parse_float=lambda text: round(float(text), 6))
